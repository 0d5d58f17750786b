//! Next hops that will not be spoken to as asked: every policy with every protocol, logins that cannot be, questions that are not answered.

use crate::outbound::{FAST, delivery, login, relay, send};
use blackbox::dovecot::{Dovecot, PASSWORD, USER};
use blackbox::ports::free_port;
use blackbox::server::{Server, Setup, refusal};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::certificates;
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A next hop that offers TLS and is silent in the handshake.
fn silent_in_the_handshake() -> Sink {
    Sink::on("127.0.0.1:0", &["STARTTLS"], |_, moment| match moment {
        Moment::Command(line) if line == "STARTTLS" => Act::Raw(b"220 2.0.0 go on\r\n".to_vec()),
        _ => Act::Default,
    })
}

#[test]
fn a_handshake_without_end_holds_up_nobody() {
    let (silent, honest) = (silent_in_the_handshake(), Sink::start());
    let mut server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[[routes]]\nmatch = \"silent.test\"\nto = \"{}\"\n\
         [[routes]]\nmatch = \"honest.test\"\nto = \"{}\"\n{FAST}",
        silent.url(),
        honest.url()
    ));
    for _ in 0..20 {
        send(&server, &["b@silent.test", "b@honest.test"]);
    }
    honest.wait(20);
    wait_for("a connection to the silent one", || silent.open() > 0);
    assert_eq!(silent.count(), 0);
    // What waits for it is given back at the end, untried.
    assert!(server.stop().success());
    let server = server.restart();
    let waiting = server.queue(&["list"]);
    assert_eq!(waiting.len(), 20);
    for message in &waiting {
        let open: Vec<_> = message["recipients"]
            .as_array()
            .expect("recipients")
            .iter()
            .filter(|recipient| recipient["state"] != "delivered")
            .collect();
        assert_eq!(open.len(), 1, "{message}");
        assert_eq!(open[0]["address"], "b@silent.test");
    }
}

#[test]
fn lmtp_under_each_policy() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let authority = format!("{FAST}ca_file = \"{}\"\n", folder.path().join("ca.pem").display());
    let (clear, tls) = (Dovecot::start("plain"), Dovecot::with_tls("plain", folder.path()));
    for (dovecot, policy, delivery_settings, status, encrypted) in [
        (&clear, "none", FAST, "sent", false),
        (&clear, "opportunistic", FAST, "sent", false),
        (&clear, "required", FAST, "deferred", false),
        (&clear, "verified", FAST, "deferred", false),
        (&tls, "none", FAST, "sent", false),
        (&tls, "opportunistic", FAST, "sent", true),
        (&tls, "required", FAST, "sent", true),
        (&tls, "verified", FAST, "deferred", false),
        (&tls, "verified", authority.as_str(), "sent", true),
    ] {
        let server = Server::with(&format!(
            "[[domains]]\nname = \"y.test\"\ndeliver = \"lmtp:{}\"\n{delivery_settings}tls = \"{policy}\"\n",
            dovecot.lmtp
        ));
        send(&server, &[USER]);
        let line = delivery(&server, status);
        assert_eq!(line["tls"].is_string(), encrypted, "{policy}: {line}");
        if encrypted {
            let tls = line["tls"].as_str().expect("text");
            assert!(
                tls.starts_with("TLSv1.3 with TLS_") || tls.starts_with("TLSv1.2 with TLS_"),
                "{tls}"
            );
        }
    }
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    for (url, tls, said) in [
        ("smtps://127.0.0.1:465", "none", "smtps:// is TLS"),
        (
            "smtp://ann:secret-word@192.0.2.1:587",
            "none",
            "the password would go in clear",
        ),
        (
            "smtp://ann:secret-word@192.0.2.1:587",
            "opportunistic",
            "the password would go in clear",
        ),
        (
            "lmtp://ann:secret-word@hop.example:24",
            "none",
            "the password would go in clear",
        ),
    ] {
        let (code, text) = refusal(&Setup::new(relay(url, &format!("tls = \"{tls}\""))));
        assert_eq!(code, 78, "{url} {tls}: {text}");
        assert!(text.contains(said), "{url} {tls}: {text}");
        assert!(!text.contains("secret-word"), "{text}");
    }
}

