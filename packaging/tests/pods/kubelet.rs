//! The kubelet of these tests does what it is there for. Were it to pass over something, every test of pods would pass over it too.
//!
//! Its pods are a shell's, so that they do what a play needs and a server does not: they hear nothing, or end, or take more memory than
//! they may.

mod answers;
mod deleted;
mod ground;
mod refused;
mod told;

use answers::Says::{Nothing, Status};
use blackbox::wait_for_secs;
use ground::{DEAF, Ground, HEARS, between, runs, times};
use packaging::kubelet::Happened;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// One node for all, at the same time: each mostly waits.
#[test]
fn it_does_to_pods_what_a_kubelet_does() {
    let ground = &Ground::new();
    let plays: [fn(&Ground); 15] = [
        deleted::ends_in_order,
        deleted::kills_who_does_not_hear,
        deleted::leaves_two_seconds_in_any_case,
        deleted::hears_it_while_it_is_being_started,
        asks_startup_first_and_counts_what_fails,
        ends_one_that_never_starts_up,
        kills_one_that_is_not_healthy_and_does_not_hear,
        is_ready_when_its_probe_has_said_so_often_enough,
        asks_a_port,
        asks_a_command,
        waits_before_it_starts_again,
        gives_up_a_job,
        ends_one_that_takes_too_much_memory,
        told::is_as_it_is_told,
        refused::what_it_does_not_play,
    ];
    thread::scope(|scope| {
        for play in plays {
            scope.spawn(move || play(ground));
        }
    });
}

/// Before it has started up nothing else is asked. One answer that is missing is a failure like any other, and one that is good makes
/// those before it forgotten.
fn asks_startup_first_and_counts_what_fails(ground: &Ground) {
    let answers = &ground.answers;
    answers.says("/probes/startup", &[Nothing, Status(200)]);
    let (ok, bad) = (Status(200), Status(500));
    answers.says("/probes/live", &[ok, bad, ok, bad, bad, ok]);
    answers.says("/probes/ready", &[ok]);
    let live = || answers.asked("/probes/live").len();
    let pod = ground.start("probes", HEARS, |pod| {
        pod["terminationGracePeriodSeconds"] = json!(20);
        let container = &mut pod["containers"][0];
        for (probe, path) in [
            ("startupProbe", "startup"),
            ("livenessProbe", "live"),
            ("readinessProbe", "ready"),
        ] {
            container[probe] = ground.probe(&format!("/probes/{path}"), 2);
        }
        container["startupProbe"]["timeoutSeconds"] = json!(1);
    });
    wait_for_secs("it not to be healthy", 60, || {
        times(&pod, &Happened::Unhealthy) == 1
    });
    assert!(live() >= 5, "{}: {}", live(), pod.timeline());
    wait_for_secs("it to be ready again", 60, || {
        times(&pod, &Happened::Ready(true)) == 2
    });
    let asked = answers.asked("/probes/");
    let startups = asked.iter().take_while(|path| path.ends_with("/startup"));
    assert!(startups.count() >= 2, "{asked:?}");
    let expected = [
        Happened::Started,
        Happened::StartedUp,
        Happened::Ready(true),
        // Told once by SIGTERM, it ends by itself.
        Happened::Unhealthy,
        Happened::Exited(3),
        Happened::Started,
        Happened::StartedUp,
        Happened::Ready(true),
    ];
    assert_eq!(pod.timeline().events(), expected, "{}", pod.timeline());
}

fn ends_one_that_never_starts_up(ground: &Ground) {
    ground.answers.says("/never/startup", &[Status(503)]);
    ground.answers.says("/never/live", &[Status(200)]);
    let pod = ground.start("never", HEARS, |pod| {
        pod["terminationGracePeriodSeconds"] = json!(20);
        let container = &mut pod["containers"][0];
        container["startupProbe"] = ground.probe("/never/startup", 2);
        container["livenessProbe"] = ground.probe("/never/live", 2);
    });
    wait_for_secs("it to be started again", 60, || {
        times(&pod, &Happened::Started) == 2
    });
    let expected = [
        Happened::Started,
        Happened::Unhealthy,
        Happened::Exited(3),
        Happened::Started,
    ];
    assert_eq!(pod.timeline().events()[..4], expected, "{}", pod.timeline());
    assert_eq!(ground.answers.asked("/never/live"), [""; 0]);
}

