//! Next hops as operators have them: TLS by policy, logins, LMTP, domains made at run time, recipients asked for.

use base64::Engine as _;
use blackbox::dovecot::{Dovecot, PASSWORD, USER};
use blackbox::ports::free_port;
use blackbox::postfix::Postfix;
use blackbox::server::Server;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::{certificates, maildir};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub(crate) const FAST: &str = "[delivery]\nretry_initial = 1\nretry_max = 2\n";
/// Postfix keeps what it gets in one mailbox.
const MAILBOX: &str = "virtual_mailbox_domains = y.test\nvirtual_mailbox_base = {folder}/mail\n\
    virtual_mailbox_maps = static:b/\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:65534\n\
    virtual_gid_maps = static:65534\n";

pub(crate) fn relay(url: &str, more: &str) -> String {
    format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{url}\"\n{more}\n{FAST}")
}

pub(crate) fn send(server: &Server, to: &[&str]) {
    let reply = Wire::hello(server.smtp).mail("a@x.test", to, "Subject: test\r\n\r\ntext\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
}

pub(crate) fn delivery(server: &Server, status: &str) -> Value {
    server.wait_event("delivery", |line| line["status"] == status)
}

/// The login's part of a URL.
pub(crate) fn login(password: &str) -> String {
    let quoted = |text: &str| text.replace('/', "%2F").replace('@', "%40");
    format!("{}:{}", quoted(USER), quoted(password))
}

/// What makes a Postfix offer TLS, and no login without it.
fn with_tls(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "{MAILBOX}smtpd_tls_security_level = may\nsmtpd_tls_auth_only = yes\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
        path("cert.pem"),
        path("key.pem")
    )
}

#[test]
fn postfix_takes_mail_from_who_logs_in() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    for (mechanisms, method) in [
        ("plain", "PLAIN"),
        ("login", "LOGIN"),
        ("plain login scram-sha-256", "SCRAM-SHA-256"),
    ] {
        let dovecot = Dovecot::start(mechanisms);
        let postfix = Postfix::start(&(with_tls(folder.path()) + &dovecot.postfix_config()));
        let url = format!("smtp://{}@{}", login(PASSWORD), postfix.address);
        let server = Server::with(&relay(&url, "tls = \"required\""));
        send(&server, &["b@y.test"]);
        let sent = delivery(&server, "sent");
        assert!(sent["tls"].is_string(), "{sent}");
        wait_for("the message in Postfix's Maildir", || {
            !maildir(&postfix.folder().join("mail/b")).is_empty()
        });
        let said = format!("sasl_method={method}, sasl_username={USER}");
        wait_for(&said, || postfix.log().contains(&said));
    }
}

#[test]
fn a_wrong_password_defers_the_mail_and_is_in_no_log() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let dovecot = Dovecot::start("plain login");
    let postfix = Postfix::start(&(with_tls(folder.path()) + &dovecot.postfix_config()));
    let wrong = "wrong-hunter2";
    let config = |password: &str| {
        let url = format!("smtp://{}@{}", login(password), postfix.address);
        relay(&url, "tls = \"required\"\n[logging]\nlevel = \"debug\"")
    };
    let mut server = Server::with(&config(wrong));
    send(&server, &["b@y.test"]);
    let deferred = delivery(&server, "deferred");
    let text = deferred["text"].as_str().expect("text");
    assert!(text.contains("login failed") && text.contains("535"), "{text}");
    let refused = server.wait_event("next_hop_login_refused", |_| true);
    assert_eq!(
        (&refused["user"], &refused["level"]),
        (&USER.into(), &"error".into())
    );
    let setting = refused["setting"].as_str().expect("setting");
    assert!(setting.starts_with("relay.smarthost"), "{refused}");
    server.wait_event("destination_down", |_| true);
    assert!(server.events("dsn_queued").is_empty(), "nothing bounces");

    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("\0{USER}\0{wrong}"));
    let mut all: Vec<String> = server.log().iter().map(Value::to_string).collect();
    all.push(format!("{:?}", server.queue(&["list"])));
    all.push(std::fs::read_to_string(server.folder().join("stderr")).unwrap_or_default());
    for line in &all {
        assert!(!line.contains(wrong) && !line.contains(&encoded), "{line}");
    }
    // Mended, the mail goes.
    server.write_config(&config(PASSWORD));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_event("config_reloaded", |_| true);
    server.done(&["queue", "retry", "--all"]);
    delivery(&server, "sent");
}

#[test]
fn a_next_hop_that_speaks_tls_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let postfix = Postfix::start(&(with_tls(folder.path()) + "smtpd_tls_wrappermode = yes\n"));
    let url = format!("smtps://{}", postfix.address);
    let authority = folder.path().join("ca.pem").display().to_string();
    let trusted = format!("{FAST}ca_file = \"{authority}\"\n");
    let verified = relay(&url, "tls = \"verified\"");
    for (config, status) in [
        (relay(&url, ""), "sent"),
        (verified.replace(FAST, &trusted), "sent"),
        (verified, "deferred"),
    ] {
        let server = Server::with(&config);
        send(&server, &["b@y.test"]);
        let line = delivery(&server, status);
        assert!(status == "deferred" || line["tls"].is_string(), "{line}");
    }
}

#[test]
fn lmtp_has_an_outcome_for_each_recipient() {
    let dovecot = Dovecot::start("plain");
    let server = Server::with(&format!(
        "[[domains]]\nname = \"y.test\"\ndeliver = \"lmtp:{}\"\n{FAST}",
        dovecot.lmtp
    ));
    send(&server, &[USER, "nobody@y.test"]);
    assert_eq!(delivery(&server, "sent")["to"], USER);
    let bounced = delivery(&server, "bounced");
    assert_eq!(bounced["to"], "nobody@y.test");
    assert!(
        bounced["text"].as_str().expect("text").contains("550 5.1.1"),
        "{bounced}"
    );
    wait_for("the message in Dovecot's Maildir", || {
        maildir(&dovecot.mailbox("ann")).len() == 1
    });
}