#[test]
fn a_login_that_no_mechanism_serves_is_said_once() {
    // Two connections are told together.
    let met = AtomicUsize::new(0);
    let sink = Sink::on("127.0.0.1:0", &["AUTH CRAM-MD5 NTLM"], move |_, moment| {
        if matches!(moment, Moment::Command(line) if line.starts_with("EHLO")) {
            met.fetch_add(1, Ordering::SeqCst);
            wait_for("a second connection", || met.load(Ordering::SeqCst) >= 2);
        }
        Act::Default
    });
    let url = format!("smtp://{}@{}", login(PASSWORD), sink.address);
    let server = Server::with(&relay(&url, "tls = \"none\""));
    let mut wire = Wire::hello(server.smtp);
    for _ in 0..10 {
        wire.mail("a@x.test", &["b@y.test"], "Subject: x\r\n\r\nx\r\n");
    }
    let refused = server.wait_event("next_hop_login_refused", |_| true);
    assert_eq!(refused["user"], USER);
    let setting = refused["setting"].as_str().expect("setting");
    assert!(setting.starts_with("relay.smarthost"), "{refused}");
    let reason = refused["reason"].as_str().expect("reason");
    assert!(reason.contains("mechanism"), "{refused}");
    wait_for("all to be deferred", || server.events("delivery").len() >= 10);
    for line in server.events("delivery") {
        assert_eq!(line["status"], "deferred", "{line}");
    }
    assert_eq!(sink.count(), 0, "nothing goes without the login");
    let downs = server.events("destination_down").len();
    let refusals = server.events("next_hop_login_refused").len();
    assert!(refusals <= downs, "{refusals} refusals, down {downs} times");
}

/// A local domain whose recipients are asked for at this next hop.
fn verifying(sink: &Sink) -> Server {
    Server::with(&format!(
        "[[domains]]\nname = \"y.test\"\ndeliver = \"smtp:{}\"\nrecipients = \"verify\"\n{FAST}",
        sink.address
    ))
}

/// A next hop that answers RCPT only when it is let go.
fn gated() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let sink = Sink::scripted(move |_, moment| {
        if matches!(moment, Moment::Command(line) if line.starts_with("RCPT")) {
            while !gate.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        Act::Default
    });
    (sink, open)
}

/// Clients that each name a recipient and wait for the answer.
fn asking(server: &Server, recipients: &[String]) -> Vec<std::thread::JoinHandle<u16>> {
    let ask = |to: &String| {
        let mut wire = Wire::hello(server.smtp);
        wire.expect("MAIL FROM:<a@x.test>", 250);
        let line = format!("RCPT TO:<{to}>");
        std::thread::spawn(move || wire.say(&line).code)
    };
    recipients.iter().map(ask).collect()
}

#[test]
fn an_address_is_asked_for_once_at_a_time() {
    let (sink, open) = gated();
    let server = verifying(&sink);
    let clients = asking(&server, &vec!["ann@y.test".to_owned(); 6]);
    wait_for("the question", || sink.open() > 0);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(sink.connections(), 1, "six clients, one question");
    open.store(true, Ordering::SeqCst);
    for client in clients {
        assert_eq!(client.join().expect("an answer"), 250);
    }
    assert_eq!(sink.connections(), 1);
}

#[test]
fn questions_have_four_connections_to_a_next_hop() {
    let (sink, open) = gated();
    let server = verifying(&sink);
    let recipients: Vec<String> = (0..12).map(|number| format!("ann{number}@y.test")).collect();
    let clients = asking(&server, &recipients);
    wait_for("four questions", || sink.open() == 4);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(sink.open(), 4);
    assert_eq!(
        server.metric("smtp_delivery_connections"),
        4.0,
        "they are counted"
    );
    open.store(true, Ordering::SeqCst);
    for client in clients {
        assert_eq!(client.join().expect("an answer"), 250);
    }
}

#[test]
fn a_next_hop_that_does_not_answer_the_question_defers_the_client() {
    let (sink, _closed) = gated();
    let mut server = verifying(&sink);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    let refused = wire.expect("RCPT TO:<ann@y.test>", 450);
    assert!(refused.text().starts_with("4.1.1"), "{refused:?}");
    // The session goes on, and a drain does not wait for questions.
    wire.expect("RSET", 250);
    let clients = asking(&server, &["bob@y.test".to_owned()]);
    wait_for("the question", || sink.connections() == 2);
    server.signal(Signal::SIGTERM);
    // Its own limit is 10 s.
    assert!(server.exited(8).success());
    for client in clients {
        assert_ne!(client.join().expect("an answer"), 250);
    }
}

#[test]
fn no_place_for_a_question_defers_the_client() {
    let (busy, _closed) = gated();
    let asked = Sink::start();
    let server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{}\"\n\
         [[domains]]\nname = \"y.test\"\ndeliver = \"smtp:{}\"\nrecipients = \"verify\"\n\
         {FAST}max_connections = 1\nmax_connections_per_destination = 1\n",
        busy.url(),
        asked.address
    ));
    send(&server, &["b@elsewhere.test"]);
    wait_for("the only place to be taken", || busy.open() == 1);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<ann@y.test>", 450);
    assert_eq!(asked.connections(), 0);
}

#[test]
fn a_mail_of_ours_is_not_sent_to_ourselves_on_any_listener() {
    let port = free_port().port();
    let setup = Setup::new(relay(&format!("smtp://127.0.0.1:{port}"), ""))
        .env("SMTP_SUBMISSION_PORT", port.to_string());
    let server = Server::start(setup);
    send(&server, &["b@y.test"]);
    let deferred = delivery(&server, "deferred");
    assert!(
        deferred["text"]
            .as_str()
            .expect("text")
            .contains("is this server itself"),
        "{deferred}"
    );
}
