//! Who is let in by the chart's NetworkPolicies: values that kustomize has no counterpart for, and one policy by all its means.

use crate::charts::rendering::{CHART, folder, template};
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

/// The pod of `helm test` reaches the server's SMTP and HTTP and the cluster's DNS, and nothing else; by the policies that come with it alone,
/// and with every other flow of the namespace closed.
#[test]
fn the_test_pod_reaches_the_server_and_nothing_else() {
    for deny in [true, false] {
        let objects = with(
            &json!({"config": {"server": {"hostname": "mail.example.com"}}, "networkPolicy": {"denyNamespace": deny}}),
        );
        let set = Set::new(&objects, &[]);
        let server = set.workloads()[0];
        let pods = set.all_pods();
        let tester = pods
            .iter()
            .find(|pod| pod.name().ends_with("-test"))
            .expect("the test pod");
        let end = |workload: &packaging::semantic::Workload| {
            End::Pod(workload.namespace().to_owned(), workload.labels())
        };
        let way = |policies: &Policies, other: &End, protocol: Protocol, port: u16| {
            policies.let_through(*tester, Way::Out, other, protocol, port)
        };
        let policies = Policies::of(&objects);
        for (port, open) in [(2525, true), (8080, true), (4650, false), (5870, false)] {
            assert_eq!(way(&policies, &end(&server), Protocol::Tcp, port), open, "{port}");
        }
        assert!(policies.let_through(server, Way::In, &end(tester), Protocol::Tcp, 8080));
        let dns = End::pod("kube-system", &[("k8s-app", "kube-dns")]);
        assert!(way(&policies, &dns, Protocol::Udp, 53) && way(&policies, &dns, Protocol::Tcp, 53));
        for elsewhere in [
            End::address("203.0.113.9"),
            End::pod("other", &[("app", "smtp-server")]),
        ] {
            for port in [25, 53, 2525, 8080] {
                assert!(
                    !way(&policies, &elsewhere, Protocol::Tcp, port),
                    "{elsewhere:?} {port}"
                );
            }
        }
        // It is these two that do it.
        let without = |suffix: &str| -> Vec<Value> {
            let is_it = |object: &&Value| {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                object["kind"] != "NetworkPolicy" || !name.ends_with(suffix)
            };
            objects.iter().filter(is_it).cloned().collect()
        };
        let others = without("-test-ingress");
        assert!(others.len() < objects.len());
        let shut = !Policies::of(&others).let_through(server, Way::In, &end(tester), Protocol::Tcp, 8080);
        assert!(shut, "whoever may read metrics is let in");
        let others = without("-test");
        let open = way(&Policies::of(&others), &end(&server), Protocol::Tcp, 2525);
        assert_eq!(open, !deny, "a namespace that denies nothing lets it out");
    }
}
