//! What happened to a message, asked when it is gone.

use blackbox::postfix::Postfix;
use blackbox::server::{PASSWORD, Server};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::{Wire, queue_id};
use blackbox::{tools, wait_for};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

fn lines(server: &Server, args: &[&str]) -> Vec<Value> {
    server.json(&[&["history"], args].concat())
}

fn show(server: &Server, id: &str) -> Value {
    lines(server, &["show", id]).remove(0)
}

fn events(entry: &Value) -> Vec<&str> {
    let steps = entry["steps"].as_array().expect("steps");
    steps
        .iter()
        .map(|step| step["event"].as_str().expect("event"))
        .collect()
}

fn send(server: &Server, number: usize) -> String {
    let content = format!("From: a@x.test\r\nMessage-ID: <{number}@client.test>\r\n\r\ntext\r\n");
    let reply = Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], &content);
    assert_eq!(reply.code, 250, "{reply:?}");
    queue_id(&reply)
}

#[test]
fn every_step_of_a_message_is_told_when_it_is_gone() {
    // Not now, then yes.
    let refused = AtomicBool::new(false);
    let sink = Sink::scripted(move |_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") && !refused.swap(true, Ordering::SeqCst) => {
            Act::Say("451 4.7.1 greylisted, come again".into())
        }
        _ => Act::Default,
    });
    let server = Server::with(&(sink.relay_config() + "[delivery]\nretry_initial = 300\n"));
    let id = send(&server, 1);
    wait_for("the first attempt", || server.events("delivery").len() == 1);
    wait_for("it to be written", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 1.0
    });
    let entry = show(&server, &id);
    assert_eq!(
        (&entry["ended_at"], &entry["recipients"]["b@y.test"]["status"]),
        (&Value::Null, &json!("deferred"))
    );
    server.done(&["queue", "retry", &id]);
    server.wait_empty();
    let entry = show(&server, &id);
    assert_eq!(
        events(&entry),
        ["received", "delivery", "operated", "delivery", "removed"]
    );
    let step = |number: usize| &entry["steps"][number];
    assert_eq!(
        (&step(0)["peer"], &step(0)["from"]),
        (&server.events("received")[0]["peer"], &json!("a@x.test"))
    );
    assert!(
        step(1)["text"]
            .as_str()
            .expect("text")
            .contains("451 4.7.1 greylisted, come again")
    );
    assert_eq!(step(2)["action"], "retry");
    assert_eq!(step(3)["status"], "sent");
    assert!(
        step(3)["relay"]
            .as_str()
            .expect("relay")
            .contains(&sink.address.to_string().replace(':', "]:"))
    );
    for phase in [
        "resolve", "connect", "tls", "login", "envelope", "content", "reply",
    ] {
        assert!(step(3)["phases"][phase].is_number(), "{phase}: {}", step(3));
    }
    assert!(entry["ended_at"].is_string());
    assert_eq!(entry["recipients"]["b@y.test"]["status"], "sent");
    // For people.
    let shown = server.done(&["history", "show", &id]);
    assert!(
        shown.contains("  delivery  ") && shown.contains("status=sent") && shown.contains("<a@x.test>  done"),
        "{shown}"
    );
    let gone = server.command(&["queue", "show", &id]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("history show"));
}

#[test]
fn a_message_is_found_by_what_people_know_of_it() {
    let sink = Sink::start();
    let config = sink.relay_config()
        + "[[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n[[aliases]]\nname = \"sales@local.test\"\nto = [\"c@y.test\"]\n\
           [[accounts]]\nname = \"billing\"\npassword = \"a password for billing\"\nsenders = [\"*@x.test\"]\n";
    let mut server = Server::with(&config);
    let first = send(&server, 1);
    let second = send(&server, 2);
    let alias = queue_id(&Wire::hello(server.smtp).mail(
        "<>".trim_matches(['<', '>']),
        &["Sales@local.test"],
        "text\r\n",
    ));
    // After AUTH, by a client of flesh and blood.
    let mut curl = tools::program("/usr/bin/curl");
    curl.args([
        "-sS",
        "-k",
        "--ssl-reqd",
        "--user",
        "billing:a password for billing",
    ]);
    curl.arg(format!("smtp://{}", server.submission())).args([
        "--mail-from",
        "c@x.test",
        "--mail-rcpt",
        "d@y.test",
        "-T",
    ]);
    let message = server.folder().join("message");
    std::fs::write(&message, "From: c@x.test\r\nSubject: x\r\n\r\ntext\r\n").expect("write");
    tools::run(curl.arg(&message));
    server.wait_empty();
    let ids = |args: &[&str]| -> Vec<String> {
        let mut all = vec!["list"];
        all.extend(args);
        lines(&server, &all)
            .iter()
            .map(|entry| entry["id"].as_str().expect("id").to_owned())
            .collect()
    };
    assert_eq!(ids(&["--message-id", "<2@client.test>"]), [second.as_str()]);
    assert_eq!(ids(&["--message-id", "1@client.test"]), [first.as_str()]);
    assert_eq!(
        ids(&["--sender", "A@x.test"]),
        [second.clone(), first.clone()],
        "newest first"
    );
    assert_eq!(ids(&["--sender", "<>"]), [alias.as_str()]);
    assert_eq!(ids(&["--recipient", "sales@local.test"]), [alias.as_str()]);
    assert_eq!(ids(&["--recipient", "c@y.test"]), [alias.as_str()]);
    assert_eq!(ids(&["--account", "billing"]).len(), 1);
    assert_eq!(ids(&[]).len(), 4);
    assert_eq!(ids(&["--limit", "2"]).len(), 2);
    assert!(ids(&["--older-than", "1h"]).is_empty() && ids(&["--newer-than", "1h"]).len() == 4);
    assert!(ids(&["--sender", "a@x.test", "--recipient", "nobody@y.test"]).is_empty());
    // A restart changes nothing.
    assert!(server.stop().success());
    let server = server.restart();
    assert_eq!(show(&server, &first)["recipients"]["b@y.test"]["status"], "sent");
}

