//! The StatefulSet.

use super::stage::{Mode, Stage, bring, subjects};
use super::{faults, life};
use blackbox::{wait_for, wait_for_secs};
use packaging::kubelet::Happened;

#[test]
fn lives_from_start_to_drain() {
    life::from_start_to_drain(&Stage::new(Mode::Embedded));
}

#[test]
fn a_server_that_hangs_is_started_again_with_its_mail() {
    faults::is_started_again_when_it_hangs(&Stage::new(Mode::Embedded));
}

#[test]
fn a_pod_whose_disk_is_full_gets_no_mail_and_is_not_started_again() {
    faults::gets_no_mail_while_it_is_not_ready(&Stage::new(Mode::Embedded));
}

#[test]
fn mail_in_the_claim_outlives_the_container_and_the_pod() {
    let stage = Stage::new(Mode::Embedded);
    stage.put_off(true);
    let pod = stage.start(1);
    pod.wait_ready();
    bring(&pod, "kept");
    pod.wait_event("delivery", |line| line["status"] == "deferred");

    // The container dies, and the kubelet starts it again on the same volumes.
    pod.crash();
    wait_for_secs("the container to be started again", 60, || {
        let events = pod.timeline().events();
        events.iter().filter(|what| **what == Happened::Started).count() == 2
    });
    pod.wait_ready();
    assert!(pod.timeline().events().contains(&Happened::Exited(137)));
    assert_eq!(pod.metric("smtp_queue_depth"), 1.0);
    assert_eq!(subjects(&stage.sink), [""; 0]);

    // The node is lost, and the StatefulSet's controller makes the pod again, with the same name and claim.
    pod.lose();
    stage.put_off(false);
    let pod = stage.start(1);
    pod.wait_ready();
    // As an operator would, with what is in the pod: the program, the password's file, the loopback address.
    let listed = pod.done(&["smtp-server", "queue", "list", "--output", "json"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    // `localhost` is found in the pod's hosts file, without a resolver's library in the image.
    let localhost = ["--url", "http://localhost:8080"];
    pod.done(&[&["smtp-server", "queue", "retry", "--all"], &localhost[..]].concat());
    stage.sink.wait(1);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
    assert_eq!(subjects(&stage.sink), ["kept"]);
    assert_eq!(pod.done(&["mailq"]), "Mail queue is empty\n");
}
