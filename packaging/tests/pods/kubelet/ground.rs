//! A node whose pods run a shell.

use super::answers::Answers;
use blackbox::tools::run;
use blackbox::wait_for_secs;
use packaging::image::Storage;
use packaging::kubelet::{Happened, Node, Pod};
use serde_json::{Value, json};
use std::time::Duration;

/// One that tells when it has got SIGTERM, and ends with 3.
pub(super) const HEARS: &str =
    "trap 'echo told; exit 3' TERM; echo here; while :; do busybox sleep 0.1; done";
/// One that does not hear it: the kernel keeps signals from the first process of a container that has asked for none.
pub(super) const DEAF: &str = "echo here; while :; do busybox sleep 0.1; done";

pub(super) struct Ground {
    pub(super) node: Node,
    /// What probes ask.
    pub(super) answers: Answers,
}

impl Ground {
    pub(super) fn new() -> Ground {
        let node = Node::new(Vec::new());
        shell(node.storage());
        let answers = Answers::at(node.at(8090));
        Ground { node, answers }
    }

    /// Starts a pod of its own that runs `script`, with the template (the pod's `spec`) as it was changed.
    pub(super) fn start(&self, name: &str, script: &str, change: impl FnOnce(&mut Value)) -> Pod {
        self.node.add(pod(name, script, change));
        self.node.start("Pod", name, 0)
    }

    /// A probe each second, whose answers are told.
    pub(super) fn probe(&self, path: &str, failures: u32) -> Value {
        let (host, port) = (self.answers.address.ip(), self.answers.address.port());
        json!({
            "httpGet": { "host": host, "port": port, "path": path },
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": failures,
        })
    }
}

/// A pod of one container, whose user is not the image's.
pub(super) fn pod(name: &str, script: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "mail" },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": { "runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1003 },
            "containers": [{
                "name": "shell",
                "image": "shell",
                "command": ["/busybox", "sh", "-c"],
                "args": [script],
            }],
        },
    });
    change(&mut pod["spec"]);
    pod
}

/// How often something happened to a pod.
pub(super) fn times(pod: &Pod, what: &Happened) -> usize {
    let events = pod.timeline().events();
    events.iter().filter(|event| *event == what).count()
}

/// Waits until the shell has said that it is there, and the kubelet knows it.
pub(super) fn runs(pod: &Pod) {
    wait_for_secs(&format!("the shell of {}", pod.name()), 60, || {
        times(pod, &Happened::Started) == 1 && pod.output().contains("here\n")
    });
}

/// From one of the things that happened to another.
pub(super) fn between(pod: &Pod, first: &Happened, then: &Happened) -> Duration {
    let timeline = pod.timeline();
    let at = |what| {
        timeline
            .last(what)
            .unwrap_or_else(|| panic!("no {what:?}\n{timeline}"))
    };
    at(then).saturating_sub(at(first))
}

/// An image that is only a shell, and root's: what a template says of users is not said by it too.
fn shell(storage: &Storage) {
    let folder = storage.path().join("shell");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy("/bin/busybox", folder.join("busybox")).expect("busybox");
    let file = folder.join("Containerfile");
    std::fs::write(&file, "FROM scratch\nENV PATH=/\nCOPY busybox /\n").expect("a Containerfile");
    let mut build = storage.buildah();
    build.args(["build", "--quiet", "--layers=false", "--tag", "localhost/shell"]);
    run(build.arg("--file").arg(&file).arg(&folder));
}