fn kills_one_that_is_not_healthy_and_does_not_hear(ground: &Ground) {
    ground.answers.says("/ill/live", &[Status(500), Status(200)]);
    let pod = ground.start("ill", DEAF, |pod| {
        pod["terminationGracePeriodSeconds"] = json!(2);
        pod["containers"][0]["livenessProbe"] = ground.probe("/ill/live", 1);
    });
    wait_for_secs("it to be started again", 60, || {
        times(&pod, &Happened::Started) == 2
    });
    let events = pod.timeline().events();
    let events: Vec<&Happened> = events
        .iter()
        .filter(|what| !matches!(what, Happened::Ready(_)))
        .collect();
    let expected = [
        &Happened::Started,
        &Happened::Unhealthy,
        &Happened::Killed,
        &Happened::Exited(137),
        &Happened::Started,
    ];
    assert_eq!(events, expected, "{}", pod.timeline());
    let grace = between(&pod, &Happened::Unhealthy, &Happened::Killed);
    assert!(grace >= Duration::from_secs(2), "{}", pod.timeline());
}

fn is_ready_when_its_probe_has_said_so_often_enough(ground: &Ground) {
    let (ok, bad) = (Status(200), Status(500));
    ground
        .answers
        .says("/often/ready", &[ok, bad, ok, ok, bad, ok, bad, bad]);
    let pod = ground.start("often", HEARS, |pod| {
        let mut probe = ground.probe("/often/ready", 2);
        probe["successThreshold"] = json!(2);
        pod["containers"][0]["readinessProbe"] = probe;
    });
    for (ready, asked) in [(true, 4), (false, 8)] {
        wait_for_secs("readiness to change", 60, || {
            times(&pod, &Happened::Ready(ready)) == 1
        });
        let times = ground.answers.asked("/often/").len();
        assert!(times >= asked, "{ready} after {times}\n{}", pod.timeline());
    }
    let expected = [Happened::Started, Happened::Ready(true), Happened::Ready(false)];
    assert_eq!(pod.timeline().events(), expected, "{}", pod.timeline());
}

/// A probe that something has to happen for in the pod.
fn opened(ground: &Ground, name: &str, script: &str, probe: Value) {
    let pod = ground.start(name, script, |pod| {
        pod["volumes"] = json!([{ "name": "gate", "emptyDir": {} }]);
        let container = &mut pod["containers"][0];
        container["volumeMounts"] = json!([{ "name": "gate", "mountPath": "/gate" }]);
        container["readinessProbe"] = probe;
    });
    runs(&pod);
    // For some probes.
    thread::sleep(Duration::from_secs(2));
    assert!(!pod.timeline().is_ready(), "{}", pod.timeline());
    std::fs::write(pod.root().join("gate/open"), "").expect("a file");
    pod.wait_ready();
}

fn asks_a_port(ground: &Ground) {
    let script = "echo here; while ! [ -e /gate/open ]; do busybox sleep 0.1; done; \
         busybox nc -ll -p 9000 -e /busybox true";
    let probe = json!({ "tcpSocket": { "port": 9000 }, "periodSeconds": 1 });
    opened(ground, "port", script, probe);
}

fn asks_a_command(ground: &Ground) {
    let command = ["/busybox", "test", "-e", "/gate/open"];
    let probe = json!({ "exec": { "command": command }, "periodSeconds": 1, "timeoutSeconds": 10 });
    opened(ground, "command", HEARS, probe);
}

/// One that ends is started again at once, and the next time after ten seconds.
fn waits_before_it_starts_again(ground: &Ground) {
    let pod = ground.start("ends", "exit 5", |_| {});
    wait_for_secs("it to have ended twice", 60, || {
        times(&pod, &Happened::Exited(5)) == 2
    });
    thread::sleep(Duration::from_secs(4));
    assert_eq!(times(&pod, &Happened::Started), 2, "{}", pod.timeline());
}

fn gives_up_a_job(ground: &Ground) {
    let mut template = ground::pod("job", "exit 6", |pod| pod["restartPolicy"] = json!("Never"));
    ground.node.add(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "fails", "namespace": "mail" },
        "spec": { "backoffLimit": 0, "template": { "spec": template["spec"].take() } },
    }));
    let done = ground.node.run_job("fails", |_, _| {});
    let codes: Vec<i32> = done.pods.iter().map(|pod| pod.code).collect();
    assert_eq!((done.complete, codes), (false, vec![6]));
}

/// The limit is one: the kernel ends who goes beyond it.
fn ends_one_that_takes_too_much_memory(ground: &Ground) {
    let script = "exec busybox dd if=/dev/zero of=/dev/null bs=64M count=1";
    let pod = ground.start("greedy", script, |pod| {
        pod["restartPolicy"] = json!("Never");
        pod["containers"][0]["resources"] = json!({ "limits": { "memory": "16Mi" } });
    });
    assert_eq!(pod.wait_end(), 137, "{}{}", pod.output(), pod.timeline());
    assert_eq!(times(&pod, &Happened::Started), 1, "{}", pod.timeline());
}