#[test]
fn a_bounce_and_its_report_know_of_each_other() {
    let sink = Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT TO:<b@") => Act::Say("550 5.1.1 no such user".into()),
        _ => Act::Default,
    });
    let server = Server::with(&sink.relay_config());
    let id = send(&server, 1);
    sink.wait(1);
    server.wait_empty();
    let entry = show(&server, &id);
    assert_eq!(entry["recipients"]["b@y.test"]["status"], "bounced");
    assert_eq!(events(&entry), ["received", "delivery", "dsn_queued", "removed"]);
    let report = entry["steps"][2]["id"]
        .as_str()
        .expect("the report's id")
        .to_owned();
    let report = show(&server, &report);
    assert_eq!(
        (&report["sender"], &report["recipients"]["a@x.test"]["status"]),
        (&json!(""), &json!("sent"))
    );
    assert_eq!(report["steps"][0]["about"], id);
}

#[test]
fn what_an_operator_deleted_is_told() {
    let server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n",
        blackbox::ports::free_port()
    ));
    let id = send(&server, 1);
    wait_for("the attempt", || !server.events("delivery").is_empty());
    server.done(&["queue", "hold", &id]);
    server.done(&["queue", "delete", &id]);
    let entry = show(&server, &id);
    let last: Vec<&str> = events(&entry).into_iter().rev().take(2).collect();
    assert_eq!(last, ["deleted", "operated"], "{entry}");
    assert!(entry["ended_at"].is_string());
    server.wait_event("deleted", |line| line["id"] == id);
}

#[test]
fn a_crash_costs_moments_of_history_and_no_mail() {
    let sink = Sink::start();
    let mut server = Server::with(&sink.relay_config());
    let early = send(&server, 1);
    sink.wait(1);
    server.wait_empty();
    // What was asked for is on disk.
    assert_eq!(show(&server, &early)["recipients"]["b@y.test"]["status"], "sent");
    let late = send(&server, 2);
    server.kill();
    let mut server = server.restart();
    sink.wait(2);
    server.wait_empty();
    assert_eq!(events(&show(&server, &early)).last(), Some(&"removed"));
    // A history that is no database is set aside; mail goes on.
    assert!(server.stop().success());
    let path = server.data().join("history.db");
    std::fs::write(&path, [0x55; 20_000]).expect("spoil it");
    let server = server.restart();
    server.wait_event("history_set_aside", |_| true);
    let next = send(&server, 3);
    sink.wait(3);
    server.wait_empty();
    assert_eq!(show(&server, &next)["recipients"]["b@y.test"]["status"], "sent");
    assert!(!server.command(&["history", "show", &late]).status.success());
}

#[test]
fn without_history_there_is_none_and_a_reload_changes_its_limits() {
    let server = Server::with("[history]\nenabled = false\n");
    let refused = server.command(&["history", "list"]);
    assert_eq!(refused.status.code(), Some(75), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("history.enabled is false"));
    assert!(!server.data().join("history.db").exists());
    let mut server = Server::with("[history]\nretention = 3600\n");
    server.write_config("[history]\nretention = 7200\nmax_size = 2000000\n");
    let line = server.wait_event("config_reloaded", |_| true);
    assert_eq!(
        (&line["changed"], &line["needs_restart"]),
        (&json!(["history.retention", "history.max_size"]), &json!([])),
        "{line}"
    );
}

#[test]
fn what_is_kept_is_bounded_and_the_newest_stays() {
    let sink = Sink::start();
    let mut server = Server::with(&sink.relay_config());
    let to: Vec<String> = (0..100)
        .map(|number| format!("recipient-{number}@y.test"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut last = String::new();
    for _ in 0..60 {
        let reply = Wire::hello(server.smtp).mail("a@x.test", &to, "From: a@x.test\r\n\r\ntext\r\n");
        last = queue_id(&reply);
    }
    sink.wait(60);
    server.wait_empty();
    assert_eq!(lines(&server, &["list"]).len(), 60);
    server.write_config(&(sink.relay_config() + "[history]\nmax_size = 1048576\n"));
    wait_for("the oldest to go", || lines(&server, &["list"]).len() < 40);
    let left = lines(&server, &["list"]);
    assert_eq!(left[0]["id"], last.as_str(), "{} are left", left.len());
}

#[test]
fn postfix_as_the_next_hop_is_named_with_its_own_words() {
    let postfix = Postfix::start("default_transport = discard\nrelay_transport = discard\n");
    let server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{}\"\n",
        postfix.url()
    ));
    let id = send(&server, 1);
    server.wait_empty();
    let path = format!("/api/v1/history/{}", id.to_lowercase());
    let (status, body) = server.ask(Some(PASSWORD), "GET", &path, "");
    assert_eq!(status, 200, "{body}");
    let entry: Value = serde_json::from_str(&body).expect("JSON");
    let text = entry["recipients"]["b@y.test"]["text"].as_str().expect("text");
    assert!(text.contains("Ok: queued as"), "{text}");
    let theirs = text.rsplit(' ').next().expect("their id");
    assert!(
        postfix.log().contains(theirs),
        "the next hop's id leads into its log"
    );
}
