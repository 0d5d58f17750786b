//! A node, what is connected with it, and the Services that it serves.

use super::addresses::NODE;
use super::policy;
use super::space::Space;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Marks connections whose clients' addresses are to be hidden, as kube-proxy does.
const HIDDEN: &str = "0x4000";

/// A node that connects hosts: pods of its own, other machines, the internet.
pub struct Cluster {
    node: Arc<Space>,
    links: AtomicUsize,
}

/// A host behind the node: a pod, or any other. Dropped, it is disconnected.
pub struct Host {
    pub space: Space,
    pub addresses: Vec<IpAddr>,
    /// The node's end of its cable.
    pub link: String,
    node: Arc<Space>,
}

/// An address whose connections go to pods.
#[derive(Clone, Debug)]
pub struct Service {
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub target: u16,
    /// `externalTrafficPolicy: Cluster`, and what else hides clients: pods see the node's address.
    pub masquerade: bool,
    /// The addresses of the pods behind it.
    pub endpoints: Vec<Vec<IpAddr>>,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster::new()
    }
}

impl Cluster {
    pub fn new() -> Cluster {
        let node = Space::new();
        node.set(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            // A refusal by policy is told each time, so that no probe has to wait for it.
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/icmp/ratelimit", "0"),
        ]);
        Cluster {
            node: Arc::new(node),
            links: AtomicUsize::new(0),
        }
    }

    /// The node itself: where the kubelet asks pods from.
    pub fn node(&self) -> &Arc<Space> {
        &self.node
    }

    /// Connects a host.
    pub fn host(&self, addresses: &[IpAddr]) -> Host {
        let link = format!("link{}", self.links.fetch_add(1, Ordering::Relaxed));
        let space = Space::new();
        space.set(&[("ipv6/conf/default/accept_dad", "0")]);
        // Each has a cable of its own and everything else is behind the node, so that all it says passes the node's rules.
        let mut commands = format!(
            "link add {link} type veth peer name eth0 netns {}\n\
             link set {link} up\naddr add {}/32 dev {link}\naddr add {}/128 dev {link} nodad\naddr add fe80::1/64 dev {link} nodad\n",
            space.path(),
            NODE[0],
            NODE[1],
        );
        let mut own = "link set eth0 up\n".to_owned();
        for address in addresses {
            let length = prefix(*address);
            let _ = writeln!(commands, "route add {address}/{length} dev {link}");
            let flags = if address.is_ipv6() { "nodad" } else { "" };
            let _ = writeln!(own, "addr add {address}/{length} dev eth0 {flags}");
        }
        let _ = write!(
            own,
            "route add {}/32 dev eth0 scope link\nroute add default via {} dev eth0\nroute add default via fe80::1 dev eth0\n",
            NODE[0], NODE[0]
        );
        self.node.ip(&commands);
        space.ip(&own);
        Host {
            space,
            addresses: addresses.to_vec(),
            link,
            node: self.node.clone(),
        }
    }

    /// Gives the node addresses of Services. Without pods behind them it refuses connections, as kube-proxy does.
    pub fn claim(&self, addresses: &[IpAddr]) {
        let line = |address: &IpAddr| format!("addr add {address}/{} dev lo\n", prefix(*address));
        self.node.ip(&addresses.iter().map(line).collect::<String>());
    }

    /// Serves these Services, and no others. Connections that there are stay.
    pub fn serve(&self, services: &[Service]) {
        self.node.nft(&service_rules(services));
    }

    /// Puts policies in force, instead of those that were. Connections that there are stay.
    pub fn enforce(
        &self,
        policies: &[policy::Policy],
        pods: &[policy::Pod],
        namespaces: &policy::Namespaces,
    ) {
        self.node.nft(&policy::rules(policies, pods, namespaces));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Processes that are still in it would keep the namespace, and its address.
        let link = self.link.clone();
        let delete = || {
            let mut ip = std::process::Command::new("/usr/sbin/ip");
            let _ = ip.args(["link", "delete", &link]).output();
        };
        self.node.inside(delete);
    }
}

impl Host {
    pub fn v4(&self) -> IpAddr {
        *self
            .addresses
            .iter()
            .find(|a| a.is_ipv4())
            .expect("an IPv4 address")
    }

    pub fn v6(&self) -> IpAddr {
        *self
            .addresses
            .iter()
            .find(|a| a.is_ipv6())
            .expect("an IPv6 address")
    }
}

fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `ip` or `ip6`, as nft names the protocol of an address.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn service_rules(services: &[Service]) -> String {
    let mut rules = "table inet services\ndelete table inet services\ntable inet services {\n\
                     chain out { type nat hook postrouting priority srcnat; "
        .to_owned();
    let _ = writeln!(rules, "meta mark and {HIDDEN} == {HIDDEN} masquerade; }}");
    rules.push_str("chain in { type nat hook prerouting priority dstnat;\n");
    for service in services {
        for address in &service.addresses {
            let of_family =
                |pod: &Vec<IpAddr>| pod.iter().find(|a| a.is_ipv4() == address.is_ipv4()).copied();
            let pods: Vec<IpAddr> = service.endpoints.iter().filter_map(of_family).collect();
            if pods.is_empty() {
                continue;
            }
            let family = family(*address);
            let mark = if service.masquerade {
                format!("meta mark set {HIDDEN} ")
            } else {
                String::new()
            };
            let targets: Vec<String> = pods
                .iter()
                .enumerate()
                .map(|(n, pod)| format!("{n} : {pod} . {}", service.target))
                .collect();
            let _ = writeln!(
                rules,
                "{family} daddr {address} tcp dport {} {mark}dnat {family} to numgen random mod {} map {{ {} }}",
                service.port,
                pods.len(),
                targets.join(", ")
            );
        }
    }
    rules.push_str("}\n}\n");
    rules
}
