//! A cluster and the internet around a pod: each on a host of its own, so that a pod can have the node's network, a provider its own address,
//! a Service its own, and policies can be in force.

use super::stage::{PASSWORD, next_hop};
use blackbox::dns::Record;
use blackbox::sink::Sink;
use packaging::kubelet::Node;
use packaging::net::addresses::{internet, other_pod};
use packaging::net::cluster::{Cluster, Host};
use packaging::net::policy::{self, Labels, Namespaces, labels};
use packaging::semantic::{Set, Workload};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Times of templates are shortened by this: probes, preStop, grace, the back-off. The server's own are not.
const PACE: u32 = 5;

pub(crate) struct Around {
    // Dropped in this order: containers before the network that they are in.
    pub(crate) node: Node,
    pub(crate) kube_dns: Host,
    /// On the internet: somebody, and the mail exchanger of `partner.example` (IPv4) and `six.example` (IPv6).
    pub(crate) client: Host,
    pub(crate) exchanger: Host,
    pub(crate) sink: Sink,
    closed: Arc<AtomicBool>,
    pub(crate) cluster: Cluster,
}

impl Around {
    /// With these objects, as an operator would complete them.
    pub(crate) fn new(objects: Vec<Value>) -> Around {
        let cluster = Cluster::new();
        let (client, exchanger) = (cluster.host(&internet(7)), cluster.host(&internet(25)));
        let kube_dns = cluster.host(&other_pod(2));
        let node = Node::of(&cluster, &kube_dns, objects, PACE);
        node.fill_in(PASSWORD);
        let closed = Arc::default();
        let sink = exchanger.space.inside(|| next_hop("[::]:25", &closed));
        for domain in ["partner.example", "six.example"] {
            node.names.mx(domain, 10, &format!("mx.{domain}"));
        }
        let around = Around {
            node,
            kube_dns,
            client,
            exchanger,
            sink,
            closed,
            cluster,
        };
        around.knows("mx.partner.example", around.exchanger.v4());
        around.knows("mx.six.example", around.exchanger.v6());
        around.knows("mailboxes.mail.svc.cluster.local", around.exchanger.v4());
        around
    }

    /// Puts a name into the DNS.
    pub(crate) fn knows(&self, name: &str, address: IpAddr) {
        let record = match address {
            IpAddr::V4(address) => Record::A(address),
            IpAddr::V6(address) => Record::Aaaa(address),
        };
        self.node.names.add(name, record);
    }

    /// Whether the mail exchanger puts everything off.
    pub(crate) fn put_off(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Puts the policies among these objects in force, for these pods and kube-dns.
    pub(crate) fn enforce(&self, objects: &[Value], pods: &[policy::Pod]) {
        let policies = objects.iter().filter(|object| object["kind"] == "NetworkPolicy");
        let policies: Vec<Value> = policies.cloned().collect();
        assert!(!policies.is_empty(), "no policies");
        let dns = named(&self.kube_dns, "kube-system", labels(&[("k8s-app", "kube-dns")]));
        let pods = [pods, &[dns]].concat();
        self.cluster.enforce(&policies, &pods, &Namespaces::new());
    }
}

/// A host as the pod with these labels.
pub(crate) fn named(host: &Host, namespace: &str, labels: Labels) -> policy::Pod {
    policy::Pod {
        namespace: namespace.to_owned(),
        labels,
        addresses: host.addresses.clone(),
        link: host.link.clone(),
        ports: BTreeMap::new(),
    }
}

/// A host as a pod of the one workload among these objects.
pub(crate) fn of_the_workload(host: &Host, objects: &[Value]) -> policy::Pod {
    let set = Set::new(objects, &[]);
    let workload: Workload<'_> = set.workloads()[0];
    policy::Pod {
        ports: workload.ports(),
        ..named(host, workload.namespace(), workload.labels())
    }
}
