//! Webhooks, as receivers with the official library of Standard Webhooks get them.

use blackbox::receiver::Receiver;
use blackbox::server::{Server, Setup, refusal};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::{certificates, peer, program, run};
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) const SECRET: &str = "whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIG9jdGV0cw==";
const OLD_SECRET: &str = "whsec_b2xkIHNlY3JldCBvZiB0aGlydHktdHdvIG9jdGV0cw==";

pub(crate) fn receiver(secret: &str, port: &str, manner: &[&str]) -> Receiver {
    let packages = peer("webhooks");
    Receiver::start("webhook.py", &[&[secret, port], manner].concat(), Some(&packages))
}

/// On the port of one that is gone.
fn in_place_of(gone: Receiver, manner: &str) -> Receiver {
    let port = gone.url.rsplit(':').next().expect("port").to_owned();
    drop(gone);
    receiver(SECRET, &port, &[manner])
}

/// With every event in the log.
fn start(config: &str) -> Server {
    Setup::new(config).env("SMTP_LOG_LEVEL", "debug").start()
}

pub(crate) fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{more}\n")
}

fn send(server: &Server, to: &[&str]) -> String {
    let content = "From: a@x.test\r\nMessage-ID: <1@client.test>\r\n\r\ntext\r\n";
    let reply = Wire::hello(server.smtp).mail("a@x.test", to, content);
    assert_eq!(reply.code, 250, "{reply:?}");
    queue_id(&reply)
}

/// A next hop with a recipient that it refuses, and one that it takes later.
fn choosy() -> Sink {
    Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT TO:<no@") => {
            Act::Say("550 5.1.1 no such mailbox".into())
        }
        Moment::Command(line) if line.starts_with("RCPT TO:<later@") => Act::Say("450 4.2.0 later".into()),
        _ => Act::Default,
    })
}

/// What receivers were told, by type and recipient.
fn told(receiver: &Receiver) -> BTreeMap<(String, String), Vec<Value>> {
    let mut all: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for call in receiver.with("call") {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let event = &call["call"];
        let key = (text(&event["type"]), text(&event["data"]["recipient"]));
        all.entry(key).or_default().push(call);
    }
    all
}

fn of<'t>(
    told: &'t BTreeMap<(String, String), Vec<Value>>,
    kind: &str,
    recipient: &str,
) -> Option<&'t [Value]> {
    let key = (format!("message.{kind}"), recipient.to_owned());
    told.get(&key).map(Vec::as_slice)
}

pub(crate) fn ids(receiver: &Receiver) -> BTreeSet<String> {
    let calls = receiver.with("call");
    calls
        .iter()
        .map(|call| call["id"].as_str().expect("id").to_owned())
        .collect()
}

