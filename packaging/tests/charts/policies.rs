//! Who is let in by the chart's NetworkPolicies: values that kustomize has no counterpart for, and one policy by all its means.

use crate::rendering::{CHART, folder, template};
use packaging::semantic::Set;
use packaging::semantic::network::{End, Policies, Protocol, Way};
use packaging::tools::root;
use serde_json::{Value, json};

fn let_in(objects: &[Value], other: &End, port: u16) -> bool {
    let set = Set::new(objects, &[]);
    Policies::of(objects).let_through(set.workloads()[0], Way::In, other, Protocol::Tcp, port)
}

fn with(values: &Value) -> Vec<Value> {
    let folder = folder();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).expect("written");
    template(&file)
}

/// Networks, blocks with exceptions, and pods of namespaces, side by side.
#[test]
fn mail_comes_from_networks_and_peers() {
    let objects = template(&root().join(CHART).join("ci/node-port-values.yaml"));
    let shop = |app: &str| End::pod("shop", &[("app", app)]);
    for (other, right) in [
        (End::address("203.0.113.9"), true),
        (End::address("203.0.114.9"), false),
        (End::address("2001:db8:9::9"), true),
        (End::address("2001:db8:bad::9"), false),
        (shop("shop"), true),
        (shop("other"), false),
        (End::pod("other", &[("app", "shop")]), false),
    ] {
        for port in [2525, 4650, 5870] {
            assert_eq!(let_in(&objects, &other, port), right, "{other:?} {port}");
        }
    }
}

/// The port of admin API and console is `adminFrom`'s alone, and that of metrics is not theirs.
#[test]
fn the_admin_port_is_nobodys_unless_it_is_said() {
    let values = |http: Value, from: Value| json!({"config": {"server": {"hostname": "mail.example.com"}, "http": http}, "networkPolicy": {"adminFrom": from}});
    let operations = End::pod("operations", &[("app", "console")]);
    let monitoring = End::pod("monitoring", &[("app", "prometheus")]);
    let peers =
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "operations"}}}]);
    for (http, from, open) in [
        (json!({}), json!([]), [None, Some(8080)]),
        (json!({}), peers.clone(), [Some(8080), Some(8080)]),
        (json!({"admin_port": 8081}), json!([]), [None, Some(8080)]),
        (json!({"admin_port": 8081}), peers, [Some(8081), Some(8080)]),
    ] {
        let objects = with(&values(http.clone(), from));
        for (end, open) in [&operations, &monitoring].into_iter().zip(open) {
            for port in [8080, 8081] {
                assert_eq!(
                    let_in(&objects, end, port),
                    Some(port) == open,
                    "{http} {end:?} {port}"
                );
            }
        }
    }
}
