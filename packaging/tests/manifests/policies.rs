//! The NetworkPolicies, flow by flow.

use crate::manifests::rendered::{customized, overlay};
use packaging::render::objects;
use packaging::semantic::network::{End, Policies, Protocol, Way};
use packaging::semantic::{Set, Workload};
use packaging::tools::Release;
use serde_json::Value;

/// What a flow is, and in which overlays it may be.
struct Flow {
    way: Way,
    other: End,
    protocol: Protocol,
    port: u16,
    open: &'static [&'static str],
}

const ALL: &[&str] = &["dev", "embedded", "postgresql", "smarthost"];
const SENDING: &[&str] = &["embedded", "postgresql"];
const RESOLVING: &[&str] = &["embedded", "postgresql", "smarthost"];
const NONE: &[&str] = &[];

fn table() -> Vec<Flow> {
    use Protocol::{Tcp, Udp};
    use Way::{In, Out};
    let at = |address: &str| End::address(address);
    let monitoring = || End::pod("monitoring", &[("app", "prometheus")]);
    let dns = || End::pod("kube-system", &[("k8s-app", "kube-dns")]);
    let database = |namespace: &str| End::pod(namespace, &[("app", "postgresql")]);
    let rows: Vec<(Way, End, Protocol, u16, &'static [&'static str])> = vec![
        // Mail from the world, by both families, and from pods.
        (In, at("203.0.113.9"), Tcp, 2525, ALL),
        (In, at("203.0.113.9"), Tcp, 4650, ALL),
        (In, at("203.0.113.9"), Tcp, 5870, ALL),
        (In, at("2001:db8::9"), Tcp, 2525, ALL),
        (In, at("2001:db8::9"), Tcp, 4650, ALL),
        (In, at("2001:db8::9"), Tcp, 5870, ALL),
        (In, at("10.0.0.7"), Tcp, 2525, ALL),
        (In, End::pod("shop", &[("app", "shop")]), Tcp, 5870, ALL),
        (In, at("203.0.113.9"), Udp, 2525, NONE),
        // Nothing else from there: neither ports of Services nor anything that does not listen.
        (In, at("203.0.113.9"), Tcp, 25, NONE),
        (In, at("203.0.113.9"), Tcp, 7946, NONE),
        (In, at("203.0.113.9"), Tcp, 22, NONE),
        // Metrics and the admin API: monitoring, and nobody else.
        (In, monitoring(), Tcp, 8080, ALL),
        (In, monitoring(), Tcp, 9090, NONE),
        (In, at("203.0.113.9"), Tcp, 8080, NONE),
        (In, at("2001:db8::9"), Tcp, 8080, NONE),
        (In, at("10.0.0.7"), Tcp, 8080, NONE),
        (In, End::pod("shop", &[("app", "prometheus")]), Tcp, 8080, NONE),
        (In, End::pod("mail", &[("app", "smtp-server")]), Tcp, 8080, NONE),
        (
            In,
            End::pod("kube-system", &[("k8s-app", "kube-dns")]),
            Tcp,
            8080,
            NONE,
        ),
        // Names.
        (Out, dns(), Udp, 53, RESOLVING),
        (Out, dns(), Tcp, 53, RESOLVING),
        (Out, dns(), Tcp, 443, NONE),
        (Out, at("169.254.20.10"), Udp, 53, RESOLVING),
        (Out, at("169.254.20.10"), Tcp, 53, RESOLVING),
        (Out, at("169.254.20.10"), Tcp, 80, NONE),
        (Out, at("8.8.8.8"), Udp, 53, NONE),
        (Out, End::pod("shop", &[("k8s-app", "kube-dns")]), Udp, 53, NONE),
        // Mail to the world, by both families.
        (Out, at("203.0.113.9"), Tcp, 25, SENDING),
        (Out, at("2001:db8::9"), Tcp, 25, SENDING),
        (Out, at("64:ff9b::cb00:7109"), Tcp, 25, SENDING),
        (Out, at("203.0.113.9"), Udp, 25, NONE),
        (Out, at("203.0.113.9"), Tcp, 465, NONE),
        (Out, at("203.0.113.9"), Tcp, 587, NONE),
        (Out, at("203.0.113.9"), Tcp, 443, NONE),
        (Out, at("203.0.113.9"), Tcp, 80, NONE),
        (Out, at("2001:db8::9"), Tcp, 443, NONE),
        // Not where an MX record could lead that somebody wrote on purpose.
        (Out, at("10.96.0.1"), Tcp, 25, NONE),
        (Out, at("172.16.0.1"), Tcp, 25, NONE),
        (Out, at("172.31.255.255"), Tcp, 25, NONE),
        (Out, at("172.32.0.1"), Tcp, 25, SENDING),
        (Out, at("192.168.0.1"), Tcp, 25, NONE),
        (Out, at("100.64.0.1"), Tcp, 25, NONE),
        (Out, at("100.128.0.1"), Tcp, 25, SENDING),
        (Out, at("127.0.0.1"), Tcp, 25, NONE),
        (Out, at("198.18.0.1"), Tcp, 25, NONE),
        (Out, at("198.19.255.255"), Tcp, 25, NONE),
        (Out, at("224.0.0.1"), Tcp, 25, NONE),
        (Out, at("239.255.255.255"), Tcp, 25, NONE),
        (Out, at("fd12::1"), Tcp, 25, NONE),
        (Out, at("fe80::1"), Tcp, 25, NONE),
        (Out, at("240.0.0.1"), Tcp, 25, NONE),
        // By NAT64: the metadata address, a private one.
        (Out, at("64:ff9b::a9fe:a9fe"), Tcp, 25, NONE),
        (Out, at("64:ff9b::a00:5"), Tcp, 25, NONE),
        (Out, at("ff02::1"), Tcp, 25, NONE),
        // The clouds' own services, and the API server.
        (Out, at("169.254.169.254"), Tcp, 80, NONE),
        (Out, at("169.254.169.254"), Tcp, 25, NONE),
        (Out, at("169.254.169.254"), Tcp, 53, NONE),
        (Out, at("fd00:ec2::254"), Tcp, 80, NONE),
        (Out, at("10.96.0.1"), Tcp, 443, NONE),
        (
            Out,
            End::pod("monitoring", &[("app", "prometheus")]),
            Tcp,
            9090,
            NONE,
        ),
        // The provider, by its addresses.
        (Out, at("192.0.2.25"), Tcp, 587, &["smarthost"]),
        (Out, at("192.0.2.25"), Tcp, 465, &["smarthost"]),
        (Out, at("2001:db8::25"), Tcp, 587, &["smarthost"]),
        (Out, at("192.0.2.26"), Tcp, 587, NONE),
        (Out, at("192.0.2.25"), Tcp, 25, SENDING),
        // PostgreSQL, in two places.
        (Out, database("mail"), Tcp, 5432, &["postgresql"]),
        (Out, database("database"), Tcp, 5432, &["postgresql"]),
        (Out, database("shop"), Tcp, 5432, NONE),
        (Out, End::pod("mail", &[("app", "shop")]), Tcp, 5432, NONE),
        (Out, database("mail"), Tcp, 22, NONE),
        (Out, at("203.0.113.9"), Tcp, 5432, NONE),
    ];
    rows.into_iter()
        .map(|(way, other, protocol, port, open)| Flow {
            way,
            other,
            protocol,
            port,
            open,
        })
        .collect()
}

