//! Spans, as a collector of OpenTelemetry gets them: decoded by the official classes.

use blackbox::receiver::Receiver;
use blackbox::server::Server;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::peer;
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn collector(refusals: u32) -> Receiver {
    let packages = peer("otlp");
    Receiver::start("otlp.py", &[&refusals.to_string()], Some(&packages))
}

fn tracing(collector: &Receiver, more: &str) -> String {
    format!("[tracing]\nendpoint = \"{}\"\n{more}\n", collector.url)
}

fn send(server: &Server, header: &str) -> String {
    let mut wire = Wire::hello(server.smtp);
    let content = format!("From: a@x.test\r\n{header}\r\ntext\r\n");
    let reply = wire.mail("a@x.test", &["b@y.test"], &content);
    assert_eq!(reply.code, 250, "{reply:?}");
    wire.expect("QUIT", 221);
    queue_id(&reply)
}

/// The spans of that name so far.
fn spans(collector: &Receiver, name: &str) -> Vec<Value> {
    let mut spans = collector.with("span");
    spans.retain(|span| span["name"] == name);
    spans
}

fn wait_span(collector: &Receiver, name: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} spans {name}"), || {
        spans(collector, name).len() >= count
    });
    spans(collector, name)
}

/// A next hop that first says "not now", once it is told to; relaying is allowed from the client's network.
fn moody(refuse: &Arc<AtomicBool>) -> Sink {
    let refuse = refuse.clone();
    Sink::scripted(move |_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") && refuse.swap(false, Ordering::SeqCst) => {
            Act::Say("451 4.7.1 come again".into())
        }
        _ => Act::Default,
    })
}

#[test]
fn a_message_is_a_trace_with_its_retries_and_restarts() {
    let collector = collector(0);
    let refuse = Arc::new(AtomicBool::new(true));
    let sink = moody(&refuse);
    let server = Server::with(
        &(sink.relay_config() + &tracing(&collector, "headers = \"Authorization=Bearer t0ken\"")),
    );
    let id = send(&server, "");
    let mail = wait_span(&collector, "smtp transaction", 1).remove(0);
    let session = wait_span(&collector, "smtp session", 1).remove(0);
    let commit = wait_span(&collector, "queue commit", 1).remove(0);
    let attempt = wait_span(&collector, "delivery attempt", 1).remove(0);
    assert_eq!(mail["attributes"]["smtp.queue_id"], id.as_str());
    assert_eq!(mail["parent"], "", "{mail}");
    assert_eq!(mail["links"][0], session["span"]);
    for span in [&commit, &attempt] {
        assert_eq!((&span["trace"], &span["parent"]), (&mail["trace"], &mail["span"]));
    }
    let (start, end) = (
        |span: &Value| span["start"].as_u64(),
        |span: &Value| span["end"].as_u64(),
    );
    assert!(
        start(&session) <= start(&mail) && start(&mail) <= start(&commit),
        "{session} {mail} {commit}"
    );
    assert!(
        end(&commit) <= end(&mail) && end(&mail) <= end(&session),
        "{session} {mail} {commit}"
    );
    assert_eq!(
        (&attempt["status"], &attempt["kind"], &session["kind"]),
        (&Value::from(2), &Value::from(3), &Value::from(2))
    );
    assert!(
        attempt["message"]
            .as_str()
            .is_some_and(|text| text.contains("come again")),
        "{attempt}"
    );
    assert_eq!(session["attributes"]["smtp.listener"], "smtp");
    assert_eq!(session["resource"]["service.name"], "smtp-server");
    assert_eq!(session["resource"]["host.name"], "mx.test");
    assert_eq!(collector.with("request")[0]["authorization"], "Bearer t0ken");
    let line = server.wait_event("received", |_| true);
    assert_eq!(line["trace"], mail["trace"]);
    // The next attempt is made by another process, and found in the same trace.
    wait_for("the result to be written", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 1.0
    });
    let server = server.restart();
    server.queue(&["retry", &id]);
    let attempt = wait_span(&collector, "delivery attempt", 2).remove(1);
    assert_eq!(
        (&attempt["trace"], &attempt["parent"]),
        (&mail["trace"], &mail["span"])
    );
    assert_eq!(attempt["status"], 0, "{attempt}");
    let text = format!("{:?}", collector.heard());
    assert!(!text.contains("a@x.test") && !text.contains("b@y.test"), "{text}");
}

#[test]
fn an_application_that_is_known_names_the_trace() {
    let collector = collector(0);
    let refuse = Arc::new(AtomicBool::new(true));
    let sink = moody(&refuse);
    let server = Server::with(&(sink.relay_config() + &tracing(&collector, "sampling = 0.0")));
    send(&server, "");
    send(&server, &format!("Traceparent: 00-{TRACE}-{PARENT}-00\r\n"));
    send(
        &server,
        &format!("Subject: x\r\nTraceparent: 00-{TRACE}-{PARENT}-01\r\n"),
    );
    let mail = wait_span(&collector, "smtp transaction", 1).remove(0);
    assert_eq!(
        (&mail["trace"], &mail["parent"]),
        (&Value::from(TRACE), &Value::from(PARENT))
    );
    wait_span(&collector, "smtp session", 1);
    wait_span(&collector, "delivery attempt", 1);
    refuse.store(true, Ordering::SeqCst);
    let id = send(&server, &format!("traceparent:\r\n 00-{TRACE}-{PARENT}-01\r\n"));
    wait_for("it to be deferred", || {
        server
            .events("delivery")
            .iter()
            .any(|line| line["id"] == id.as_str() && line["status"] == "deferred")
    });
    wait_for("that to be written", || {
        server.metric("smtp_queue_recipients{state=\"leased\"}") == 0.0
    });
    let server = server.restart();
    server.queue(&["retry", &id]);
    let attempts = wait_span(&collector, "delivery attempt", 3);
    assert!(
        attempts.iter().all(|attempt| attempt["trace"] == TRACE),
        "{attempts:?}"
    );
    // Those that were not to be traced were not.
    assert_eq!(spans(&collector, "smtp transaction").len(), 2);
}

