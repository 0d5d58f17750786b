//! How pods are connected: by a bridge of this machine's, or by a cluster's node.

mod bridge;
pub(super) mod forward;

use crate::net::addresses::NODE;
use crate::net::cluster::{Cluster, Host};
use crate::net::space::Space;
use bridge::Bridge;
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

/// The network of a node's pods.
pub(super) enum Network {
    /// A bridge on this machine, which is the node; hosts are numbered.
    Bridge(Bridge, AtomicU8),
    /// A node that connects hosts: its place, and where its pods' names are resolved.
    Cluster(Arc<Space>, IpAddr),
}

/// A pod's place in a network.
pub(super) struct Attached {
    /// Its network namespace.
    pub(super) space: PathBuf,
    pub(super) address: IpAddr,
    /// The namespace is there as long as this.
    _kept: Box<dyn Any + Send + Sync>,
}

impl Network {
    pub(super) fn bridge() -> Network {
        // The first hosts are the node and what it lends.
        Network::Bridge(Bridge::new(), AtomicU8::new(10))
    }

    /// The network of a cluster in which this host resolves names.
    pub(super) fn cluster(cluster: &Cluster, names: &Host) -> Network {
        Network::Cluster(cluster.node().clone(), names.v4())
    }

    /// The node's own address.
    pub(super) fn node(&self) -> Ipv4Addr {
        match self {
            Network::Bridge(bridge, _) => bridge.address(),
            Network::Cluster(..) => NODE[0].parse().expect("an address"),
        }
    }

    /// Who resolves names.
    pub(super) fn resolver(&self) -> IpAddr {
        match self {
            Network::Bridge(bridge, _) => IpAddr::V4(bridge.address()),
            Network::Cluster(_, names) => *names,
        }
    }

    /// A place of a pod's own on the bridge.
    pub(super) fn attach(&self) -> Attached {
        let Network::Bridge(bridge, hosts) = self else {
            panic!("in a cluster, pods are started on hosts of its");
        };
        let namespace = bridge.attach(hosts.fetch_add(1, Ordering::Relaxed));
        Attached {
            space: namespace.path(),
            address: IpAddr::V4(namespace.address),
            _kept: Box::new(namespace),
        }
    }

    /// The node's own network as a pod's place.
    pub(super) fn of_the_node(&self) -> Attached {
        let Network::Cluster(node, _) = self else {
            panic!("the node of a bridge is this machine, whose network is not for pods");
        };
        Attached {
            space: node.path().into(),
            address: IpAddr::V4(self.node()),
            _kept: Box::new(node.clone()),
        }
    }

    /// Does something where the kubelet is.
    pub(super) fn at_the_node<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        match self {
            Network::Bridge(..) => what(),
            Network::Cluster(node, _) => node.inside(what),
        }
    }

    /// The same in a thread that goes on.
    pub(super) fn spawn(&self, what: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        match self {
            Network::Bridge(..) => std::thread::spawn(what),
            Network::Cluster(node, _) => node.spawn(what),
        }
    }
}

impl Attached {
    /// A host of a cluster as a pod's place.
    pub(super) fn to(host: Arc<Host>) -> Attached {
        Attached {
            space: host.space.path().into(),
            address: host.v4(),
            _kept: Box::new(host),
        }
    }
}
