//! AUTH: real clients with each mechanism, tokens as Kubernetes projects them, certificates, and what clients do wrong.

mod clients;
pub(crate) mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use blackbox::tls::{Tls, codes_behind_starttls};
use blackbox::tools::{certificates, client_certificate};
use blackbox::wire::Wire;
use serde_json::{Value, json};

pub(crate) const PASSWORD: &str = "Correct horse 5";

const SUBJECT: &str = "system:serviceaccount:shop:checkout";

/// One account `ann`, which a token and a certificate mean too; everything goes to the sink.
pub(crate) fn config(sink: &Sink) -> String {
    format!(
        "[relay]\nsmarthost = \"{}\"\n\
         [[accounts]]\nname = \"ann\"\npassword = \"{PASSWORD}\"\nsenders = [\"*@x.test\"]\n\
         identities = [\"oauth:{SUBJECT}\", \"cert:app.test\"]\n",
        sink.url()
    )
}

/// A server, its next hop, and the authority that its certificate is trusted by.
pub(crate) struct Stage {
    pub(crate) sink: Sink,
    pub(crate) server: Server,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let sink = Sink::start();
        let server = Server::with(&config(&sink));
        Stage { sink, server }
    }

    fn authority(&self) -> String {
        self.server.data().join("tls/ca.pem").display().to_string()
    }

    /// One message of this client arrived, by this mechanism.
    pub(crate) fn arrived(&self, client: &str, mechanism: &str) {
        let messages = self.sink.wait(1);
        let last = messages.last().expect("a message");
        assert_eq!(last.field("Subject").as_deref(), Some(client), "{}", last.text());
        let received = last.field("Received").expect("Received");
        assert!(received.contains("with ESMTPSA id"), "{received}");
        let event = self.server.wait_event("auth_succeeded", |_| true);
        assert_eq!(
            (&event["account"], &event["mechanism"]),
            (&json!("ann"), &json!(mechanism))
        );
        assert_eq!(self.server.wait_event("received", |_| true)["account"], "ann");
    }
}

pub(crate) fn text(subject: &str) -> String {
    format!("From: a@x.test\r\nTo: b@y.test\r\nSubject: {subject}\r\n\r\ntext\r\n")
}

fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", BASE64.encode(format!("\0{name}\0{password}")))
}

#[test]
fn a_clients_certificate_logs_in() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    client_certificate(folder.path(), "app.test", 2);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let sink = Sink::start();
    let config = format!(
        "{}[tls]\nclient_ca_file = \"{}\"\n",
        config(&sink),
        path("ca.pem")
    );
    let stage = Stage {
        server: Server::with(&config),
        sink,
    };
    let (cert, key) = (path("app.test.pem"), path("app.test.key"));
    let args = ["-cert", &cert, "-key", &key];
    let mut tls = Tls::open(stage.server.smtps(), false, &args);
    assert!(tls.expect("EHLO again", "250").contains(" EXTERNAL "));
    tls.expect(&format!("AUTH EXTERNAL {}", BASE64.encode("somebody")), "535");
    tls.expect("AUTH EXTERNAL =", "235");
    tls.expect("MAIL FROM:<a@x.test>", "250");
    tls.expect("RCPT TO:<b@y.test>", "250");
    tls.expect("DATA", "354");
    tls.expect(&(text("openssl").replace("\r\n", "\n") + "."), "250");
    stage.arrived("openssl", "external");
    let mut without = Tls::open(stage.server.smtps(), false, &[]);
    assert!(!without.expect("EHLO again", "250").contains("EXTERNAL"));
    without.expect("AUTH EXTERNAL =", "504");
}

#[test]
fn credentials_in_clear_are_refused_and_auth_is_not_offered() {
    let stage = Stage::new();
    for address in [stage.server.smtp, stage.server.submission()] {
        let mut wire = Wire::connect(address);
        wire.reply();
        assert!(!wire.expect("EHLO client.test", 250).text().contains("AUTH"));
        wire.expect(&plain("ann", PASSWORD), 538);
        wire.expect("AUTH LOGIN", 538);
    }
    assert!(stage.server.events("auth_succeeded").is_empty());
}

#[test]
fn clients_that_break_the_exchange_are_not_logged_in() {
    let stage = Stage::new();
    let mut tls = Tls::open(stage.server.submission(), true, &[]);
    tls.expect("AUTH LOGIN", "334 VXNlcm5hbWU6");
    tls.expect("*", "501 5.7.0");
    tls.expect("AUTH LOGIN YW5u", "334 UGFzc3dvcmQ6");
    tls.expect("%%%", "501 5.5.2");
    tls.expect("AUTH PLAIN", "334 ");
    tls.expect(&"A".repeat(12_400), "5");
    tls.expect("MAIL FROM:<a@x.test>", "530 5.7.0");
    tls.expect(&plain("ann", PASSWORD), "235 2.7.0");
    tls.expect(&plain("ann", PASSWORD), "503");
    tls.expect("MAIL FROM:<a@x.test>", "250");
    tls.expect("AUTH PLAIN AA==", "503");
}

#[test]
fn what_comes_behind_starttls_in_clear_is_no_command_under_tls() {
    let sink = Sink::start();
    let injected = format!("EHLO injected.test\r\n{}\r\n", plain("ann", PASSWORD));
    // The session ends at once; or, where that is not wanted, it goes on under TLS and nothing is said to what was injected.
    for (refuse, codes) in [(true, &[554][..]), (false, &[220, 250, 250, 221])] {
        let limits = format!("[limits]\nrefuse_unauthorized_pipelining = {refuse}\n");
        let server = Server::with(&(config(&sink) + &limits));
        assert_eq!(codes_behind_starttls(server.submission(), &injected), codes);
        // Who logs in after that is the first in the log.
        let mut tls = Tls::open(server.submission(), true, &[]);
        tls.expect(&plain("ann", "a guess"), "535");
        tls.expect(&plain("ann", PASSWORD), "235");
        server.wait_event("auth_succeeded", |_| true);
        for event in ["auth_succeeded", "auth_failed"] {
            assert_eq!(server.events(event).len(), 1, "{event}");
        }
    }
}

#[test]
fn failures_lock_a_name_where_it_failed() {
    let sink = Sink::start();
    let config = config(&sink) + "[auth]\nlock_after = 2\n";
    let server = Setup::new(config).start();
    let mut tls = Tls::open(server.smtps(), false, &[]);
    tls.expect(&plain("ann", "guess one"), "535 5.7.8");
    tls.expect(&plain("ann", "guess two"), "535 5.7.8");
    tls.expect(&plain("ann", PASSWORD), "535 5.7.8");
    let locked = server.wait_event("auth_locked", |_| true);
    assert_eq!(
        (&locked["account"], &locked["scope"]),
        (&json!("ann"), &json!("pair"))
    );
    let results: Vec<Value> = server
        .events("auth_failed")
        .iter()
        .map(|line| line["result"].clone())
        .collect();
    assert_eq!(results, ["refused", "refused", "locked"]);
    assert_eq!(server.metric("smtp_auth_lockouts_total{scope=\"pair\"}"), 1.0);
    for secret in ["guess one", PASSWORD] {
        let shown = BASE64.encode(format!("\0ann\0{secret}"));
        let leaks = |line: &Value| line.to_string().contains(secret) || line.to_string().contains(&shown);
        assert!(!server.log().iter().any(leaks));
    }
}