#[test]
fn a_stranger_decides_nothing() {
    let collector = collector(0);
    let config = "[[domains]]\nname = \"y.test\"\ndeliver = \"capture\"\nrecipients = \"any\"\n";
    let server = Server::with(&(config.to_owned() + &tracing(&collector, "")));
    send(&server, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n"));
    let mail = wait_span(&collector, "smtp transaction", 1).remove(0);
    assert_ne!(mail["trace"], TRACE);
    assert_eq!(mail["parent"], "");
    // A mail that comes to nothing is told of in its session's trace.
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RSET", 250);
    wire.expect("QUIT", 221);
    let (mails, sessions) = (
        wait_span(&collector, "smtp transaction", 2),
        wait_span(&collector, "smtp session", 2),
    );
    assert_eq!(
        (&mails[1]["trace"], &mails[1]["parent"]),
        (&sessions[1]["trace"], &sessions[1]["span"])
    );
}

#[test]
fn a_collector_that_fails_is_tried_again_and_what_waits_is_sent_at_the_end() {
    let collector = collector(2);
    let sink = Sink::start();
    let debug = "[logging]\nlevel = \"debug\"\n";
    let mut server = Server::with(&(sink.relay_config() + &tracing(&collector, "") + debug));
    send(&server, "");
    wait_span(&collector, "delivery attempt", 1);
    server.wait_event("spans_exported", |_| true);
    let statuses: Vec<_> = collector
        .with("request")
        .iter()
        .map(|line| line["request"].clone())
        .collect();
    assert_eq!(statuses[..3], [503, 503, 200]);
    send(&server, "");
    assert!(server.stop().success());
    wait_span(&collector, "smtp transaction", 2);
    wait_span(&collector, "smtp session", 2);
}

#[test]
fn a_collector_that_is_away_costs_spans_and_no_mail_and_a_reload_finds_another() {
    let sink = Sink::start();
    // Nobody listens on port 1.
    let away = "[tracing]\nendpoint = \"http://127.0.0.1:1\"\n";
    let mut server = Server::with(&(sink.relay_config() + away));
    send(&server, "");
    server.wait_empty();
    let collector = collector(0);
    server.write_config(&(sink.relay_config() + &tracing(&collector, "")));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_event("config_reloaded", |_| true);
    let id = send(&server, "");
    wait_for("the span of the second mail", || {
        spans(&collector, "smtp transaction")
            .iter()
            .any(|span| span["attributes"]["smtp.queue_id"] == id.as_str())
    });
    // What waited for the one that is away came to this one.
    assert_eq!(wait_span(&collector, "smtp transaction", 2).len(), 2);
    assert!(server.metric("smtp_spans_exported_total") >= 6.0);
    // One that does not know what it is sent gets it once.
    let wrong = format!("[tracing]\nendpoint = \"{}/wrong\"\n", collector.url);
    server.write_config(&(sink.relay_config() + &wrong));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for("the second reload", || {
        server.events("config_reloaded").len() == 2
    });
    send(&server, "");
    let dropped = server.wait_event("spans_dropped", |_| true);
    assert!(
        dropped["reason"]
            .as_str()
            .is_some_and(|text| text.contains("400")),
        "{dropped}"
    );
    assert!(server.metric("smtp_spans_dropped_total") >= 1.0);
    // Off again: nothing more is sent.
    let text = sink.relay_config();
    server.write_config(&text);
    server.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for("the third reload", || server.events("config_reloaded").len() == 3);
    let id = send(&server, "");
    let line = server.wait_event("received", |line| line["id"] == id.as_str());
    assert!(line.get("trace").is_none(), "{line}");
}

#[test]
fn a_bad_target_is_refused_by_name() {
    for (bad, name) in [
        ("endpoint = \"grpc://x\"", "tracing.endpoint"),
        ("endpoint = \"http://u:secret@x\"", "tracing.endpoint"),
        ("sampling = 1.5", "tracing.sampling"),
        ("headers = \"secret\"", "tracing.headers"),
        (
            "endpoint = \"https://x\"\nca_file = \"/nowhere\"",
            "tracing.ca_file",
        ),
    ] {
        let setup = blackbox::server::Setup::new(format!("[tracing]\n{bad}\n"));
        let (code, text) = blackbox::server::refusal(&setup);
        assert_eq!(code, 78, "{bad}: {text}");
        assert!(text.contains(name) && !text.contains("secret"), "{bad}: {text}");
    }
}
