//! Webhooks, as receivers with the official library of Standard Webhooks get them.

mod faults;

use blackbox::ports::free_port;
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

/// One in whose place another will be: on a port that nobody is given meanwhile.
fn replaceable(manner: &str) -> Receiver {
    receiver(SECRET, &free_port().port().to_string(), &[manner])
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
fn an_operator_sees_what_waits_and_has_it_told_now() {
    let sink = Sink::start();
    let busy = replaceable("ask:3000");
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
    let shown = server.done(&["webhooks"]);
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
fn one_that_could_not_be_called_ends_the_start() {
    let setup = Setup::new(webhook("all", "https://127.0.0.1:9", "ca_file = \"/nowhere\""));
    let (code, said) = refusal(&setup);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("webhooks: /nowhere: "), "{said}");
}
