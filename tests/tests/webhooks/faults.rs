//! Receivers that hang, refuse, misbehave or are away, and servers that are killed: mail goes on, and what is owed is told.

use super::{OLD_SECRET, SECRET, ids, in_place_of, receiver, replaceable, send, start, webhook};
use blackbox::server::Setup;
use blackbox::sink::Sink;
use blackbox::tools::{program, run};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn what_was_not_taken_is_told_again() {
    let sink = Sink::start();
    let receiver = receiver(SECRET, "0", &["refuse:2"]);
    let server = start(&(sink.relay_config() + &webhook("all", &receiver.url, "")));
    send(&server, &["b@y.test"]);
    wait_for("the third try", || receiver.with("call").len() == 3);
    let calls = receiver.with("call");
    assert!(
        calls
            .iter()
            .all(|call| call["id"] == calls[0]["id"] && call["call"] == calls[0]["call"]),
        "{calls:?}"
    );
    server.wait_event("webhook_taken", |line| line["tries"] == 3);
    let refused = server.wait_event("webhook_refused", |line| line["tries"] == 2);
    assert_eq!(
        refused["reason"], "the receiver answered 503 Service Unavailable: come  again",
        "{refused}"
    );
    let down = server.wait_event("webhook_down", |_| true);
    assert_eq!(down["webhook"], "all");
    server.wait_event("webhook_up", |_| true);
    assert_eq!(server.metric("smtp_webhook_calls_total{result=\"refused\"}"), 2.0);
    assert_eq!(server.metric("smtp_webhook_calls_total{result=\"taken\"}"), 1.0);
    assert_eq!(server.metric("smtp_webhook_call_seconds_count"), 1.0);
}

#[test]
fn a_killed_server_tells_it_all_the_same() {
    let sink = Sink::start();
    let first = replaceable("hold");
    let mut server = start(&(sink.relay_config() + &webhook("all", &first.url, "")));
    let sent: BTreeSet<String> = (0..20).map(|_| send(&server, &["b@y.test"])).collect();
    sink.wait(20);
    wait_for("calls to be under way", || first.with("call").len() == 16);
    wait_for("the others to be stored", || {
        server.metric("smtp_webhook_calls_waiting") == 20.0
    });
    let begun = ids(&first);
    server.kill();
    let second = in_place_of(first, "ok");
    let server = server.restart();
    wait_for("all to be told", || ids(&second).len() == 20);
    assert!(begun.is_subset(&ids(&second)), "under the same ids");
    let about = second.with("call");
    let about: BTreeSet<String> = about
        .iter()
        .map(|call| call["call"]["data"]["id"].as_str().expect("id").to_owned())
        .collect();
    assert_eq!(about, sent);
    wait_for("it to be written down", || {
        server.metric("smtp_webhook_calls_waiting") == 0.0
    });
    // A stop in good order leaves nothing to be told twice.
    let server = server.restart();
    send(&server, &["b@y.test"]);
    wait_for("another", || second.with("call").len() == 21);
    assert_eq!(ids(&second).len(), 21);
}

#[test]
fn a_receiver_that_hangs_does_not_hold_up_mail() {
    let sink = Sink::start();
    let hung = replaceable("hold");
    let server = start(&(sink.relay_config() + &webhook("slow", &hung.url, "")));
    let mut wire = Wire::hello(server.smtp);
    for _ in 0..300 {
        assert_eq!(wire.mail("a@x.test", &["b@y.test"], "text\r\n").code, 250);
    }
    sink.wait(300);
    server.wait_empty();
    assert!(hung.with("call").len() <= 16, "so many at a time");
    assert_eq!(server.metric("smtp_webhook_calls_waiting"), 300.0);
    assert!(server.metric("smtp_webhook_oldest_call_seconds") > 0.0);
    wait_for("all that go at a time to be under way", || {
        hung.with("call").len() == 16
    });
    let status = server.json(&["drain", "--status"]).remove(0);
    let holding = status["holding"].as_array().expect("holding");
    let calls = holding.iter().find(|one| one["room"] == "webhooks");
    let calls = calls.unwrap_or_else(|| panic!("{status}"));
    assert_eq!(calls["what"], "16 calls of slow");
    assert!(calls["since"].is_string(), "{calls}");
    let mended = in_place_of(hung, "ok");
    wait_for("all to be told", || ids(&mended).len() == 300);
    server.wait_event("webhook_up", |_| true);
}

#[test]
fn receivers_that_misbehave_do_no_harm() {
    let sink = Sink::start();
    let garbage = receiver(SECRET, "0", &["garbage"]);
    let moved = receiver(SECRET, "0", &["move"]);
    let endless = receiver(SECRET, "0", &["endless"]);
    let stranger = receiver(OLD_SECRET, "0", &["ok"]);
    let config = [
        ("garbage", garbage.url.as_str()),
        ("moved", &moved.url),
        ("endless", &endless.url),
        ("stranger", &stranger.url),
        ("nobody", "http://127.0.0.1:9"),
    ];
    let config: String = config.iter().map(|(name, url)| webhook(name, url, "")).collect();
    let server = start(&(sink.relay_config() + &config));
    send(&server, &["b@y.test"]);
    sink.wait(1);
    server.wait_empty();
    for (name, reason) in [
        ("garbage", "the request failed"),
        ("moved", "the receiver answered 307 Temporary Redirect"),
        ("stranger", "the receiver answered 401 Unauthorized: who are you?"),
        ("nobody", "onnection refused"),
    ] {
        let refused = server.wait_event("webhook_refused", |line| line["webhook"] == name);
        let said = refused["reason"].as_str().expect("reason");
        assert!(said.contains(reason), "{refused}");
    }
    server.wait_event("webhook_taken", |line| line["webhook"] == "endless");
    assert!(
        moved.with("call").iter().all(|call| call["path"] == "/"),
        "redirects are not followed"
    );
    send(&server, &["b@y.test"]);
    sink.wait(2);
}

#[test]
fn what_waits_is_bounded_in_number_and_age() {
    let sink = Sink::start();
    let data = tempfile::tempdir().expect("a folder");
    let config = sink.relay_config() + &webhook("all", "http://127.0.0.1:9", "");
    let open = || Setup::new(config.clone()).data(data.path()).start();
    assert!(open().stop().success());
    let fill = "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1]); now = int(time.time() * 1000); day = 86400000\n\
                rows = [(1000, 'gone', now - 4 * day, now - 4 * day)] + [(2000 + n, 'all', now, now + day) for n in range(99999)]\n\
                db.executemany(\"INSERT INTO webhook_calls VALUES (?, ?, randomblob(16), ?, ?, 1, 0, '{}')\", rows); db.commit()";
    let mut python = program("/usr/bin/python3");
    run(python.args(["-c", fill]).arg(data.path().join("smtp.db")));
    let server = open();
    let expired = server.wait_event("webhook_dropped", |line| line["webhook"] == "gone");
    assert_eq!(
        (&expired["calls"], &expired["reason"]),
        (&json!(1), &json!("they were not taken in 3 days"))
    );
    for _ in 0..2 {
        send(&server, &["b@y.test"]);
    }
    sink.wait(2);
    let dropped = server.wait_event("webhook_dropped", |line| line["webhook"] == "all");
    assert_eq!(
        (&dropped["calls"], &dropped["reason"]),
        (&json!(1), &json!("too many calls wait already"))
    );
    assert_eq!(server.metric("smtp_webhook_calls_waiting"), 100_000.0);
    assert_eq!(server.metric("smtp_webhook_calls_total{result=\"dropped\"}"), 2.0);
}
