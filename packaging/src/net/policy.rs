//! NetworkPolicies as rules of nftables, for the node to enforce on what it forwards.
//!
//! A connection needs both: the egress of the pod that begins it and the ingress of the pod that it goes to. What belongs to
//! a connection that was let in passes. Services are resolved before, as with most networks: policies see pods' addresses.
//! The node itself is not subject to policies: the kubelet reaches its pods.

use super::cluster::family;
pub use crate::semantic::Labels;
use crate::semantic::selects;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The namespaces with their labels. `kubernetes.io/metadata.name` need not be among them.
pub type Namespaces = BTreeMap<String, Labels>;

/// A rendered NetworkPolicy.
pub type Policy = Value;

/// A pod of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub namespace: String,
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
    /// The node's end of its cable.
    pub link: String,
    /// Named ports.
    pub ports: BTreeMap<String, u16>,
}

/// Labels from pairs.
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[derive(Clone, Copy)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// The policy's word: of its list of rules, of the other side in a rule, of its type.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Direction::Ingress => ("ingress", "from", "Ingress"),
            Direction::Egress => ("egress", "to", "Egress"),
        }
    }

    /// Which address of a packet is the other side's.
    fn other(self) -> &'static str {
        match self {
            Direction::Ingress => "saddr",
            Direction::Egress => "daddr",
        }
    }
}

/// The table that enforces policies, instead of one that there is.
pub fn rules(policies: &[Policy], pods: &[Pod], namespaces: &Namespaces) -> String {
    let mut jumps = String::new();
    let mut chains = String::new();
    for pod in pods {
        for (direction, way) in [(Direction::Egress, "iifname"), (Direction::Ingress, "oifname")] {
            if let Some(rules) = of_pod(policies, pod, direction, pods, namespaces) {
                let name = format!("{}_{}", direction.words().0, pod.link);
                let _ = writeln!(jumps, "{way} \"{}\" jump {name}", pod.link);
                let _ = writeln!(
                    chains,
                    "chain {name} {{\n{rules}counter reject with icmpx admin-prohibited\n}}"
                );
            }
        }
    }
    format!(
        "table inet policies\ndelete table inet policies\ntable inet policies {{\n{chains}\
         chain forward {{ type filter hook forward priority filter; policy accept;\n\
         ct state established,related accept\n{jumps}}}\n}}\n"
    )
}

/// What a pod may; `None` when no policy is about it, and it may everything.
fn of_pod(
    policies: &[Policy],
    pod: &Pod,
    direction: Direction,
    pods: &[Pod],
    namespaces: &Namespaces,
) -> Option<String> {
    let (list, other, _) = direction.words();
    let applies = |policy: &&Policy| {
        policy["metadata"]["namespace"]
            .as_str()
            .expect("a policy's namespace")
            == pod.namespace
            && selects(&policy["spec"]["podSelector"], &pod.labels)
            && concerns(&policy["spec"], direction)
    };
    let applying: Vec<&Policy> = policies.iter().filter(applies).collect();
    if applying.is_empty() {
        return None;
    }
    let mut text = String::new();
    for policy in applying {
        for rule in each(&policy["spec"][list]) {
            let peers: Vec<&Value> = each(&rule[other]).collect();
            let ports: Vec<&Value> = each(&rule["ports"]).collect();
            let sides = match peers.is_empty() {
                true => vec![Side::default()],
                false => peers
                    .iter()
                    .flat_map(|peer| side(peer, direction, &pod.namespace, pods, namespaces))
                    .collect(),
            };
            for side in &sides {
                // A named port is the port of whoever is connected to.
                let named = match direction {
                    Direction::Ingress => Some(&pod.ports),
                    Direction::Egress => side.ports.as_ref(),
                };
                for port in matches(&ports, named) {
                    let _ = writeln!(text, "{} {port} counter return", side.matching);
                }
            }
        }
    }
    Some(text)
}

/// Whether a policy is about a direction.
fn concerns(spec: &Value, direction: Direction) -> bool {
    let (list, _, kind) = direction.words();
    match &spec["policyTypes"] {
        // By default about ingress, and about egress if it has rules for it.
        Value::Null => matches!(direction, Direction::Ingress) || each(&spec[list]).next().is_some(),
        kinds => each(kinds).any(|known| known == kind),
    }
}

/// The other side of a rule: an expression that matches it, and the named ports if it is a pod.
#[derive(Default)]
struct Side {
    matching: String,
    ports: Option<BTreeMap<String, u16>>,
}

fn side(peer: &Value, direction: Direction, own: &str, pods: &[Pod], namespaces: &Namespaces) -> Vec<Side> {
    let other = direction.other();
    let plain = |matching| Side {
        matching,
        ports: None,
    };
    if let Some(cidr) = peer["ipBlock"]["cidr"].as_str() {
        let family = if cidr.contains(':') { "ip6" } else { "ip" };
        let except: BTreeSet<&str> = each(&peer["ipBlock"]["except"])
            .filter_map(Value::as_str)
            .collect();
        let except: Vec<&str> = except.into_iter().collect();
        // With the prefix 0 nft matches nothing in particular, and needs to be told the family.
        let within = match cidr.ends_with("/0") {
            true => format!("meta nfproto {}", if family == "ip" { "ipv4" } else { "ipv6" }),
            false => format!("{family} {other} {cidr}"),
        };
        let but = match except.is_empty() {
            true => String::new(),
            false => format!(" {family} {other} != {{ {} }}", except.join(", ")),
        };
        return vec![plain(format!("{within}{but}"))];
    }
    let selected = |pod: &&Pod| {
        let in_namespace = match &peer["namespaceSelector"] {
            Value::Null => pod.namespace == own,
            selector => selects(selector, &namespace_labels(&pod.namespace, namespaces)),
        };
        in_namespace && (peer["podSelector"].is_null() || selects(&peer["podSelector"], &pod.labels))
    };
    let addressed = |pod: &Pod| {
        let side = |address: &IpAddr| Side {
            matching: format!("{} {other} {address}", family(*address)),
            ports: Some(pod.ports.clone()),
        };
        pod.addresses.iter().map(side).collect::<Vec<Side>>()
    };
    pods.iter().filter(selected).flat_map(addressed).collect()
}

/// Expressions for the ports of a rule.
fn matches(ports: &[&Value], named: Option<&BTreeMap<String, u16>>) -> Vec<String> {
    if ports.is_empty() {
        return vec![String::new()];
    }
    let expression = |entry: &&Value| {
        let protocol = entry["protocol"].as_str().unwrap_or("TCP").to_ascii_lowercase();
        let port = match &entry["port"] {
            Value::Null => return Some(format!("meta l4proto {protocol}")),
            // Who has no port of the name is not reached by it.
            Value::String(name) => u64::from(*named?.get(name)?),
            number => number.as_u64().expect("a port"),
        };
        let last = entry["endPort"].as_u64().map(|last| format!("-{last}"));
        Some(format!("{protocol} dport {port}{}", last.unwrap_or_default()))
    };
    ports.iter().filter_map(expression).collect()
}

fn namespace_labels(name: &str, namespaces: &Namespaces) -> Labels {
    let mut labels = namespaces.get(name).cloned().unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
