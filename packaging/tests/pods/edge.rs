//! The overlay `edge`: a pod on its node's network. The node is a network namespace of the test's.

use super::around::Around;
use super::life::{MEMORY, is_confined};
use super::stage::{OURS, give, released, retry, subjects, submit_to};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use packaging::kubelet::{Happened, Pod};
use packaging::net::addresses::NODE;
use packaging::net::probe::{self, Outcome};
use packaging::render::{kustomize, objects};
use packaging::tools::Release;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn started(pod: &Pod, times: usize) {
    wait_for_secs("the container to be started again", 60, || {
        let events = pod.timeline().events();
        events.iter().filter(|what| **what == Happened::Started).count() >= times
    });
}

/// The node's addresses.
fn node() -> [IpAddr; 2] {
    NODE.map(|address| address.parse().expect("an address"))
}

#[test]
fn a_pod_at_the_edge_has_its_nodes_ports_and_addresses_and_keeps_its_mail() {
    let around = Around::new(objects(&kustomize(Release::Helm4, "k8s/overlays/edge")));
    around.node.configure(OURS);
    let pod = around.node.start("StatefulSet", "smtp-server", 0);
    waits_for_the_nodes_leave(&around, &pod);
    is_confined(&pod, MEMORY);
    is_on_the_nodes_network_alone(&around, &pod);
    is_reached_where_it_should_be(&around);
    carries_mail(&around);

    // The process dies, then the pod goes and comes again: on the same claim, at the same ports.
    around.put_off(true);
    around.client.space.inside(|| bring(node()[0], "kept"));
    pod.wait_event("delivery", |line| line["status"] == "deferred");
    let before = pod.timeline().events();
    let starts = before.iter().filter(|what| **what == Happened::Started).count();
    pod.crash();
    started(&pod, starts + 1);
    pod.wait_ready();
    assert_eq!(pod.metric("smtp_queue_depth"), 1.0);
    let ended = pod.delete();
    assert_eq!((ended.code, ended.killed), (0, false), "{ended:?}");
    drop(pod);
    let pod = around.node.start("StatefulSet", "smtp-server", 0);
    pod.wait_ready();
    assert_eq!(pod.metric("smtp_queue_depth"), 1.0);
    around.put_off(false);
    retry(&pod);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
    let expected = ["in by 4", "in by 6", "kept", "out by 4", "out by 6"];
    assert_eq!(subjects(&around.sink), expected);
}

/// By the chart, with a listener of their own for admin API and console.
#[test]
fn the_charts_pod_on_its_nodes_network_keeps_what_is_not_mail_to_the_node() {
    let around = Around::new(released("edge", &[]));
    let_low_ports(&around);
    let pod = around.node.start("StatefulSet", "smtp-server", 0);
    pod.wait_ready();
    is_on_the_nodes_network_alone(&around, &pod);
    is_reached_where_it_should_be(&around);
    let admin = SocketAddr::from(([127, 0, 0, 1], 8081));
    let get = || probe::get(admin, "/api/v1/queue", Duration::from_secs(10));
    let answer = around.cluster.node().inside(get);
    assert_eq!(answer.map(|(status, _)| status), Some(401));
}

/// As kustomization.yaml says: without the node's sysctl it may not listen on 25, and says so; with it, nothing else is needed.
fn waits_for_the_nodes_leave(around: &Around, pod: &Pod) {
    wait_for("the pod to say what it may not", || {
        let said = pod.output();
        said.contains("cannot listen on [::]:25 ") && said.contains("ip_unprivileged_port_start")
    });
    assert!(!pod.timeline().events().contains(&Happened::Ready(true)));
    let_low_ports(around);
    // The probes ask loopback, where the server is.
    pod.wait_ready();
    let events = pod.timeline().events();
    let last: Vec<&Happened> = events.iter().rev().take(3).rev().collect();
    assert_eq!(
        last,
        [&Happened::Started, &Happened::StartedUp, &Happened::Ready(true)],
        "{}",
        pod.timeline()
    );
}

/// What the node's administrator does, for IPv6 too.
fn let_low_ports(around: &Around) {
    let start = [("ipv4/ip_unprivileged_port_start", "25")];
    around.cluster.node().set(&start);
}

fn is_on_the_nodes_network_alone(around: &Around, pod: &Pod) {
    let space = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).expect("a namespace");
    let of_the_pod = space(&pod.pid().to_string());
    assert_eq!(of_the_pod, around.cluster.node().inside(|| space("thread-self")));
    assert_ne!(
        of_the_pod,
        space("thread-self"),
        "it is on this machine's network"
    );
}

/// From outside mail's ports are reached and no others. Health, metrics and the admin API are for the node.
fn is_reached_where_it_should_be(around: &Around) {
    for address in node() {
        for (port, outcome) in [
            (25, Outcome::Open),
            (465, Outcome::Open),
            (587, Outcome::Open),
            (8080, Outcome::Refused),
            (8081, Outcome::Refused),
            (2525, Outcome::Refused),
            (4650, Outcome::Refused),
            (5870, Outcome::Refused),
        ] {
            let found = probe::tcp(&around.client, address, port);
            assert_eq!(found, outcome, "{address} port {port}");
        }
    }
}

fn bring(address: IpAddr, subject: &str) {
    let mut wire = Wire::hello(SocketAddr::new(address, 25));
    assert_eq!(give(&mut wire, subject), 250);
}

/// In by the node's addresses, out by them; in between the client is known by its own.
fn carries_mail(around: &Around) {
    let [four, six] = node();
    around.client.space.inside(|| {
        bring(four, "in by 4");
        bring(six, "in by 6");
        submit_to(
            "bob@partner.example",
            SocketAddr::new(four, 587),
            "--tls",
            "out by 4",
        );
        submit_to(
            "bob@six.example",
            SocketAddr::new(four, 465),
            "--tls-on-connect",
            "out by 6",
        );
    });
    for message in around.sink.wait(4) {
        let subject = message.field("Subject").expect("a subject");
        let by = if subject == "out by 6" { six } else { four };
        assert_eq!(message.peer, Some(by), "{subject}");
        if let Some(family) = subject.strip_prefix("in by ") {
            let client = match family {
                "4" => format!("[{}]", around.client.v4()),
                _ => format!("[IPv6:{}]", around.client.v6()),
            };
            let received = message.field("Received").expect("a Received field");
            assert!(received.contains(&client), "{subject}: {received}");
        }
    }
}