#[test]
fn an_unknown_authority_defers_where_certificates_are_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let postfix = Postfix::start(&with_tls(folder.path()));
    let config = relay(&postfix.url(), "tls = \"verified\"");
    let server = Server::with(&config);
    send(&server, &["b@y.test"]);
    let deferred = delivery(&server, "deferred");
    assert!(
        deferred["text"].as_str().expect("text").contains("UnknownIssuer"),
        "{deferred}"
    );
    assert!(maildir(&postfix.folder().join("mail/b")).is_empty());

    let trusted = format!("{FAST}ca_file = \"{}\"\n", folder.path().join("ca.pem").display());
    let server = Server::with(&config.replace(FAST, &trusted));
    send(&server, &["b@y.test"]);
    delivery(&server, "sent");
    wait_for("the only one in Postfix's Maildir", || {
        maildir(&postfix.folder().join("mail/b")).len() == 1
    });
}

/// A next hop that notes what it is told, and answers STARTTLS as given.
fn listener(ehlo: &[&str], starttls: &'static [u8]) -> (Sink, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = heard.clone();
    let sink = Sink::on("127.0.0.1:0", ehlo, move |_, moment| {
        let Moment::Command(line) = moment else {
            return Act::Default;
        };
        notes.lock().expect("notes").push(line.clone());
        match line.as_str() {
            "STARTTLS" => Act::RawClose(starttls.to_vec()),
            _ => Act::Default,
        }
    });
    (sink, heard)
}

fn assert_nothing_in_clear(heard: &Mutex<Vec<String>>) {
    let heard = heard.lock().expect("notes").clone();
    let greets = |line: &String| line.starts_with("EHLO") || line == "STARTTLS" || line == "QUIT";
    assert!(!heard.is_empty() && heard.iter().all(greets), "{heard:?}");
}

#[test]
fn nothing_goes_in_clear_where_tls_is_required() {
    let (sink, heard) = listener(&["PIPELINING", "AUTH PLAIN LOGIN"], b"");
    for url in [sink.url(), format!("smtp://{}@{}", login(PASSWORD), sink.address)] {
        let server = Server::with(&relay(&url, "tls = \"required\""));
        send(&server, &["b@y.test"]);
        let deferred = delivery(&server, "deferred");
        let text = deferred["text"].as_str().expect("text");
        assert!(
            text.contains("TLS is required") && text.contains("does not offer"),
            "{text}"
        );
        assert_nothing_in_clear(&heard);
    }
}

#[test]
fn a_reply_smuggled_in_before_the_handshake_ends_the_connection() {
    let (sink, heard) = listener(&["STARTTLS"], b"220 go on\r\n250-sink.test\r\n250 AUTH PLAIN\r\n");
    let server = Server::with(&relay(&sink.url(), "tls = \"opportunistic\""));
    send(&server, &["b@y.test"]);
    let deferred = delivery(&server, "deferred");
    assert!(
        deferred["text"].as_str().expect("text").contains("out of turn"),
        "{deferred}"
    );
    assert_nothing_in_clear(&heard);
    assert_eq!(sink.count(), 0);
}

#[test]
fn a_domain_made_at_run_time_is_delivered() {
    let sink = Sink::start();
    let server = Server::with(FAST);
    let deliver = format!("smtp:{}", sink.address);
    server.done(&["domain", "add", "made.test", "--deliver", &deliver]);
    send(&server, &["b@made.test"]);
    assert_eq!(sink.wait(1)[0].to, ["<b@made.test>"]);
    server.done(&["domain", "remove", "made.test"]);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    assert_ne!(wire.say("RCPT TO:<b@made.test>").code, 250);
}

#[test]
fn recipients_are_asked_for_at_their_next_hop() {
    let postfix = Postfix::start(&MAILBOX.replace(
        "virtual_mailbox_maps = static:b/",
        "virtual_mailbox_maps = inline:{ann@y.test=b/}\nsmtpd_reject_unlisted_recipient = yes",
    ));
    let away = free_port();
    let server = Server::with(&format!(
        "[[domains]]\nname = \"y.test\"\ndeliver = \"smtp:{}\"\nrecipients = \"verify\"\n\
         [[domains]]\nname = \"away.test\"\ndeliver = \"smtp:{away}\"\nrecipients = \"verify\"\n",
        postfix.address
    ));
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<ann@y.test>", 250);
    let unknown = wire.expect("RCPT TO:<nobody@y.test>", 550);
    assert!(unknown.text().starts_with("5.1.1"), "{unknown:?}");
    let unavailable = wire.expect("RCPT TO:<ann@away.test>", 450);
    assert!(unavailable.text().starts_with("4.1.1"), "{unavailable:?}");
    // It is remembered. Another question comes last: when Postfix has written that down, it has all before.
    wire.expect("RCPT TO:<nobody@y.test>", 550);
    wire.expect("RCPT TO:<other@y.test>", 550);
    wait_for("the last question in the log", || {
        postfix.log().contains("to=<other@y.test>")
    });
    assert_eq!(postfix.log().matches("to=<nobody@y.test>").count(), 1);
    let mails = || maildir(&postfix.folder().join("mail/b")).len();
    assert_eq!(mails(), 0, "nothing was sent");
    // What is sent comes there.
    Wire::hello(postfix.address).mail("a@x.test", &["ann@y.test"], "Subject: sent\r\n\r\n");
    wait_for("the only one", || mails() == 1);
}