#[test]
fn receivers_are_told_what_becomes_of_mail() {
    let sink = choosy();
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("secrets"), format!("{SECRET}\n{OLD_SECRET}\n")).expect("write");
    let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    let all = receiver(OLD_SECRET, "0", &["ok", &cert, &key]);
    let failures = receiver(SECRET, "0", &["ok"]);
    let billing = receiver(SECRET, "0", &["ok"]);
    let url = all.url.replace("http://", "https://") + "/mail?team=a";
    let config = format!(
        "{}[delivery]\nretry_initial = 1\nretry_max = 1\nexpire_after = 3\n[[domains]]\nname = \"cap.test\"\ndeliver = \"capture\"\n\
         [[accounts]]\nname = \"billing\"\npassword = \"a password for billing\"\nsenders = [\"*@x.test\"]\n\
         [[webhooks]]\nname = \"all\"\nurl = \"{url}\"\nsecret_file = \"{}\"\nca_file = \"{ca}\"\n{}{}",
        sink.relay_config(),
        path("secrets"),
        webhook("failures", &failures.url, "events = [\"bounced\", \"expired\"]"),
        webhook("billing", &billing.url, "accounts = [\"billing\"]"),
    );
    let server = start(&config);
    let id = send(&server, &["ok@y.test", "no@y.test", "later@y.test", "c@cap.test"]);
    wait_for("the last to expire", || {
        of(&told(&failures), "expired", "later@y.test").is_some()
    });
    server.wait_empty();
    wait_for("everything to be told", || {
        server.metric("smtp_webhook_calls_waiting") == 0.0
    });
    let told_all = told(&all);
    let one = |kind: &str, recipient: &str| {
        let calls =
            of(&told_all, kind, recipient).unwrap_or_else(|| panic!("{kind} {recipient}: {told_all:?}"));
        calls[0].clone()
    };
    for (kind, recipient, status, reply) in [
        ("delivered", "ok@y.test", "2.", "250 "),
        ("bounced", "no@y.test", "5.1.1", "550 5.1.1 no such mailbox"),
        ("deferred", "later@y.test", "4.2.0", "450 4.2.0 later"),
        ("expired", "later@y.test", "4.4.7", "450 4.2.0 later"),
        ("captured", "c@cap.test", "2.", "delivered"),
    ] {
        let call = one(kind, recipient);
        let data = &call["call"]["data"];
        assert_eq!(
            (&data["id"], &data["message_id"], &data["sender"]),
            (&json!(id), &json!("<1@client.test>"), &json!("a@x.test")),
            "{call}"
        );
        assert_eq!(
            (&data["account"], &data["original_recipient"]),
            (&Value::Null, &Value::Null)
        );
        let text = |key: &str| data[key].as_str().expect("text").to_owned();
        assert!(
            text("status").starts_with(status) && text("reply").starts_with(reply),
            "{call}"
        );
        assert_eq!(data["next_attempt_at"].is_string(), kind == "deferred", "{call}");
        assert!(text("received_at").as_str() <= call["call"]["timestamp"].as_str().expect("time"));
        assert_eq!(
            (&call["signatures"], &call["path"], &call["type"]),
            (&json!(2), &json!("/mail?team=a"), &json!("application/json")),
            "{call}"
        );
        assert!(
            call["agent"]
                .as_str()
                .is_some_and(|agent| agent.starts_with("smtp-server/"))
        );
    }
    assert_eq!(one("deferred", "later@y.test")["call"]["data"]["attempt"], 1);
    assert!(one("expired", "later@y.test")["call"]["data"]["attempt"].as_u64() > Some(1));
    // Reports to senders are mail as well.
    assert_eq!(one("delivered", "a@x.test")["call"]["data"]["sender"], "");
    assert_eq!(
        one("delivered", "ok@y.test")["call"]["data"]["relay"],
        format!("127.0.0.1[127.0.0.1]:{}", sink.address.port())
    );
    // The other receiver is told of failures only, under the same ids.
    let told_failures = told(&failures);
    assert_eq!(told_failures.len(), 2, "{told_failures:?}");
    let bounced = of(&told_failures, "bounced", "no@y.test").expect("the bounce");
    assert_eq!(bounced[0]["id"], one("bounced", "no@y.test")["id"]);
    assert_eq!(all.with("call").len(), ids(&all).len(), "each once");
    assert!(billing.with("call").is_empty(), "no account sent that");
    submit(&server, server.folder());
    wait_for("the account's mail to be told", || {
        !billing.with("call").is_empty()
    });
    assert_eq!(billing.with("call")[0]["call"]["data"]["account"], "billing");
    assert!(
        [&all, &failures, &billing]
            .iter()
            .all(|one| one.with("wrong").is_empty())
    );
    server.wait_event("webhook_taken", |line| {
        line["webhook"] == "all" && line["tries"] == 1
    });
}

