//! The Deployment.

use super::stage::{Mode, Stage, bring, retry, subjects};
use super::{faults, life};
use blackbox::wait_for;
use packaging::kubelet::Happened;

#[test]
fn lives_from_start_to_drain() {
    life::from_start_to_drain(&Stage::new(Mode::Postgresql));
}

#[test]
fn a_server_that_hangs_is_started_again_and_its_mail_is_there() {
    faults::is_started_again_when_it_hangs(&Stage::new(Mode::Postgresql));
}

#[test]
fn a_pod_whose_database_is_away_gets_no_mail_and_is_not_started_again() {
    faults::gets_no_mail_while_it_is_not_ready(&Stage::new(Mode::Postgresql));
}

#[test]
fn another_pod_delivers_what_a_lost_one_had() {
    let stage = Stage::new(Mode::Postgresql);
    stage.put_off(true);
    let pod = stage.start(0);
    pod.wait_ready();
    bring(&pod, "left behind");
    pod.wait_event("delivery", |line| line["status"] == "deferred");
    pod.lose();
    stage.put_off(false);

    let pod = stage.start(1);
    pod.wait_ready();
    assert_eq!(pod.timeline().events().last(), Some(&Happened::Ready(true)));
    retry(&pod);
    stage.sink.wait(1);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
    assert_eq!(subjects(&stage.sink), ["left behind"]);
}
