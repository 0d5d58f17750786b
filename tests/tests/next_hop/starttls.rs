//! STARTTLS with next hops: where it is used, what it proves, and when mail goes without.

use super::{FAST, command, relay_to, send};
use blackbox::postfix::Postfix;
use blackbox::server::Setup;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::certificates;
use blackbox::wait_for;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A CA and a certificate for `localhost`, as Postfix's settings.
fn certificate(folder: &Path) -> String {
    certificates(folder);
    format!(
        "smtpd_tls_cert_file = {0}/cert.pem\nsmtpd_tls_key_file = {0}/key.pem\n",
        folder.display()
    )
}

#[test]
fn starttls_is_used_where_it_is_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = certificate(folder.path());
    let postfix = Postfix::start(&format!(
        "smtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\n{tls}\
         virtual_mailbox_domains = y.test\nvirtual_mailbox_base = {{folder}}/mail\nvirtual_mailbox_maps = static:b/\n\
         virtual_minimum_uid = 1\nvirtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n"
    ));
    let relay = |tls: &str, more: &str| {
        // A real Postfix takes the time that it takes.
        let patient = FAST.replace("final_timeout = 2", "final_timeout = 30");
        let config = format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://localhost:{}\"\ntls = \"{tls}\"\n{patient}{more}",
            postfix.address.port()
        );
        Setup::new(config).start()
    };
    let ca = format!("ca_file = \"{}\"\n", folder.path().join("ca.pem").display());
    for (policy, more) in [("opportunistic", ""), ("required", ""), ("verified", ca.as_str())] {
        let server = relay(policy, more);
        send(&server, &["b@y.test"]);
        let sent = server.wait_event("delivery", |line| line["status"] == "sent");
        assert!(
            sent["tls"].as_str().is_some_and(|tls| tls.contains("TLS")),
            "{policy}: {sent}"
        );
    }
    // A certificate that nobody vouches for is no proof.
    let server = relay("verified", "");
    send(&server, &["b@y.test"]);
    let deferred = server.wait_event("delivery", |line| line["status"] == "deferred");
    assert!(
        deferred["text"].as_str().expect("text").contains("ertificate"),
        "{deferred}"
    );
    let server = relay("none", "");
    send(&server, &["b@y.test"]);
    let sent = server.wait_event("delivery", |line| line["status"] == "sent");
    assert!(sent["tls"].is_null(), "{sent}");
    assert_eq!(
        postfix.log().matches("TLS connection established from").count(),
        3,
        "{}",
        postfix.log()
    );
}

#[test]
fn a_broken_starttls_falls_back_only_when_it_may() {
    let offers = |_: usize, moment: &Moment| match moment {
        moment if command(moment, "STARTTLS") => Act::RawClose(b"220 go ahead\r\n".to_vec()),
        _ => Act::Default,
    };
    let sink = Sink::on("127.0.0.1:0", &["PIPELINING", "STARTTLS"], offers);
    let server = relay_to(&sink);
    send(&server, &["b@y.test"]);
    sink.wait(1);
    server.wait_event("tls_fallback", |_| true);
    sink.clear();
    let server = Setup::new(format!("{}tls = \"required\"\n{FAST}", sink.relay_config())).start();
    send(&server, &["b@y.test"]);
    server.wait_event("delivery", |line| line["status"] == "deferred");
    let plain = Sink::start();
    let server = Setup::new(format!("{}tls = \"required\"\n{FAST}", plain.relay_config())).start();
    send(&server, &["b@y.test"]);
    let deferred = server.wait_event("delivery", |line| line["status"] == "deferred");
    assert!(
        deferred["text"]
            .as_str()
            .expect("text")
            .contains("does not offer"),
        "{deferred}"
    );
    assert_eq!(plain.count(), 0);
    assert_eq!(sink.count(), 0);
}

#[test]
fn replies_injected_before_tls_are_not_read() {
    // In clear, behind the 220, a man in the middle puts replies for after the handshake; then he listens.
    let (tricked, heard) = (Mutex::new(BTreeSet::new()), Arc::new(Mutex::new(Vec::new())));
    let hears = heard.clone();
    let injects = move |connection: usize, moment: &Moment| {
        let mut tricked = tricked.lock().expect("connections");
        if tricked.contains(&connection) {
            hears.lock().expect("heard").push(moment.clone());
        }
        if !command(moment, "STARTTLS") {
            return Act::Default;
        }
        tricked.insert(connection);
        Act::Inject(b"220 go ahead\r\n250-sink.test\r\n250 8BITMIME\r\n250 2.1.0 ok\r\n".to_vec())
    };
    let sink = Sink::on("127.0.0.1:0", &["STARTTLS"], injects);
    let server = Setup::new(format!("{}tls = \"required\"\n{FAST}", sink.relay_config())).start();
    send(&server, &["b@y.test"]);
    let deferred = server.wait_event("delivery", |line| line["status"] == "deferred");
    assert!(
        deferred["text"].as_str().expect("text").contains("out of turn"),
        "{deferred}"
    );
    wait_for("the connection to end", || sink.open() == 0);
    let heard = heard.lock().expect("heard").clone();
    assert!(heard.is_empty() && sink.count() == 0, "{heard:?}");
}
