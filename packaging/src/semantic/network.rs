//! What NetworkPolicies let through, by the rules of `networking.k8s.io/v1`, and whether that is what the server needs.

use super::meaning::{Labels, Set, Workload, finds, labels, list, name_of, namespace_of, selects};
use super::ports::listening;
use ipnet::IpNet;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub enum End {
    /// Outside of the cluster, or a node.
    Address(IpAddr),
    /// A pod: its namespace and its labels.
    Pod(String, Labels),
}

impl End {
    pub fn address(address: &str) -> End {
        End::Address(
            address
                .parse()
                .unwrap_or_else(|_| panic!("{address:?} is no address")),
        )
    }
    pub fn pod(namespace: &str, pairs: &[(&str, &str)]) -> End {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        End::Pod(namespace.into(), pairs.collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// The NetworkPolicies of a set of objects.
pub struct Policies<'a> {
    policies: Vec<&'a Value>,
    namespaces: BTreeMap<&'a str, Labels>,
}

impl<'a> Policies<'a> {
    pub fn of(objects: &'a [Value]) -> Self {
        let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
        Policies {
            policies: of_kind("NetworkPolicy").collect(),
            namespaces: of_kind("Namespace")
                .map(|object| (name_of(object), labels(&object["metadata"]["labels"])))
                .collect(),
        }
    }

    /// Whether a pod may be reached from (or reach, by the way) the other end. `port` is the listening side's.
    pub fn let_through(&self, pod: Workload, way: Way, other: &End, protocol: Protocol, port: u16) -> bool {
        let ports = match (way, other) {
            (Way::In, _) => pod.ports(),
            // Ports by name are looked up at the listening side, which is not known here.
            (Way::Out, _) => BTreeMap::new(),
        };
        let about: Vec<_> = self.about(pod.namespace(), &pod.labels(), way).collect();
        // No policy about it: everything may.
        about.is_empty()
            || about.iter().any(|policy| {
                let (rules, peers) = match way {
                    Way::In => (&policy["spec"]["ingress"], "from"),
                    Way::Out => (&policy["spec"]["egress"], "to"),
                };
                list(rules).iter().any(|rule| {
                    self.peer(&rule[peers], namespace_of(policy), other)
                        && through(&rule["ports"], &ports, protocol, port)
                })
            })
    }

    /// The policies that are about a pod and a way.
    fn about<'s>(
        &'s self,
        namespace: &'s str,
        pod: &'s Labels,
        way: Way,
    ) -> impl Iterator<Item = &'a Value> + 's {
        self.policies.iter().copied().filter(move |policy| {
            let types = list(&policy["spec"]["policyTypes"]);
            let listed = |name: &str| types.iter().any(|one| one == name);
            let this_way = match way {
                Way::In => types.is_empty() || listed("Ingress"),
                Way::Out if types.is_empty() => !policy["spec"]["egress"].is_null(),
                Way::Out => listed("Egress"),
            };
            this_way && namespace_of(policy) == namespace && selects(&policy["spec"]["podSelector"], pod)
        })
    }

    fn peer(&self, peers: &Value, home: &str, other: &End) -> bool {
        let peers = list(peers);
        peers.is_empty()
            || peers.iter().any(|peer| match other {
                End::Address(address) => {
                    let block = &peer["ipBlock"];
                    let inside = |network: &Value| {
                        let network: Option<IpNet> = network.as_str().and_then(|text| text.parse().ok());
                        network.is_some_and(|network| network.contains(address))
                    };
                    inside(&block["cidr"]) && !list(&block["except"]).iter().any(inside)
                }
                End::Pod(namespace, labels) => {
                    let (pods, namespaces) = (&peer["podSelector"], &peer["namespaceSelector"]);
                    if pods.is_null() && namespaces.is_null() {
                        return false;
                    }
                    let there = match namespaces.is_null() {
                        true => namespace == home,
                        false => selects(namespaces, &self.labels_of(namespace)),
                    };
                    there && (pods.is_null() || selects(pods, labels))
                }
            })
    }

    /// A namespace's labels; the API server adds its name.
    fn labels_of(&self, namespace: &str) -> Labels {
        let mut all = self.namespaces.get(namespace).cloned().unwrap_or_default();
        all.insert("kubernetes.io/metadata.name".into(), namespace.into());
        all
    }
}

fn through(rules: &Value, names: &BTreeMap<String, u16>, protocol: Protocol, port: u16) -> bool {
    let rules = list(rules);
    let word = match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    rules.is_empty()
        || rules.iter().any(|rule| {
            let protocols = rule["protocol"].as_str().unwrap_or("TCP") == word;
            let first = match &rule["port"] {
                Value::Null => return protocols,
                Value::String(name) => names.get(name).copied().map(u64::from),
                number => number.as_u64(),
            };
            let last = rule["endPort"].as_u64().or(first);
            protocols && first.is_some_and(|first| (first..=last.unwrap_or(first)).contains(&u64::from(port)))
        })
}

/// One address of the world of each family, and what must not be reached.
const WORLD: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];
const CLOSED: [&str; 11] = [
    "169.254.169.254",
    "10.0.0.1",
    "172.20.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.2",
    "198.18.0.1",
    "224.0.0.1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
];
/// Ports by which something could be had at a closed address.
const TRIED: [u16; 8] = [25, 53, 80, 443, 465, 587, 5432, 6443];
/// Ports of what the server does not talk to.
const FOREIGN: [(u16, &str); 5] = [
    (783, "SpamAssassin"),
    (3310, "ClamAV"),
    (6379, "Redis"),
    (7946, "gossip"),
    (9090, "Prometheus, which comes by itself"),
];