#[test]
fn what_is_let_through_is_in_the_table() {
    for name in ALL {
        let objects = overlay(name).objects;
        let policies = Policies::of(&objects);
        let set = Set::new(&objects, &[]);
        let workload = set.workloads()[0];
        for flow in table() {
            let open = policies.let_through(workload, flow.way, &flow.other, flow.protocol, flow.port);
            assert_eq!(
                open,
                flow.open.contains(name),
                "{name}: {:?} {:?} {:?} {}",
                flow.way,
                flow.other,
                flow.protocol,
                flow.port
            );
        }
    }
}

/// The component opens what it says, and only that.
#[test]
fn https_goes_out_with_its_component() {
    let objects = objects(&customized(
        Release::Helm4,
        "embedded",
        &["components/https-egress"],
    ));
    let policies = Policies::of(&objects);
    let set = Set::new(&objects, &[]);
    let out = |address: &str, port: u16| {
        policies.let_through(
            set.workloads()[0],
            Way::Out,
            &End::address(address),
            Protocol::Tcp,
            port,
        )
    };
    assert!(out("203.0.113.9", 443) && out("2001:db8::9", 443) && out("203.0.113.9", 25));
    for closed in ["10.96.0.1", "169.254.169.254", "fd00:ec2::254", "100.64.0.1"] {
        assert!(!out(closed, 443), "{closed}");
    }
    assert!(!out("203.0.113.9", 80) && !out("203.0.113.9", 8443));
}

/// The API server by the addresses that are named, and by no other.
#[test]
fn the_api_server_is_reached_with_its_component() {
    let with = objects(&customized(
        Release::Helm4,
        "embedded",
        &["components/scale-aware"],
    ));
    let without = overlay("embedded").objects;
    let out = |objects: &[Value], address: &str, port: u16| {
        let (policies, set) = (Policies::of(objects), Set::new(objects, &[]));
        let other = End::address(address);
        policies.let_through(set.workloads()[0], Way::Out, &other, Protocol::Tcp, port)
    };
    for address in ["192.0.2.6", "2001:db8::6"] {
        for port in [443, 6443] {
            assert!(
                out(&with, address, port) && !out(&without, address, port),
                "{address} {port}"
            );
        }
        assert!(!out(&with, address, 10250), "{address}");
    }
    for closed in [
        "192.0.2.7",
        "2001:db8::7",
        "10.96.0.1",
        "169.254.169.254",
        "203.0.113.9",
    ] {
        assert!(!out(&with, closed, 443) && !out(&with, closed, 6443), "{closed}");
    }
}

