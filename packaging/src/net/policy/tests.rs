//! What the policies that ship have no use for, and others may: the rules that come of it.

use super::{Namespaces, Pod, labels, rules};
use serde_json::{Value, json};

fn pod(link: &str, namespace: &str, tier: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        labels: labels(&[("tier", tier)]),
        addresses: vec![address.parse().expect("an address")],
        link: link.to_owned(),
        ports: [("web".to_owned(), 8080)].into(),
    }
}

/// The rules of one chain that a policy of the namespace `a` makes, but for the refusal at its end.
fn chain(name: &str, spec: Value) -> Option<Vec<String>> {
    let policy = json!({"metadata": {"namespace": "a"}, "spec": spec});
    let pods = [
        pod("one", "a", "front", "198.18.0.2"),
        pod("two", "a", "back", "fd00::2"),
        pod("three", "b", "front", "198.18.0.3"),
    ];
    let namespaces = Namespaces::from([("b".to_owned(), labels(&[("team", "blue")]))]);
    let text = rules(&[policy], &pods, &namespaces);
    let (_, chain) = text.split_once(&format!("chain {name} {{\n"))?;
    let (chain, _) = chain.split_once("counter reject")?;
    Some(chain.lines().map(|line| line.trim().to_owned()).collect())
}

fn lines(lines: &[&str]) -> Option<Vec<String>> {
    Some(lines.iter().map(|line| (*line).to_owned()).collect())
}

#[test]
fn a_policy_without_types_is_about_egress_only_if_it_has_rules_for_it() {
    let plain = json!({"podSelector": {}});
    assert_eq!(chain("ingress_one", plain.clone()), lines(&[]));
    assert_eq!(chain("egress_one", plain), None);
    let both = json!({"podSelector": {}, "egress": [{}]});
    assert_eq!(chain("ingress_one", both.clone()), lines(&[]));
    assert_eq!(chain("egress_one", both), lines(&["counter return"]));
    // Another namespace's pods are no concern of its.
    assert_eq!(chain("ingress_three", json!({"podSelector": {}})), None);
}

#[test]
fn expressions_select_pods_and_namespaces() {
    let peers = |peer: Value| {
        chain(
            "ingress_two",
            json!({"podSelector": {}, "ingress": [{"from": [peer]}]}),
        )
    };
    let tier = |operator: &str| json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": ["front"]}]});
    assert_eq!(
        peers(json!({"podSelector": tier("In")})),
        lines(&["ip saddr 198.18.0.2  counter return"])
    );
    assert_eq!(
        peers(json!({"podSelector": tier("NotIn")})),
        lines(&["ip6 saddr fd00::2  counter return"])
    );
    let exists = |operator: &str| json!({"matchExpressions": [{"key": "team", "operator": operator}]});
    assert_eq!(
        peers(json!({"namespaceSelector": exists("Exists")})),
        lines(&["ip saddr 198.18.0.3  counter return"])
    );
    assert_eq!(
        peers(json!({"namespaceSelector": exists("DoesNotExist"), "podSelector": tier("In")})),
        lines(&["ip saddr 198.18.0.2  counter return"])
    );
    let named = json!({"matchLabels": {"kubernetes.io/metadata.name": "b", "team": "blue"}});
    assert_eq!(
        peers(json!({"namespaceSelector": named})),
        lines(&["ip saddr 198.18.0.3  counter return"])
    );
    // Who is selected by nothing is nobody, not everybody.
    assert_eq!(
        peers(json!({"podSelector": {"matchLabels": {"tier": "none"}}})),
        lines(&[])
    );
}

#[test]
fn ports_are_numbers_names_and_ranges_of_a_protocol() {
    let ports = |ports: Value| {
        chain(
            "ingress_one",
            json!({"podSelector": {}, "ingress": [{"ports": ports}]}),
        )
    };
    assert_eq!(
        ports(json!([{"port": "web"}])),
        lines(&["tcp dport 8080 counter return"])
    );
    assert_eq!(ports(json!([{"port": "none"}])), lines(&[]));
    assert_eq!(
        ports(json!([{"port": 100, "endPort": 200, "protocol": "UDP"}, {"protocol": "SCTP"}])),
        lines(&[
            "udp dport 100-200 counter return",
            "meta l4proto sctp counter return"
        ])
    );
    // To others a name is their port of the name.
    let to =
        json!([{"to": [{"podSelector": {"matchLabels": {"tier": "back"}}}], "ports": [{"port": "web"}]}]);
    assert_eq!(
        chain("egress_one", json!({"podSelector": {}, "egress": to})),
        lines(&["ip6 daddr fd00::2 tcp dport 8080 counter return"])
    );
}
