//! The StatefulSet.

use super::life;
use super::stage::{Stage, subjects};
use blackbox::wait_for_secs;
use packaging::kubelet::Happened;

const SET: (&str, &str) = ("StatefulSet", "smtp-server");

#[test]
fn lives_from_start_to_drain() {
    let stage = Stage::new("embedded");
    let pod = stage.node.start(SET.0, SET.1, 0);
    pod.wait_ready();
    let events = pod.timeline().events();
    assert_eq!(
        events,
        [Happened::Started, Happened::StartedUp, Happened::Ready(true)],
        "{}",
        pod.timeline()
    );
    let store = stage.node.claim("data-smtp-server-0").join("smtp.db");
    assert!(store.exists(), "the store is not in the claim");
    life::is_lived(&stage, pod);
}

#[test]
fn mail_in_the_claim_outlives_the_container_and_the_pod() {
    let stage = Stage::new("embedded");
    let pod = life::with_mail(&stage, SET, 1, "kept");

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
    let pod = stage.node.start(SET.0, SET.1, 1);
    pod.wait_ready();
    // As an operator would, with what is in the pod: the program, the password's file, the loopback address.
    let listed = pod.exec(&["smtp-server", "queue", "list", "--output", "json"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(
        text.lines().count(),
        1,
        "{text}{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    // `localhost` is found in the pod's hosts file, without a resolver's library in the image.
    life::sends_what_waits(&stage, &pod, &["--url", "http://localhost:8080"], "kept");
    let mailq = pod.exec(&["mailq"]);
    assert!(
        mailq.status.success(),
        "{}",
        String::from_utf8_lossy(&mailq.stderr)
    );
}
