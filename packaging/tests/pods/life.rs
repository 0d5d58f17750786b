//! What holds for a pod in either mode.

use super::stage::{Stage, bring, give, shown, subjects, submit};
use blackbox::wait_for;
use blackbox::wire::Wire;
use packaging::kubelet::{Happened, Pod, TOKENS};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Most memory in either mode, in octets.
const MEMORY: u64 = 512 << 20;

/// A pod that is ready, to its end: confined, carrying mail, following what is mounted, and drained in order.
pub(crate) fn is_lived(stage: &Stage, pod: Pod) {
    is_confined(&pod);
    carries_mail(stage, &pod);
    follows_what_is_mounted(stage, &pod);
    ends_in_order(stage, pod);
}

/// A pod of a workload (kind and name) with a message that its next hop puts off.
pub(crate) fn with_mail(stage: &Stage, (kind, name): (&str, &str), number: u32, subject: &str) -> Pod {
    stage.put_off(true);
    let pod = stage.node.start(kind, name, number);
    pod.wait_ready();
    bring(&pod, subject);
    pod.wait_event("delivery", |line| line["status"] == "deferred");
    pod
}

/// An operator has what waits tried again, with the program in the pod: the message arrives, once, and nothing is left.
pub(crate) fn sends_what_waits(stage: &Stage, pod: &Pod, more: &[&str], subject: &str) {
    let retried = pod.exec(&[&["smtp-server", "queue", "retry", "--all"][..], more].concat());
    let said = String::from_utf8_lossy(&retried.stderr);
    assert!(retried.status.success(), "{said}");
    stage.sink.wait(1);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
    assert_eq!(subjects(&stage.sink), [subject]);
}

/// What Pod Security's `restricted` promises, as the kernel has it for the running process.
fn is_confined(pod: &Pod) {
    assert_eq!(pod.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(pod.status("Gid"), "1000\t1000\t1000\t1000");
    assert_eq!(pod.status("Groups"), "1000");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(pod.status(set), "0000000000000000", "{set}");
    }
    // 2: a filter decides on each system call.
    assert_eq!(pod.status("Seccomp"), "2");
    assert_eq!(pod.status("NoNewPrivs"), "1");
    // Not even root can write there, by way of the container's own mounts.
    for place in ["", "etc", "etc/smtp-server", "etc/tls", "run/secrets/smtp", "usr"] {
        let written = std::fs::write(pod.root().join(place).join("intruder"), "");
        let error = written.expect_err(place);
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{place}");
    }
    for place in ["data", "tmp"] {
        let path = pod.root().join(place).join("guest");
        std::fs::write(&path, "").unwrap_or_else(|error| panic!("{place}: {error}"));
        std::fs::remove_file(path).expect("remove");
    }
    // What is secret is for the server's group and nobody else, and there is no key to the API server.
    for folder in ["run/secrets/smtp", "etc/tls"] {
        let files = std::fs::read_dir(pod.root().join(folder).join("..data")).expect(folder);
        for file in files.flatten() {
            let mode = file.metadata().expect("metadata").mode() & 0o7777;
            assert_eq!(format!("{mode:o}"), "440", "{}", file.path().display());
        }
    }
    assert!(!pod.root().join(&TOKENS[1..]).exists(), "a token is mounted");
    // The limit as the container's own view of its control group shows it, version 1 or 2.
    let limit = pod
        .read("sys/fs/cgroup/memory/memory.limit_in_bytes")
        .or_else(|_| pod.read("sys/fs/cgroup/memory.max"));
    assert_eq!(limit.expect("a memory limit").trim(), MEMORY.to_string());
    // And the process is in that group, not only its neighbour.
    let groups = pod
        .read(&format!("proc/{}/cgroup", namespaced(pod)))
        .expect("cgroup");
    assert!(groups.contains("/kubelet-"), "{groups}");
}

/// The process's number in its own namespace.
fn namespaced(pod: &Pod) -> String {
    let numbers = pod.status("NSpid");
    numbers.rsplit('\t').next().expect("a number").to_owned()
}

