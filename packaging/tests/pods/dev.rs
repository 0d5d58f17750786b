//! The overlay for a try: applied as it is, by somebody who has nothing but a cluster.

use blackbox::sink::{Act, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use packaging::kubelet::Node;
use packaging::render::{kustomize, objects};
use packaging::tools::Release;
use std::path::{Path, PathBuf};

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    });
    below.collect()
}

#[test]
fn it_runs_as_it_is_and_keeps_what_it_gets() {
    let node = Node::new(objects(&kustomize(Release::Helm4, "k8s/overlays/dev")));
    let world = Sink::on(&node.at(25).to_string(), &[], |_, _| Act::Default);
    node.names.mx("anywhere.example", 10, "mx.anywhere.example");
    node.names.a("mx.anywhere.example", &node.address().to_string());
    let pod = node.start("StatefulSet", "smtp-server", 0);
    // Startup and readiness probes come from the node: the server is not on the pod's loopback alone.
    pod.wait_ready();
    assert_eq!(pod.status("Uid"), "1000\t1000\t1000\t1000");
    assert!(
        pod.output().contains("user admin, password "),
        "its password is not in its log: {}",
        pod.output()
    );
    let content = "Subject: a try\r\n\r\nHello\r\n";
    let mut wire = Wire::hello(pod.at(2525));
    let reply = wire.mail("a@far.example", &["anybody@anywhere.example"], content);
    assert_eq!(reply.code, 250, "{reply:?}");
    let capture = pod.root().join("data/capture");
    let kept =
        |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|mail| mail.contains("Subject: a try"));
    wait_for("the message to be kept", || files(&capture).iter().any(kept));
    assert_eq!(world.count(), 0, "something left");
}
