//! Pods that do not get well by themselves.

use super::stage::{Stage, bring};
use blackbox::wait_for_secs;
use packaging::kubelet::Happened;

#[test]
fn a_wrong_configuration_never_gets_ready_and_a_right_one_heals_the_pod() {
    let stage = Stage::new("embedded");
    let right = stage.node.value("ConfigMap", "smtp-config", "config.toml");
    let wrong = format!("{right}\n[limits2]\n");
    stage
        .node
        .change("ConfigMap", "smtp-config", &[("config.toml", &wrong)]);
    let pod = stage.node.start("StatefulSet", "smtp-server", 0);
    wait_for_secs("the container to have ended twice", 60, || {
        let events = pod.timeline().events();
        let code = Happened::Exited(78);
        events.iter().filter(|what| **what == code).count() == 2
    });
    let events = pod.timeline().events();
    assert!(!events.contains(&Happened::Ready(true)), "{}", pod.timeline());
    // Nothing was touched.
    let claim = stage.node.claim("data-smtp-server-0");
    assert_eq!(std::fs::read_dir(claim).expect("the claim").count(), 0);

    stage
        .node
        .change("ConfigMap", "smtp-config", &[("config.toml", &right)]);
    pod.wait_ready();
    bring(&pod, "after all");
    stage.sink.wait(1);
}
