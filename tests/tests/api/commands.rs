//! The commands over the API: what they do, and what they show people.

use super::{READ, send, with_token};
use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server, binary};
use blackbox::sink::Sink;
use blackbox::tools::{run, sql};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::{Value, json};
use std::process::{Command, Output};

/// Runs a command with a token in place of the password.
fn with(server: &Server, token: &str, args: &[&str]) -> Output {
    let mut command = server.prepared(args);
    command
        .env_remove("SMTP_ADMIN_PASSWORD")
        .env("SMTP_ADMIN_TOKEN", token);
    command.output().expect("run the command")
}

#[test]
fn tokens_are_made_used_and_revoked_by_command() {
    let mut server = with_token(&free_port().to_string());
    send(&server, &["b@one.test"]);
    wait_for("an attempt", || !server.events("delivery").is_empty());
    let made = server.done(&[
        "token",
        "add",
        "night-shift",
        "--scope",
        "operate",
        "--expires-in",
        "1h",
    ]);
    let token = made.trim();
    assert!(token.starts_with("smtp_"), "{token}");
    let listed = server.done(&["token", "list"]);
    assert!(
        listed.contains("night-shift  operate  expires in ")
            && listed.contains("looker  read  does not expire  declared"),
        "{listed}"
    );
    assert!(!listed.contains(token));
    assert!(
        with(&server, token, &["queue", "retry", "--all"])
            .status
            .success()
    );
    let refused = with(&server, token, &["token", "list"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let trail = server.json(&["audit"]);
    let of = |entry: &Value| (entry["who"].clone(), entry["action"].clone());
    assert_eq!(
        trail.iter().map(of).collect::<Vec<_>>(),
        [
            (json!("night-shift"), json!("queue.retry")),
            (json!("admin"), json!("token.add"))
        ]
    );
    assert_eq!(
        server.wait_event("admin_action", |line| line["who"] == "night-shift")["action"],
        "queue.retry"
    );
    // It outlasts a restart, and is nowhere in what is stored.
    assert!(server.stop().success());
    let database = std::fs::read(server.data().join("smtp.db")).expect("the database");
    assert!(
        !database
            .windows(token.len())
            .any(|octets| octets == token.as_bytes())
    );
    let server = server.restart();
    assert!(with(&server, token, &["queue", "stats"]).status.success());
    assert_eq!(
        server.done(&["token", "revoke", "night-shift"]),
        "token night-shift revoked\n"
    );
    assert_eq!(with(&server, token, &["queue", "stats"]).status.code(), Some(78));
    // A token of the configuration cannot be revoked here; it goes with the configuration.
    let refused = server.command(&["token", "revoke", "looker"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("declared in the configuration"));
    assert!(with(&server, READ, &["status"]).status.success());
}

#[test]
fn commands_tell_what_the_server_does() {
    let sink = Sink::start();
    let server = with_token(&sink.url().replace("smtp://", ""));
    send(&server, &["b@one.test"]);
    sink.wait(1);
    let mut open = Wire::hello(server.smtp);
    let status = server.done(&["status"]);
    assert!(
        status.contains("profile testing, takes mail") && status.contains("sessions    1\n"),
        "{status}"
    );
    let received = status
        .lines()
        .find(|line| line.starts_with("received"))
        .expect("received");
    assert_eq!(received.split_whitespace().nth(1), Some("1"), "{status}");
    let sessions = server.json(&["sessions"]).remove(0);
    assert_eq!(
        (&sessions["listener"], &sessions["state"], &sessions["tls"]),
        (&json!("smtp"), &json!("command"), &Value::Null)
    );
    open.say("MAIL FROM:<a@x.test>");
    assert!(server.done(&["sessions"]).contains("  mail  "));
    drop(open);
    wait_for("it to be gone", || server.done(&["sessions"]).is_empty());
    let next_hop = server.json(&["destinations"]).remove(0);
    assert_eq!(
        (&next_hop["state"], &next_hop["failures"]),
        (&json!("up"), &json!(0)),
        "{next_hop}"
    );
}

#[test]
fn a_next_hop_that_is_down_is_shown_with_its_error() {
    let server = with_token(&free_port().to_string());
    send(&server, &["b@one.test", "c@one.test", "d@two.test"]);
    let mut shown = String::new();
    wait_for("it to be down", || {
        shown = server.done(&["destinations"]);
        shown.contains("  down, next try in ")
    });
    assert!(
        shown.contains("failure 1 in a row: ") && shown.contains("refused"),
        "{shown}"
    );
    wait_for("it to be written", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 3.0
    });
    let stats = server.done(&["queue", "stats"]);
    let row = |name: &str| -> Vec<String> {
        let line = stats.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{stats}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(row("TOTAL")[..3], ["TOTAL", "3", "3"]);
    assert_eq!(row("one.test")[..3], ["one.test", "2", "2"]);
    let senders = server.done(&["queue", "stats", "--senders"]);
    assert!(
        senders
            .lines()
            .any(|line| line.trim_start().starts_with("x.test")),
        "{senders}"
    );
    // A message is shown like postcat shows it.
    let id = server.queue(&["list"])[0]["id"].as_str().expect("id").to_owned();
    let whole = server.done(&["queue", "show", &id]);
    assert!(
        whole.contains("\nto        b@one.test\n") && whole.contains("\nSubject: seen\n"),
        "{whole}"
    );
    let content = server.done(&["queue", "show", &id, "--content"]);
    assert!(
        content.starts_with("Received: ") && content.ends_with("\r\n\r\ntext\r\n"),
        "{content}"
    );
    let gone = server.command(&["queue", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--content"]);
    assert!(!gone.status.success() && gone.stdout.is_empty());
    // Two hours later it stands in the column of those that are younger than 160 minutes.
    let mut server = server;
    assert!(server.stop().success());
    let older = "UPDATE messages SET received_at = received_at - 7200000";
    sql(&server.data().join("smtp.db"), older);
    let server = server.restart();
    let stats = server.done(&["queue", "stats"]);
    let columns = |name: &str| -> Vec<&str> {
        let line = stats.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{stats}"))
            .split_whitespace()
            .collect()
    };
    assert_eq!(
        columns("TOTAL"),
        ["TOTAL", "3", "0", "0", "0", "0", "0", "3", "0", "0", "0", "0"],
        "{stats}"
    );
    assert_eq!(columns("two.test")[7], "1", "{stats}");
}

#[test]
fn long_work_shows_how_far_it_is_to_people_only() {
    let server = with_token(&free_port().to_string());
    for _ in 0..3 {
        send(&server, &["b@one.test"]);
    }
    wait_for("them to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 3.0
    });
    let retry = format!(
        "'{}' queue hold --all --url http://{}",
        binary().display(),
        server.http
    );
    let mut terminal = Command::new("/usr/bin/script");
    terminal
        .args(["-qec", &retry, "/dev/null"])
        .env("SMTP_ADMIN_PASSWORD", PASSWORD);
    let shown = String::from_utf8_lossy(&run(&mut terminal).stdout).into_owned();
    assert!(
        shown.contains("0/3") && shown.contains("3 messages held"),
        "{shown}"
    );
    let plain = server.command(&["queue", "release", "--all"]);
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "3 messages released\n");
    assert!(plain.stderr.is_empty(), "{plain:?}");
}
