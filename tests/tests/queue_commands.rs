//! `queue list/show/stats/retry/delete`, as an operator uses them.

use blackbox::server::{PASSWORD, Server, Setup, binary};
use blackbox::sink::Sink;
use blackbox::wire::{Wire, queue_id};
use blackbox::{ports, wait_for};
use std::process::Command;

/// A server whose next hop is away: mail stays. And the ids of three messages.
fn with_three() -> (Server, Vec<String>) {
    let nowhere = ports::free_port();
    let server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{nowhere}\"\n"
    ));
    let mut wire = Wire::hello(server.smtp);
    let mut ids = Vec::new();
    for (from, to) in [
        ("a@x.test", "b@one.test"),
        ("a@x.test", "b@two.test"),
        ("c@x.test", "b@two.test"),
    ] {
        ids.push(queue_id(&wire.mail(
            from,
            &[to],
            "Subject: queued\r\n\r\ntext\r\n",
        )));
    }
    wait_for("all to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 3.0
    });
    (server, ids)
}

fn ids(lines: &[serde_json::Value]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line["id"].as_str().expect("id").to_string())
        .collect()
}

#[test]
fn list_and_show() {
    let (server, all) = with_three();
    assert_eq!(ids(&server.queue(&["list"])), all);
    assert_eq!(ids(&server.queue(&["list", "--domain", "two.test"])), all[1..]);
    assert_eq!(ids(&server.queue(&["list", "--sender", "c@x.test"])), all[2..]);
    assert_eq!(ids(&server.queue(&["list", "--state", "deferred"])), all);
    assert!(server.queue(&["list", "--state", "held"]).is_empty());
    let shown = &server.queue(&["show", &all[0]])[0];
    assert_eq!(shown["sender"], "a@x.test");
    assert_eq!(shown["recipients"][0]["address"], "b@one.test");
    assert_eq!(shown["recipients"][0]["state"], "deferred");
    assert_eq!(shown["recipients"][0]["attempts"], 1);
    assert!(
        shown["recipients"][0]["last_result"]
            .as_str()
            .expect("reason")
            .to_lowercase()
            .contains("refused"),
        "{shown}"
    );
    let table = server.done(&["queue", "list"]);
    assert!(all.iter().all(|id| table.contains(id.as_str())), "{table}");
    assert!(
        table.contains("b@one.test") && table.contains("a@x.test"),
        "{table}"
    );
    let missing = server.command(&["queue", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
}

#[test]
fn stats() {
    let (server, _) = with_three();
    let stats = &server.queue(&["stats"])[0];
    assert_eq!(stats["messages"], 3, "{stats}");
    assert_eq!(stats["recipients"]["deferred"], 3, "{stats}");
    let table = server.done(&["queue", "stats"]);
    assert!(table.contains("deferred"), "{table}");
}

#[test]
fn delete_removes_what_was_meant_and_no_more() {
    let (server, all) = with_three();
    let refused = server.command(&["queue", "delete"]);
    assert_eq!(
        refused.status.code(),
        Some(64),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    server.done(&["queue", "delete", &all[0]]);
    assert_eq!(ids(&server.queue(&["list"])), all[1..]);
    server.done(&["queue", "delete", "--sender", "c@x.test"]);
    assert_eq!(ids(&server.queue(&["list"])), all[1..2]);
    server.done(&["queue", "delete", "--all"]);
    assert!(server.queue(&["list"]).is_empty());
    server.wait_empty();
    wait_for("the audit", || server.events("admin_action").len() == 3);
}

#[test]
fn retry_sends_at_once_what_was_meant() {
    let (mut server, _) = with_three();
    let sink = Sink::start();
    server.write_config(&sink.relay_config());
    let server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 3.0);
    server.done(&["queue", "retry", "--domain", "two.test"]);
    sink.wait(2);
    wait_for("one message left", || server.metric("smtp_queue_depth") == 1.0);
    server.done(&["queue", "retry", "--all"]);
    sink.wait(3);
    server.wait_empty();
}

#[test]
fn a_server_that_is_away_or_refuses_is_named() {
    let nobody = ports::free_port();
    let run = |url: &str, password: &str| {
        let mut command = Command::new(binary());
        command
            .args(["queue", "list", "--url", url])
            .env_clear()
            .env("SMTP_ADMIN_PASSWORD", password);
        let output = command.output().expect("run");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = run(&format!("http://{nobody}"), PASSWORD);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(&nobody.to_string()), "{text}");
    let server = Setup::new("").start();
    let (code, text) = run(&format!("http://{}", server.http), "wrong");
    assert_ne!(code, Some(0));
    assert!(text.contains("SMTP_ADMIN_PASSWORD"), "says what to do: {text}");
}