/// One message of the account `billing`.
fn submit(server: &Server, folder: &Path) {
    let message = folder.join("message");
    std::fs::write(&message, "From: c@x.test\r\n\r\ntext\r\n").expect("write");
    let mut curl = program("/usr/bin/curl");
    curl.args("-sS -k --ssl-reqd --mail-from c@x.test --mail-rcpt d@y.test --user".split(' '));
    curl.arg("billing:a password for billing");
    curl.arg(format!("smtp://{}", server.submission())).arg("-T");
    run(curl.arg(&message));
}

#[test]
fn mail_that_is_not_even_tried_is_told_of() {
    let receiver = receiver(SECRET, "0", &["ok"]);
    let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://127.0.0.1:9\"\n";
    let server = start(&(relay.to_owned() + &webhook("all", &receiver.url, "")));
    send(&server, &["first@y.test"]);
    server.wait_event("destination_down", |_| true);
    wait_for("the first to be told", || !receiver.with("call").is_empty());
    let second = send(&server, &["second@y.test"]);
    wait_for("the second to be told", || receiver.with("call").len() == 2);
    let data = receiver.with("call")[1]["call"]["data"].clone();
    assert_eq!(
        (&data["id"], &data["relay"]),
        (&json!(second), &json!("none")),
        "{data}"
    );
    assert!(
        data["reply"]
            .as_str()
            .is_some_and(|text| text.contains("temporarily suspended")),
        "{data}"
    );
}

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
    let first = receiver(SECRET, "0", &["hold"]);
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
    let hung = receiver(SECRET, "0", &["hold"]);
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
fn an_operator_sees_what_waits_and_has_it_told_now() {
    let sink = Sink::start();
    let busy = receiver(SECRET, "0", &["ask:3000"]);
    let hooked = sink.relay_config() + &webhook("crm", &busy.url, "events = [\"delivered\"]");
    let mut server = start(&hooked);
    assert_eq!(server.json(&["webhooks"])[0]["state"], "untried");
    send(&server, &["b@y.test"]);
    wait_for("it to be down", || {
        server.json(&["webhooks"])[0]["state"] == "down"
    });
    let crm = server.json(&["webhooks"]).remove(0);
    assert_eq!(
        (&crm["waiting"], &crm["events"]),
        (&json!(1), &json!(["delivered"])),
        "{crm}"
    );
    assert_eq!(
        crm["last_error"], "the receiver answered 429 Too Many Requests",
        "{crm}"
    );
    assert!(
        crm["oldest"].is_string() && crm["last_error_at"].is_string(),
        "{crm}"
    );
    let shown = server.command(&["webhooks"]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("crm  down  delivered  1 calls wait"), "{shown}");
    // Taken out of the configuration, what waits is kept; put back, it is told.
    server.write_config(&sink.relay_config());
    server.signal(Signal::SIGHUP);
    wait_for("it to be gone", || {
        server.json(&["webhooks"])[0]["state"] == "gone"
    });
    let unknown = server.command(&["webhooks", "--retry", "crm"]);
    assert_eq!(unknown.status.code(), Some(64), "{unknown:?}");
    let mended = in_place_of(busy, "ok");
    server.write_config(&hooked);
    server.signal(Signal::SIGHUP);
    wait_for("it to be back", || {
        server.json(&["webhooks"])[0]["state"] == "untried"
    });
    let retried = server.json(&["webhooks", "--retry", "crm"]);
    assert_eq!(retried[0]["touched"], 1);
    wait_for("it to be told", || mended.with("call").len() == 1);
    wait_for("it to be up", || server.json(&["webhooks"])[0]["state"] == "up");
    let trail = server.json(&["audit"]).remove(0);
    assert_eq!(
        (&trail["action"], &trail["target"]),
        (&json!("webhook.retry"), &json!("crm"))
    );
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
fn one_that_could_not_be_called_ends_the_start() {
    let setup = Setup::new(webhook("all", "https://127.0.0.1:9", "ca_file = \"/nowhere\""));
    let (code, said) = refusal(&setup);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("webhooks: /nowhere: "), "{said}");
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