/// Mail comes in, and goes on to a mailbox server by name and to strangers by MX.
fn carries_mail(stage: &Stage, pod: &Pod) {
    bring(pod, "in");
    submit(pod, "out");
    let messages = stage.sink.wait(2);
    let out = messages
        .iter()
        .find(|message| message.field("Subject").as_deref() == Some("out"));
    let out = out.expect("the submitted message");
    // With the key that is mounted.
    let signature = out.field("DKIM-Signature").expect("a signature");
    assert!(signature.contains("d=example.com"), "{signature}");
    assert_eq!(subjects(&stage.sink), ["in", "out"]);
}

/// What is mounted may change: a certificate and the configuration are taken up while the pod runs.
fn follows_what_is_mounted(stage: &Stage, pod: &Pod) {
    let pid = pod.pid();
    let old = shown(pod.at(4650));
    let new = stage.node.certify(90);
    assert!(!new.contains(&old) && !old.is_empty());
    wait_for("the renewed certificate to be shown", || {
        new.contains(&shown(pod.at(4650)))
    });
    let config = stage.node.value("ConfigMap", "smtp-config", "config.toml");
    let changed = config.replace("ESMTP Server Ready", "changed while it ran");
    assert_ne!(config, changed, "no banner in the configuration");
    stage
        .node
        .change("ConfigMap", "smtp-config", &[("config.toml", &changed)]);
    pod.wait_event("config_reloaded", |line| line["changed"][0] == "server.banner");
    let greeting = || Wire::connect(pod.at(2525)).reply().text();
    assert!(greeting().contains("changed while it ran"));
    // A mistake in it changes nothing, and is said.
    stage.node.change(
        "ConfigMap",
        "smtp-config",
        &[("config.toml", "[server]\nbaner = 1\n")],
    );
    pod.wait_event("config_refused", |_| true);
    assert!(greeting().contains("changed while it ran"));
    stage
        .node
        .change("ConfigMap", "smtp-config", &[("config.toml", &changed)]);
    assert_eq!(pod.pid(), pid, "it was started again");
}

/// Deleted, it takes mail until preStop is over, then ends by itself, within the grace period and without a loss.
fn ends_in_order(stage: &Stage, pod: Pod) {
    let (smtp, http) = (pod.at(2525), pod.at(8080));
    let timeline = pod.timeline().clone();
    let mut idle = Wire::hello(smtp);
    let mut busy = Wire::hello(smtp);
    busy.expect("MAIL FROM:<a@far.example>", 250);
    busy.expect("RCPT TO:<ann@example.com>", 250);
    busy.expect("DATA", 354);
    let deleting = std::thread::spawn(move || pod.delete());
    wait_for("the deletion", || timeline.last(&Happened::Deleted).is_some());
    // As late in preStop as can be told without a race: clients that have not heard yet still come.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(give(&mut Wire::hello(smtp), "during preStop"), 250);
    let request = "GET /health/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    assert_eq!(blackbox::server::http(http, request).0, 200);
    assert!(
        timeline.last(&Happened::PreStopped).is_none(),
        "the test was too slow:\n{timeline}"
    );
    assert!(timeline.is_ready());

    wait_for("SIGTERM", || timeline.last(&Happened::Terminated).is_some());
    // What is open is told at its next command; what is under way may finish, and then is told.
    assert_eq!(idle.say("NOOP").code, 421);
    // For longer than a pod has that says nothing about its grace period: 30 s, preStop included.
    std::thread::sleep(Duration::from_secs(17));
    busy.send("Subject: under way at SIGTERM\r\n\r\nHello\r\n.\r\n");
    assert_eq!(busy.reply().code, 250);
    drop(busy);

    let ended = deleting.join().expect("deletion");
    println!("{timeline}");
    assert_eq!((ended.code, ended.killed), (0, false), "{ended:?}\n{timeline}");
    // Nothing was left to wait for then.
    assert!(ended.took < Duration::from_secs(32), "{ended:?}\n{timeline}");
    let (pre_stop, deleted) = (
        timeline.last(&Happened::PreStopped).expect("preStop"),
        timeline.last(&Happened::Deleted).expect("deleted"),
    );
    assert!(pre_stop - deleted >= Duration::from_secs(15), "{timeline}");
    // What was taken before SIGTERM has gone out, once. What was taken after it waits in the store.
    let arrived = subjects(&stage.sink);
    assert_eq!(arrived, ["during preStop", "in", "out"]);
}
