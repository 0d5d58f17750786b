//! The drain, by command and by API: who asks, what holds it up, by name and age, and the end.

use crate::shared_queue_outage::Slow;
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

fn status(server: &Server) -> Value {
    server.json(&["drain", "--status"]).remove(0)
}

fn holding(status: &Value) -> Vec<String> {
    let holding = status["holding"].as_array().expect("holding");
    let what = |one: &Value| {
        format!(
            "{}: {}",
            one["room"].as_str().expect("room"),
            one["what"].as_str().expect("what")
        )
    };
    holding.iter().map(what).collect()
}

/// `drain`, running.
fn drain(server: &Server, args: &[&str]) -> Child {
    server
        .prepared(&[&["drain"], args].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run the command")
}

#[test]
fn what_holds_a_drain_up_is_named_until_it_ends() {
    let slow = Slow::start();
    let sink = &slow.sink;
    let mut server = Server::with(&sink.relay_config());
    assert_eq!(status(&server)["phase"], "running");
    let ready_and_drain =
        |server: &Server| (server.metric("smtp_ready"), server.metric("smtp_drain_seconds"));
    assert_eq!(ready_and_drain(&server), (1.0, 0.0));
    let mut busy = Wire::hello(server.smtp);
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "text\r\n");
    busy.expect("MAIL FROM:<a@x.test>", 250);
    wait_for("the final dot", || {
        holding(&status(&server))
            .iter()
            .any(|what| what.ends_with("the reply to it is awaited"))
    });
    let mut command = drain(&server, &["--output", "json"]);
    let mut lines = BufReader::new(command.stdout.take().expect("stdout")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    next();
    wait_for("the drain", || status(&server)["phase"] == "draining");
    let now = status(&server);
    assert_eq!(now["reason"], "asked by admin", "{now}");
    let (ready, first) = ready_and_drain(&server);
    assert!(ready == 0.0 && first > 0.0, "{ready}, {first} s");
    assert!(ready_and_drain(&server).1 > first, "it goes on");
    assert!(
        now["since"].is_string() && now["holding"][0]["since"].is_string(),
        "{now}"
    );
    let held = holding(&now);
    assert_eq!(now["count"], held.len(), "{now}");
    assert!(
        held.iter()
            .any(|what| what.starts_with("receive: session ") && what.ends_with(" on smtp: mail")),
        "{held:?}"
    );
    assert!(
        held.iter().any(|what| *what
            == format!(
                "deliver: {}: a message for 1 of its recipients, the reply to it is awaited",
                sink.url().replace("smtp://", "")
            )),
        "{held:?}"
    );
    // Each lets go; then the server ends by itself, and the command with it.
    slow.speak();
    assert_eq!(busy.say("RSET").code, 250);
    assert_eq!(busy.say("NOOP").code, 421);
    assert!(server.exited(30).success());
    let mut last = next();
    while last["phase"] != "stopped" {
        last = next();
    }
    assert!(command.wait().expect("wait").success());
    assert_eq!(
        server.wait_event("stopping", |_| true)["reason"],
        "asked by admin"
    );
    assert_eq!(server.wait_event("stopped", |_| true)["delivered"], 1);
    assert_eq!(server.wait_event("admin_action", |_| true)["action"], "drain");
    let server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
    let trail = server.json(&["audit"]).remove(0);
    assert_eq!(
        (&trail["action"], &trail["after"]),
        (&json!("drain"), &json!({"now": false}))
    );
    assert_eq!(sink.count(), 1, "no duplicate");
}

#[test]
fn who_asks_again_with_now_waits_for_nothing() {
    let sink = Sink::start();
    let mut server = Server::with(&sink.relay_config());
    let (mut busy, mut late) = (Wire::hello(server.smtp), Wire::hello(server.smtp));
    busy.expect("MAIL FROM:<a@x.test>", 250);
    late.expect("MAIL FROM:<a@x.test>", 250);
    assert_eq!(server.metric("smtp_queue_due_recipients"), 0.0);
    let mut command = drain(&server, &[]);
    wait_for("the drain", || server.get("/health/ready").0 == 503);
    // What is taken now is due, and nobody's.
    for to in ["b", "c", "d"] {
        late.expect(&format!("RCPT TO:<{to}@y.test>"), 250);
    }
    late.expect("DATA", 354);
    late.expect("text\r\n.", 250);
    assert_eq!(server.metric("smtp_queue_due_recipients"), 3.0);
    assert_eq!(server.json(&["queue", "stats"])[0]["due"], 3);
    // Asking again does not make it impatient.
    let said = server.done(&["drain", "--no-wait"]);
    assert!(
        said.contains("draining for ") && said.contains("(asked by admin), waits for "),
        "{said}"
    );
    assert!(said.contains(" on smtp: mail"), "{said}");
    assert_eq!(status(&server)["phase"], "draining");
    server.done(&["drain", "--now", "--no-wait"]);
    assert!(server.exited(10).success());
    let output = command.wait().expect("wait");
    assert!(output.success());
    server.wait_event("stopped", |_| true);
}
