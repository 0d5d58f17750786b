//! Pods that do not get well by themselves.

use super::stage::{Mode, Stage, bring};
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use packaging::kubelet::{Happened, Pod};
use serde_json::json;
use std::io::ErrorKind;
use std::time::Duration;

#[test]
fn a_wrong_configuration_never_gets_ready_and_a_right_one_heals_the_pod() {
    let stage = Stage::new(Mode::Embedded);
    let right = stage.node.value("ConfigMap", "smtp-config", "config.toml");
    let wrong = format!("{right}\n[limits2]\n");
    stage
        .node
        .change("ConfigMap", "smtp-config", &[("config.toml", &wrong)]);
    let pod = stage.start(0);
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

#[test]
fn its_health_can_be_asked_by_a_command_in_the_container() {
    let stage = Stage::new(Mode::Embedded);
    // The probes as they are rendered, but by the command of the image.
    stage.edit(|pod| {
        let container = &mut pod["containers"][0];
        for (probe, what) in [
            ("startupProbe", "live"),
            ("livenessProbe", "live"),
            ("readinessProbe", "ready"),
        ] {
            let probe = container[probe].as_object_mut().expect("a probe");
            probe.remove("httpGet");
            probe.insert(
                "exec".into(),
                json!({ "command": ["/smtp-server", "health", what] }),
            );
        }
    });
    let pod = stage.start(0);
    pod.wait_ready();
    let asked = |what| {
        pod.exec(&["smtp-server", "health", what, "--timeout", "2"])
            .status
            .code()
    };
    assert_eq!((asked("live"), asked("ready")), (Some(0), Some(0)));
    // One that hangs answers nobody, and the command does not hang with it.
    kill(Pid::from_raw(pod.pid()), Signal::SIGSTOP).expect("kill");
    assert_eq!((asked("live"), asked("ready")), (Some(69), Some(69)));
    kill(Pid::from_raw(pod.pid()), Signal::SIGCONT).expect("kill");
    assert_eq!(asked("ready"), Some(0));
}

/// One that hears nothing any more is killed and started again, and its mail is there.
pub(crate) fn is_started_again_when_it_hangs(stage: &Stage) {
    // The probe as it is rendered, sooner; and not minutes for a server that hears nothing.
    stage.edit(|pod| {
        pod["terminationGracePeriodSeconds"] = json!(3);
        let container = &mut pod["containers"][0];
        container["lifecycle"]["preStop"]["sleep"]["seconds"] = json!(1);
        if let Some(live) = container.get_mut("livenessProbe") {
            live["periodSeconds"] = json!(1);
            live["timeoutSeconds"] = json!(1);
        }
    });
    stage.put_off(true);
    let pod = stage.start(0);
    pod.wait_ready();
    bring(&pod, "kept");
    pod.wait_event("delivery", |line| line["status"] == "deferred");
    kill(Pid::from_raw(pod.pid()), Signal::SIGSTOP).expect("kill");
    wait_for_secs("the container to be started again", 30, || {
        let events = pod.timeline().events();
        events.iter().filter(|what| **what == Happened::Started).count() == 2
    });
    let events = pod.timeline().events();
    let after = events.iter().skip_while(|what| **what != Happened::Unhealthy);
    let after: Vec<&Happened> = after
        .filter(|what| !matches!(what, Happened::Ready(_)))
        .take(4)
        .collect();
    // It could not hear SIGTERM either.
    assert_eq!(
        after[..],
        [
            &Happened::Unhealthy,
            &Happened::Killed,
            &Happened::Exited(137),
            &Happened::Started
        ],
        "{}",
        pod.timeline()
    );
    pod.wait_ready();
    wait_for("its mail", || pod.metric("smtp_queue_depth") == 1.0);
}

/// One that cannot take mail gets none, and is left alone: another container could not do it either.
pub(crate) fn gets_no_mail_while_it_is_not_ready(stage: &Stage) {
    // The probe as it is rendered, sooner.
    stage.edit(|pod| {
        let container = &mut pod["containers"][0];
        if let Some(ready) = container.get_mut("readinessProbe") {
            ready["periodSeconds"] = json!(1);
        }
    });
    let expected = match stage.mode {
        Mode::Embedded => with_a_full_disk(stage),
        Mode::Postgresql => without_a_database(stage),
    };
    let (pod, expected) = expected;
    pod.wait_ready();
    assert_eq!(pod.timeline().events(), expected, "{}", pod.timeline());
    bring(&pod, "after all");
    stage.sink.wait(1);
}

/// Its disk is full for a time.
fn with_a_full_disk(stage: &Stage) -> (Pod, Vec<Happened>) {
    let pod = stage.start(0);
    pod.wait_ready();
    let filler = stage.node.claim("filler");
    let full = std::fs::write(&filler, vec![1; 1 << 30]);
    assert_eq!(full.expect_err("a full disk").kind(), ErrorKind::StorageFull);
    wait_for("the pod to be taken out", || !pod.timeline().is_ready());
    assert_eq!(pod.get("/health/live").0, 200);
    std::fs::remove_file(filler).expect("remove");
    let expected = vec![
        Happened::Started,
        Happened::StartedUp,
        Happened::Ready(true),
        Happened::Ready(false),
        Happened::Ready(true),
    ];
    (pod, expected)
}

/// There is no database when it starts.
fn without_a_database(stage: &Stage) -> (Pod, Vec<Happened>) {
    stage.knows_the_database(false);
    let pod = stage.start(0);
    pod.wait_event("storage_awaited", |_| true);
    wait_for("it to have started up", || {
        pod.timeline().last(&Happened::StartedUp).is_some()
    });
    // For some probes.
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        !pod.timeline().is_ready(),
        "it is ready and has no database\n{}",
        pod.timeline()
    );
    assert_eq!(
        (pod.get("/health/live").0, pod.get("/health/ready").0),
        (200, 503)
    );
    stage.knows_the_database(true);
    let expected = vec![Happened::Started, Happened::StartedUp, Happened::Ready(true)];
    (pod, expected)
}
