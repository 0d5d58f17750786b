//! A node.

use super::group::Group;
use super::network::{Attached, Network, forward};
use super::pod::Pod;
use super::volumes::{Projected, contents};
use crate::image::{NAME, Storage};
use crate::net::cluster::{Cluster, Host};
use blackbox::disk::Tmpfs;
use blackbox::dns::Dns;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

/// A node, and of the API as much as a kubelet reads. Dropped after its pods, it leaves nothing behind.
pub struct Node {
    // Dropped in this order: containers, then the network, then the files.
    pub(super) storage: Storage,
    pub(super) group: Group,
    pub(super) network: Arc<Network>,
    /// Times of templates are divided by it.
    pace: u32,
    /// What else this machine does with its disk is none of its pods'.
    disk: Tmpfs,
    /// The cluster's name server: what is not in it does not exist.
    pub names: Dns,
    objects: Mutex<Vec<Value>>,
    /// Volumes that follow an object.
    following: Mutex<Vec<(String, String, Weak<Projected>)>>,
}

impl Node {
    /// A node with the image, and these objects in its API. It is this machine; its pods are on a bridge.
    pub fn new(objects: Vec<Value>) -> Node {
        let node = Node::with(objects, Network::bridge(), Dns::start(), 1);
        forward::names(node.address(), node.names.address);
        node
    }

    /// The node of a cluster, where `kube_dns` resolves names; its pods are on hosts of the cluster. The times of templates
    /// (probes, preStop, grace, the back-off) are divided by `pace`.
    pub fn of(cluster: &Cluster, kube_dns: &Host, objects: Vec<Value>, pace: u32) -> Node {
        let names = kube_dns.space.inside(|| Dns::on("0.0.0.0:53"));
        Node::with(objects, Network::cluster(cluster, kube_dns), names, pace)
    }

    fn with(objects: Vec<Value>, network: Network, names: Dns, pace: u32) -> Node {
        let node = Node {
            storage: Storage::new(),
            group: Group::new(),
            network: Arc::new(network),
            pace,
            disk: Tmpfs::new("1g"),
            names,
            objects: Mutex::new(objects),
            following: Mutex::default(),
        };
        node.storage.build(NAME);
        node
    }

    /// The node's address in its pods' network.
    pub fn address(&self) -> Ipv4Addr {
        self.network.node()
    }

    /// An address of the node's.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address()), port)
    }

    /// Lets pods reach what listens on this machine's loopback, at a port of the node's.
    pub fn lends(&self, port: u16, to: SocketAddr) {
        forward::connections(self.at(port), to);
    }

    /// An object by its kind and name; a generator's suffix may follow the name.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let objects = self.objects.lock().expect("objects");
        let found = objects.iter().find(|object| is(object, kind, name));
        found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
    }

    /// The text of a key of a ConfigMap or Secret.
    pub fn value(&self, kind: &str, name: &str, key: &str) -> String {
        let found = contents(&self.object(kind, name)).remove(key);
        let octets = found.unwrap_or_else(|| panic!("no key {key} in {kind} {name}"));
        String::from_utf8(octets).expect("UTF-8")
    }

    /// Changes keys of a ConfigMap or Secret, which has to be there. Volumes of running pods follow at once
    /// (a real kubelet takes up to a minute).
    pub fn change(&self, kind: &str, name: &str, values: &[(&str, &str)]) {
        let mut objects = self.objects.lock().expect("objects");
        let object = objects.iter_mut().find(|object| is(object, kind, name));
        let object = object.unwrap_or_else(|| panic!("no {kind} {name}"));
        let field = if kind == "Secret" { "stringData" } else { "data" };
        if !object[field].is_object() {
            object[field] = json!({});
        }
        for (key, value) in values {
            object[field][*key] = json!(value);
        }
        let content = contents(object);
        let full_name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        for (of, name, volume) in self.following.lock().expect("volumes").iter() {
            if let (true, Some(volume)) = (of == kind && *name == full_name, volume.upgrade()) {
                volume.write(&content);
            }
        }
    }

    pub(super) fn follow(&self, kind: &str, name: &str, volume: &Arc<Projected>) {
        volume.write(&contents(&self.object(kind, name)));
        let mut following = self.following.lock().expect("volumes");
        following.push((kind.to_owned(), name.to_owned(), Arc::downgrade(volume)));
    }

    /// Starts a pod of a StatefulSet (by its ordinal) or of a Deployment.
    pub fn start(&self, kind: &str, name: &str, ordinal: u32) -> Pod {
        let attached = self.network.attach();
        Pod::start(self, &self.object(kind, name), ordinal, attached)
    }

    /// Starts a pod on a host of the cluster.
    pub fn start_on(&self, host: &Arc<Host>, kind: &str, name: &str, ordinal: u32) -> Pod {
        let attached = Attached::to(host.clone());
        Pod::start(self, &self.object(kind, name), ordinal, attached)
    }

    pub(super) fn pace(&self) -> u32 {
        self.pace
    }

    /// Changes an object; pods that are started from then on follow.
    pub fn edit(&self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut objects = self.objects.lock().expect("objects");
        let object = objects.iter_mut().find(|object| is(object, kind, name));
        change(object.unwrap_or_else(|| panic!("no {kind} {name}")));
    }

    /// Its images and containers.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where a claim's files are; they stay when a pod goes.
    pub fn claim(&self, name: &str) -> PathBuf {
        self.disk.join("claims").join(name)
    }

    pub(super) fn pod_folder(&self, name: &str) -> PathBuf {
        self.disk.join("pods").join(name)
    }
}

fn is(object: &Value, kind: &str, name: &str) -> bool {
    let full = object["metadata"]["name"].as_str().unwrap_or_default();
    // kustomize's generators append a hash of the content.
    let hashed = full.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let is_hash = hashed.is_some_and(|hash| hash.len() == 10 && !hash.contains('-'));
    object["kind"] == kind && (full == name || is_hash)
}