/// A database in the mail's namespace can be reached, though everything there is closed by default.
#[test]
fn a_database_beside_the_server_answers() {
    let mut objects = overlay("postgresql").objects;
    let database: Value = serde_json::json!({
        "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "mail"},
        "spec": {"template": {"metadata": {"labels": {"app": "postgresql"}}}}
    });
    objects.push(database.clone());
    let policies = Policies::of(&objects);
    let asks = |other: &End, port: u16| {
        policies.let_through(
            Workload { object: &database },
            Way::In,
            other,
            Protocol::Tcp,
            port,
        )
    };
    assert!(asks(&End::pod("mail", &[("app", "smtp-server")]), 5432));
    assert!(!asks(&End::pod("mail", &[("app", "smtp-server")]), 22));
    assert!(!asks(&End::pod("mail", &[("app", "shop")]), 5432));
    assert!(!asks(&End::pod("shop", &[("app", "smtp-server")]), 5432));
    assert!(!asks(&End::address("203.0.113.9"), 5432));
}

/// The evaluator by the rules that Kubernetes has for them, on policies that are in no overlay.
#[test]
fn the_evaluator_knows_the_rules() {
    let pod = serde_json::json!({
        "kind": "Deployment", "metadata": {"name": "a", "namespace": "n"},
        "spec": {"template": {"metadata": {"labels": {"app": "a"}},
                              "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8000}]}]}}}
    });
    let policy = |spec: Value| {
        vec![
            serde_json::json!({"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}),
        ]
    };
    let ask = |policies: &[Value], way, other: &str, port| {
        let workload = Workload { object: &pod };
        Policies::of(policies).let_through(workload, way, &End::address(other), Protocol::Tcp, port)
    };
    use serde_json::json;
    let (world, v6) = ("203.0.113.9", "2001:db8::1");
    // None: everything. One about other pods or in another namespace: still everything.
    assert!(ask(&[], Way::In, world, 1));
    assert!(ask(
        &policy(json!({"podSelector": {"matchLabels": {"app": "b"}}})),
        Way::In,
        world,
        1
    ));
    // Without types it is about what comes in, and about what goes out if it has rules for it.
    let silent = policy(json!({"podSelector": {}}));
    assert!(!ask(&silent, Way::In, world, 1) && ask(&silent, Way::Out, world, 1));
    let out = policy(json!({"podSelector": {}, "egress": [{}]}));
    assert!(!ask(&out, Way::In, world, 1) && ask(&out, Way::Out, v6, 1));
    // An empty rule lets everything through; an empty list nothing.
    assert!(ask(
        &policy(json!({"podSelector": {}, "ingress": [{}]})),
        Way::In,
        world,
        1
    ));
    assert!(!ask(
        &policy(json!({"podSelector": {}, "ingress": []})),
        Way::In,
        world,
        1
    ));
    // Ports by name and by range.
    let named = policy(json!({"podSelector": {}, "ingress": [{"ports": [{"port": "web"}]}]}));
    assert!(ask(&named, Way::In, world, 8000) && !ask(&named, Way::In, world, 8001));
    let range = policy(json!({"podSelector": {}, "ingress": [{"ports": [{"port": 10, "endPort": 12}]}]}));
    assert!(ask(&range, Way::In, world, 12) && !ask(&range, Way::In, world, 13));
    // A block of one family says nothing about the other.
    let block =
        policy(json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}));
    assert!(ask(&block, Way::In, world, 1) && !ask(&block, Way::In, v6, 1));
    // Selectors of pods alone mean the policy's own namespace; with both, both have to match.
    let from = |peer: Value| policy(json!({"podSelector": {}, "ingress": [{"from": [peer]}]}));
    let by = |policies: &[Value], namespace: &str, app: &str| {
        let workload = Workload { object: &pod };
        let other = End::pod(namespace, &[("app", app)]);
        Policies::of(policies).let_through(workload, Way::In, &other, Protocol::Tcp, 1)
    };
    let pods = from(json!({"podSelector": {"matchLabels": {"app": "b"}}}));
    assert!(by(&pods, "n", "b") && !by(&pods, "m", "b") && !by(&pods, "n", "c"));
    let namespaces =
        from(json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "m"}}}));
    assert!(by(&namespaces, "m", "c") && !by(&namespaces, "n", "c"));
    let both = from(json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "b"}}}));
    assert!(by(&both, "m", "b") && !by(&both, "m", "c"));
    assert!(!ask(&both, Way::In, world, 1), "a selector means no address");
}
