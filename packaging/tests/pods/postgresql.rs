//! The Deployment.

use super::life;
use super::stage::{Stage, bring, subjects};
use blackbox::postgres::Postgres;
use blackbox::wait_for;
use packaging::kubelet::Happened;

const SET: (&str, &str) = ("Deployment", "smtp-server");
const MEMORY: u64 = 512 << 20;

/// A database under the name of a Service.
fn with_database() -> (Postgres, Stage) {
    let database = Postgres::start();
    let stage = Stage::new("postgresql");
    let name = "postgresql.mail.svc.cluster.local";
    stage.node.names.a(name, &stage.node.address().to_string());
    stage.node.lends(5432, database.address());
    let here = database.address().to_string();
    let url = database.url().replace(&here, "postgresql:5432");
    stage
        .node
        .change("Secret", "smtp-secrets", &[("SMTP_DATABASE_URL", &url)]);
    (database, stage)
}

#[test]
fn lives_from_start_to_drain() {
    let (_database, stage) = with_database();
    let pod = stage.node.start(SET.0, SET.1, 0);
    pod.wait_ready();
    life::is_confined(&pod, MEMORY);
    life::carries_mail(&stage, &pod);
    life::follows_what_is_mounted(&stage, &pod);
    life::ends_in_order(&stage, pod);
}

#[test]
fn another_pod_delivers_what_a_lost_one_had() {
    let (_database, stage) = with_database();
    stage.put_off(true);
    let pod = stage.node.start(SET.0, SET.1, 0);
    pod.wait_ready();
    bring(&pod, "left behind");
    pod.wait_event("delivery", |line| line["status"] == "deferred");
    pod.lose();
    stage.put_off(false);

    let pod = stage.node.start(SET.0, SET.1, 1);
    pod.wait_ready();
    assert_eq!(pod.timeline().events().last(), Some(&Happened::Ready(true)));
    let retried = pod.exec(&["smtp-server", "queue", "retry", "--all"]);
    assert!(
        retried.status.success(),
        "{}",
        String::from_utf8_lossy(&retried.stderr)
    );
    stage.sink.wait(1);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
    assert_eq!(subjects(&stage.sink), ["left behind"]);
}
