//! Pods that do not get well by themselves.

use super::life;
use super::stage::{Stage, bring};
use blackbox::wait_for_secs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use packaging::kubelet::Happened;
use serde_json::json;
use std::io::ErrorKind;

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

#[test]
fn a_server_that_hangs_is_started_again_with_its_mail() {
    let stage = Stage::new("embedded");
    // The probe as it is rendered, sooner; and not five minutes for a server that hears nothing.
    stage.node.edit("StatefulSet", "smtp-server", |set| {
        let spec = &mut set["spec"]["template"]["spec"];
        spec["terminationGracePeriodSeconds"] = json!(3);
        let container = &mut spec["containers"][0];
        container["lifecycle"]["preStop"]["sleep"]["seconds"] = json!(1);
        if let Some(live) = container.get_mut("livenessProbe") {
            live["periodSeconds"] = json!(1);
            live["timeoutSeconds"] = json!(1);
        }
    });
    let pod = life::with_mail(&stage, ("StatefulSet", "smtp-server"), 0, "kept");
    kill(Pid::from_raw(pod.pid()), Signal::SIGSTOP).expect("kill");
    wait_for_secs("the container to be started again", 60, || {
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
    assert_eq!(pod.metric("smtp_queue_depth"), 1.0);
}

#[test]
fn a_pod_whose_disk_is_full_gets_no_mail_and_is_not_started_again() {
    let stage = Stage::new("embedded");
    // The probe as it is rendered, sooner.
    stage.node.edit("StatefulSet", "smtp-server", |set| {
        let container = &mut set["spec"]["template"]["spec"]["containers"][0];
        if let Some(ready) = container.get_mut("readinessProbe") {
            ready["periodSeconds"] = json!(1);
        }
    });
    let pod = stage.node.start("StatefulSet", "smtp-server", 0);
    pod.wait_ready();
    let filler = stage.node.claim("filler");
    let full = std::fs::write(&filler, vec![1; 1 << 30]);
    assert_eq!(full.expect_err("a full disk").kind(), ErrorKind::StorageFull);
    wait_for_secs("the pod to be taken out", 60, || !pod.timeline().is_ready());
    assert_eq!(pod.get("/health/live").0, 200);
    std::fs::remove_file(filler).expect("remove");
    pod.wait_ready();
    let events = pod.timeline().events();
    let expected = [
        Happened::Started,
        Happened::StartedUp,
        Happened::Ready(true),
        Happened::Ready(false),
        Happened::Ready(true),
    ];
    assert_eq!(events, expected, "{}", pod.timeline());
    bring(&pod, "after all");
    stage.sink.wait(1);
}

#[test]
fn its_health_can_be_asked_by_a_command_in_the_container() {
    let stage = Stage::new("embedded");
    // The probes as they are rendered, but by the command of the image.
    stage.node.edit("StatefulSet", "smtp-server", |set| {
        let container = &mut set["spec"]["template"]["spec"]["containers"][0];
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
    let pod = stage.node.start("StatefulSet", "smtp-server", 0);
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