pub fn look(set: &Set, found: &mut Vec<String>) {
    let policies = Policies::of(set.objects);
    for workload in set
        .workloads()
        .into_iter()
        .filter(|workload| workload.server().is_some())
    {
        let labels = workload.labels();
        for policy in &policies.policies {
            let named = !policy["spec"]["podSelector"]
                .as_object()
                .is_none_or(|all| all.is_empty());
            let here = namespace_of(policy) == workload.namespace();
            if workload.on_the_hosts_network()
                && named
                && here
                && selects(&policy["spec"]["podSelector"], &labels)
            {
                found.push(finds(
                    policy,
                    "is about pods on the host's network, where policies say nothing",
                ));
            }
        }
        if workload.on_the_hosts_network() || policies.policies.is_empty() {
            continue;
        }
        incoming(set, &policies, workload, found);
        outgoing(&policies, workload, found);
    }
    // Pods that are no servers come to ask one, by its name.
    for pods in set.all_pods() {
        let dns = End::pod("kube-system", &[("k8s-app", "kube-dns")]);
        if pods.server().is_none()
            && !pods.on_the_hosts_network()
            && !policies.let_through(pods, Way::Out, &dns, Protocol::Udp, 53)
        {
            found.push(pods.finds("policies keep it from DNS"));
        }
    }
}

fn incoming(set: &Set, policies: &Policies, workload: Workload, found: &mut Vec<String>) {
    let listening = listening(set, workload);
    let asks = |other: &End, port: u16| policies.let_through(workload, Way::In, other, Protocol::Tcp, port);
    for (name, port) in &listening {
        let for_everybody = !["http", "metrics", "admin"].contains(name);
        for address in WORLD {
            match asks(&End::address(address), *port) {
                false if for_everybody => {
                    found.push(workload.finds(format!("policies let nobody in to {name} ({address})")));
                }
                true if !for_everybody => {
                    found.push(workload.finds("policies let the world in to metrics and the admin API"));
                }
                _ => {}
            }
        }
        if !for_everybody && asks(&End::pod("shop", &[("app", "shop")]), *port) {
            found.push(workload.finds("policies let every namespace in to metrics and the admin API"));
        }
    }
    // Whoever may read metrics is not thereby let in to try passwords.
    let admin = listening.get("admin");
    if admin.is_some_and(|port| asks(&End::pod("monitoring", &[("app", "prometheus")]), *port)) {
        found
            .push(workload.finds("policies let Prometheus in to the admin API, which has a port of its own"));
    }
    let metrics = listening.get("metrics").unwrap_or(&listening["http"]);
    if !asks(&End::pod("monitoring", &[("app", "prometheus")]), *metrics) {
        found.push(workload.finds("policies keep Prometheus out"));
    }
    // A port that is let in is one that somebody listens on.
    for policy in policies.about(workload.namespace(), &workload.labels(), Way::In) {
        for rule in list(&policy["spec"]["ingress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]))
        {
            let port = workload.port(&rule["port"]);
            let tcp = rule["protocol"].as_str().unwrap_or("TCP") == "TCP";
            if !tcp || !listening.values().any(|one| Some(*one) == port) {
                let protocol = rule["protocol"].as_str().unwrap_or("TCP");
                found.push(finds(
                    policy,
                    format!("lets in to {protocol} {}, where nothing listens", rule["port"]),
                ));
            }
        }
    }
}

fn outgoing(policies: &Policies, workload: Workload, found: &mut Vec<String>) {
    let asks =
        |other: &End, protocol, port: u16| policies.let_through(workload, Way::Out, other, protocol, port);
    let tcp = |address: &str, port: u16| asks(&End::address(address), Protocol::Tcp, port);
    for address in CLOSED {
        let open: Vec<u16> = TRIED.into_iter().filter(|port| tcp(address, *port)).collect();
        if !open.is_empty() {
            found.push(workload.finds(format!("policies let it out to {address} ({open:?})")));
        }
    }
    if tcp(WORLD[0], 25) != tcp(WORLD[1], 25) {
        found.push(workload.finds("policies let mail out by one address family only"));
    }
    for port in [465, 587] {
        if WORLD.iter().any(|address| tcp(address, port)) {
            found.push(workload.finds(format!(
                "policies let it out to the whole world on {port}; smarthosts have addresses"
            )));
        }
    }
    let dns = End::pod("kube-system", &[("k8s-app", "kube-dns")]);
    let mail = WORLD.iter().any(|address| tcp(address, 25));
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        if mail && !asks(&dns, protocol, 53) {
            found.push(workload.finds(format!("policies keep it from DNS ({protocol:?})")));
        }
        if mail && !asks(&End::address("169.254.20.10"), protocol, 53) {
            found.push(workload.finds(format!(
                "policies keep it from the node's DNS cache ({protocol:?})"
            )));
        }
    }
    // Flows that manifests of other mail servers have, and this one does not.
    for policy in policies.about(workload.namespace(), &workload.labels(), Way::Out) {
        for rule in list(&policy["spec"]["egress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]))
        {
            let foreign = FOREIGN.iter().find(|(port, _)| rule["port"] == *port);
            if let Some((port, what)) = foreign {
                found.push(finds(
                    policy,
                    format!("lets out to port {port} ({what}), where the server never goes"),
                ));
            }
        }
    }
}
