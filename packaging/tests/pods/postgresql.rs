//! The Deployment.

use super::life;
use super::stage::Stage;
use blackbox::postgres::Postgres;
use packaging::kubelet::Happened;

const SET: (&str, &str) = ("Deployment", "smtp-server");

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
    life::is_lived(&stage, pod);
}

#[test]
fn another_pod_delivers_what_a_lost_one_had() {
    let (_database, stage) = with_database();
    let pod = life::with_mail(&stage, SET, 0, "left behind");
    pod.lose();
    stage.put_off(false);

    let pod = stage.node.start(SET.0, SET.1, 1);
    pod.wait_ready();
    assert_eq!(pod.timeline().events().last(), Some(&Happened::Ready(true)));
    life::sends_what_waits(&stage, &pod, &[], "left behind");
}
