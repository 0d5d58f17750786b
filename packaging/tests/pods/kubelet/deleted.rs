//! How a pod that is deleted ends.

use super::answers::Says::Status;
use super::ground::{DEAF, Ground, HEARS, between, runs, times};
use blackbox::{wait_for, wait_for_secs};
use packaging::kubelet::{Happened, Pod};
use serde_json::json;
use std::thread;
use std::time::Duration;

/// Seconds that a preStop takes, within which a probe has to fail and the pod's output is read, beside fourteen other plays. The longest of
/// them takes no less.
const PRE_STOP: u64 = 12;

/// preStop, then SIGTERM, and time to end; until then it is asked whether it is ready, and no longer whether it lives.
pub(super) fn ends_in_order(ground: &Ground) {
    let answers = &ground.answers;
    for path in ["/order/live", "/order/ready"] {
        answers.says(path, &[Status(200)]);
    }
    let slowly = HEARS.replace("exit 3", "busybox sleep 1; echo done; exit 3");
    let pod = ground.start("order", &slowly, |pod| {
        pod["terminationGracePeriodSeconds"] = json!(40);
        let container = &mut pod["containers"][0];
        container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": PRE_STOP } } });
        container["livenessProbe"] = ground.probe("/order/live", 1);
        container["readinessProbe"] = ground.probe("/order/ready", 1);
    });
    pod.wait_ready();
    runs(&pod);
    let ended = thread::scope(|scope| {
        let deleting = scope.spawn(|| pod.delete());
        wait_for("the deletion", || times(&pod, &Happened::Deleted) == 1);
        for path in ["/order/live", "/order/ready"] {
            answers.says(path, &[Status(500)]);
        }
        wait_for("it not to be ready", || !pod.timeline().is_ready());
        assert_eq!(pod.output(), "here\n", "{}", pod.timeline());
        deleting.join().expect("deletion")
    });
    assert_eq!((ended.code, ended.killed), (3, false), "{}", pod.timeline());
    assert_eq!(pod.output(), "here\ntold\ndone\n");
    let expected = [
        Happened::Started,
        Happened::Ready(true),
        Happened::Deleted,
        Happened::Ready(false),
        Happened::PreStopped,
        Happened::Terminated,
        Happened::Exited(3),
    ];
    assert_eq!(pod.timeline().events(), expected, "{}", pod.timeline());
    let pre_stop = between(&pod, &Happened::Deleted, &Happened::PreStopped);
    assert!(pre_stop >= Duration::from_secs(PRE_STOP), "{}", pod.timeline());
}

/// Deletes a pod that does not hear SIGTERM.
fn deleted(ground: &Ground, name: &str, pre_stop: u64, grace: u64) -> Pod {
    let pod = ground.start(name, DEAF, |pod| {
        pod["terminationGracePeriodSeconds"] = json!(grace);
        pod["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": pre_stop } } });
    });
    runs(&pod);
    // At once, as it has no probe.
    pod.wait_ready();
    let ended = pod.delete();
    assert_eq!((ended.code, ended.killed), (137, true), "{}", pod.timeline());
    let expected = [
        Happened::Started,
        Happened::Ready(true),
        Happened::Deleted,
        Happened::PreStopped,
        Happened::Terminated,
        Happened::Killed,
        Happened::Exited(137),
    ];
    assert_eq!(pod.timeline().events(), expected, "{}", pod.timeline());
    pod
}

/// When the grace period is over, of which preStop has used up its part.
pub(super) fn kills_who_does_not_hear(ground: &Ground) {
    let pod = deleted(ground, "deaf", 3, 6);
    let grace = between(&pod, &Happened::Deleted, &Happened::Killed);
    let (least, most) = (Duration::from_secs(6), Duration::from_secs(3 + 6));
    assert!(grace >= least && grace < most, "{}", pod.timeline());
}

pub(super) fn leaves_two_seconds_in_any_case(ground: &Ground) {
    let pod = deleted(ground, "no-grace", 1, 1);
    let left = between(&pod, &Happened::PreStopped, &Happened::Killed);
    assert!(left >= Duration::from_secs(2), "{}", pod.timeline());
}

/// A signal is not lost because podman has not said yet that the container runs.
pub(super) fn hears_it_while_it_is_being_started(ground: &Ground) {
    let pod = ground.start("early", HEARS, |pod| {
        pod["terminationGracePeriodSeconds"] = json!(20);
    });
    wait_for_secs("the shell", 60, || pod.output().contains("here"));
    let ended = pod.delete();
    assert_eq!((ended.code, ended.killed), (3, false), "{}", pod.timeline());
}
