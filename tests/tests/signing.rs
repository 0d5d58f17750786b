//! DKIM: what accounts and trusted networks send is signed, and holds at verifiers that know nothing of ours after a real relay has had it.

use blackbox::dkim::{Key, Verifiers};
use blackbox::postfix::Postfix;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Message, Sink};
use blackbox::tools::swaks;
use blackbox::wire::{Wire, queue_id};

const PASSWORD: &str = "Correct horse 5";

/// A server that signs for x.test with both kinds of keys, a Postfix behind it unless left out, and what comes out.
struct Stage {
    sink: Sink,
    _postfix: Option<Postfix>,
    server: Server,
    verifiers: Verifiers,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let sink = Sink::start();
        let postfix = Postfix::start(&format!(
            "relayhost = [{}]:{}\nmessage_size_limit = 20000000\nlocal_header_rewrite_clients =\n",
            sink.address.ip(),
            sink.address.port()
        ));
        Stage::behind(&postfix.url(), sink, Some(postfix))
    }

    /// Without the Postfix: what comes out is what the server wrote.
    fn direct() -> Stage {
        let sink = Sink::start();
        Stage::behind(&sink.url(), sink, None)
    }

    fn behind(smarthost: &str, sink: Sink, postfix: Option<Postfix>) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let mut verifiers = Verifiers::default();
        let mut config = format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{smarthost}\"\n\
             [[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n\
             [[accounts]]\nname = \"ann\"\npassword = \"{PASSWORD}\"\nsenders = [\"*@x.test\", \"*@*.x.test\", \"*@keyless.test\"]\n"
        );
        for (kind, selector) in [("RSA", "r1"), ("ED25519", "e1")] {
            let key = Key::new(folder.path(), kind);
            config += &format!(
                "[[dkim_keys]]\ndomain = \"x.test\"\nselector = \"{selector}\"\nkey_file = \"{}\"\n",
                key.pem.display()
            );
            verifiers.publish(&format!("{selector}._domainkey.x.test"), &key.record);
        }
        Stage {
            server: Server::with(&config),
            sink,
            _postfix: postfix,
            verifiers,
            _folder: folder,
        }
    }

    /// Sends by SMTP from a trusted network; gives what came out.
    fn trusted(&self, mail_parameters: &str, content: &[u8]) -> Message {
        let before = self.sink.count();
        let mut wire = Wire::hello(self.server.smtp);
        wire.expect(&format!("MAIL FROM:<ann@x.test>{mail_parameters}"), 250);
        wire.expect("RCPT TO:<bob@y.test>", 250);
        wire.send(format!("BDAT {} LAST\r\n", content.len()));
        wire.send(content);
        let reply = wire.reply();
        assert_eq!(reply.code, 250, "{reply:?}");
        self.sink.wait(before + 1).pop().expect("a message")
    }

    /// All signatures hold at all verifiers.
    fn holds(&self, name: &str, message: &Message) {
        let judged = self.verifiers.judge(&message.content);
        let expected = [
            "dkimpy rsa-sha256 x.test pass",
            "dkimpy ed25519-sha256 x.test pass",
            "Mail::DKIM rsa-sha256 x.test pass",
        ];
        assert_eq!(judged, expected, "{name}\n{:.3000}", message.text());
    }
}

const HEADER: &str = "From: Ann <ann@x.test>\r\nTo: bob@y.test\r\nSubject: signed\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\
                      Message-ID: <1@x.test>\r\nMIME-Version: 1.0\r\n";

#[test]
fn signatures_hold_behind_a_relay_whatever_the_message() {
    let stage = Stage::new();
    let long = format!("{}\r\n", "0123456789 ".repeat(8));
    let eight = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\u{df}e\r\n";
    let messages: Vec<(&str, &str, String)> = vec![
        ("plain", "", format!("{HEADER}\r\nHello\r\n")),
        ("empty body", "", format!("{HEADER}\r\n")),
        ("no body at all", "", HEADER.to_owned()),
        ("no final line end", "", format!("{HEADER}\r\nHello")),
        (
            "blanks and empty lines at the end",
            "",
            format!("{HEADER}\r\nHello \t \r\n\r\n  \r\n\r\n\t\r\n"),
        ),
        ("dots", "", format!("{HEADER}\r\n.\r\n..\r\n.x\r\n")),
        ("8 bit", " BODY=8BITMIME", format!("{HEADER}{eight}")),
        (
            "UTF-8 in the header",
            " BODY=8BITMIME SMTPUTF8",
            format!("{HEADER}{eight}").replace("Subject: signed", "Subject: Gr\u{fc}\u{df}e an J\u{f6}rg"),
        ),
        (
            "folded",
            "",
            format!(
                "{HEADER}References: <a@x.test>\r\n\t<b@x.test>\r\n  <c@x.test>\r\nCc: a@y.test,\r\n b@y.test\r\n\r\nx\r\n"
            ),
        ),
        (
            "repeated",
            "",
            format!("{HEADER}Comments: one\r\nComments: two\r\nList-Id: <l.x.test>\r\n\r\nx\r\n"),
        ),
        (
            "larger than memory",
            "",
            format!("{HEADER}\r\n{}", long.repeat(6000)),
        ),
        ("megabytes", "", format!("{HEADER}\r\n{}", long.repeat(40_000))),
    ];
    for (name, parameters, content) in messages {
        let message = stage.trusted(parameters, content.as_bytes());
        stage.holds(name, &message);
    }
}

#[test]
fn signatures_hold_when_the_content_came_by_data() {
    let stage = Stage::new();
    let long = format!("..{}\r\n", "0123456789 ".repeat(8));
    for (body, sent) in [("..\r\n...\r\n..x\r\n".to_owned(), 1), (long.repeat(6000), 2)] {
        let mut wire = Wire::hello(stage.server.smtp);
        let reply = wire.mail("ann@x.test", &["bob@y.test"], &format!("{HEADER}\r\n{body}"));
        assert_eq!(reply.code, 250, "{reply:?}");
        let message = stage.sink.wait(sent).pop().expect("a message");
        stage.holds("by DATA", &message);
    }
}

/// dkimpy cannot read such a header; a Postfix on the way would mend it.
#[test]
fn blanks_before_colons_do_not_break_signatures() {
    let stage = Stage::direct();
    let content = format!("{}\r\nx\r\n", HEADER)
        .replace("Subject:", "Subject :")
        .replace("To:", "To\t:");
    stage.holds("a trusted network's", &stage.trusted("", content.as_bytes()));
    let (sent, said) = submit(&stage, &content);
    assert!(sent, "{said}");
    let message = stage.sink.wait(2).pop().expect("a message");
    stage.holds("an account's", &message);
    assert!(message.text().contains("\r\nSubject: signed\r\n"));

    let unsigned = stage.trusted("", content.replace("ann@x.test", "ann@other.test").as_bytes());
    assert!(
        unsigned.text().contains("\r\nSubject : signed\r\n"),
        "nobody signs it, so nobody changes it"
    );
}

#[test]
fn a_change_of_one_octet_breaks_every_signature() {
    let stage = Stage::new();
    let message = stage.trusted("", format!("{HEADER}\r\nHello\r\n").as_bytes());
    stage.holds("untouched", &message);
    for (old, new) in [
        ("\r\nHello\r\n", "\r\nHellO\r\n"),
        ("Subject: signed", "Subject: singed"),
        ("\r\nTo: bob@y.test", "\r\nTo: bob@y.test\r\nTo: eve@y.test"),
        ("\r\nSubject: ", "\r\nFrom: eve@x.test\r\nSubject: "),
    ] {
        let text = message.text();
        assert!(text.contains(old), "{text}");
        let judged = stage.verifiers.judge(text.replacen(old, new, 1).as_bytes());
        assert_eq!(judged.len(), 3, "{judged:?}");
        assert!(
            judged.iter().all(|line| !line.ends_with("pass")),
            "{new}: {judged:?}"
        );
    }
}

/// An account's mail by swaks over STARTTLS.
fn submit(stage: &Stage, data: &str) -> (bool, String) {
    let mut swaks = swaks(stage.server.submission(), "ann", PASSWORD);
    swaks.args(["--from", "ann@x.test", "--to", "bob@y.test"]);
    let output = swaks
        .args(["--data", &data.replace("\r\n", "\\n")])
        .output()
        .expect("swaks");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn an_accounts_mail_is_completed_and_signed() {
    let stage = Stage::new();
    let (sent, said) = submit(
        &stage,
        "Subject: bare\r\nTo: bob@y.test\r\nBcc: eve@y.test\r\n\r\nHello\r\n",
    );
    assert!(sent, "{said}");
    let message = stage.sink.wait(1).pop().expect("a message");
    stage.holds("completed", &message);
    assert_eq!(message.field("From").as_deref(), Some("<ann@x.test>"));
    assert!(message.field("Date").is_some());
    let id = message.field("Message-ID").expect("a message-id");
    assert!(id.ends_with("@mx.test>"), "{id}");
    assert!(!message.text().contains("eve@y.test"), "{}", message.text());
}

#[test]
fn a_subdomain_is_signed_by_its_parents_key_and_others_by_none() {
    let stage = Stage::new();
    let from = |domain: &str| format!("{HEADER}\r\nx\r\n").replace("ann@x.test", &format!("ann@{domain}"));
    stage.holds("subdomain", &stage.trusted("", from("shop.x.test").as_bytes()));
    let foreign = stage.trusted("", from("other.test").as_bytes());
    assert_eq!(foreign.field("DKIM-Signature"), None, "{}", foreign.text());
}

/// Messages that went unsigned for want of a key.
fn unsigned(server: &Server) -> f64 {
    server.metric("smtp_messages_unsigned_total")
}

#[test]
fn mail_that_lacks_a_key_is_counted_and_named() {
    let stage = Stage::direct();
    let from = |domain: &str| format!("{HEADER}\r\nx\r\n").replace("ann@x.test", &format!("ann@{domain}"));
    stage.trusted("", from("x.test").as_bytes());
    stage.trusted("", from("shop.x.test").as_bytes());
    // Somebody else has signed it, or it does not say whose it is.
    let forwarded = format!("DKIM-Signature: v=1; d=other.test\r\n{}", from("other.test"));
    stage.trusted("", forwarded.as_bytes());
    stage.trusted("", b"Subject: nobody\r\n\r\nx\r\n");
    assert_eq!(unsigned(&stage.server), 0.0);
    stage.trusted("", from("Other.test").as_bytes());
    let line = stage
        .server
        .wait_event("received", |line| line["unsigned"].is_string());
    assert_eq!(
        (&line["unsigned"], unsigned(&stage.server)),
        (&"other.test".into(), 1.0)
    );
    let (sent, said) = submit(&stage, &from("keyless.test"));
    assert!(sent, "{said}");
    stage.server.wait_event("received", |line| {
        line["unsigned"] == "keyless.test" && line["account"] == "ann"
    });
    assert_eq!(unsigned(&stage.server), 2.0);
    // What was refused did not leave.
    let refused = format!("{}{}\r\n", from("other.test"), "x".repeat(2000));
    let mut wire = Wire::hello(stage.server.smtp);
    assert_eq!(wire.mail("ann@x.test", &["bob@y.test"], &refused).code, 554);
    assert_eq!(unsigned(&stage.server), 2.0);
}

#[test]
fn where_there_is_no_key_at_all_none_is_missed_until_there_was_one() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    let mail = format!("{HEADER}\r\nx\r\n");
    Wire::hello(server.smtp).mail("ann@x.test", &["bob@y.test"], &mail);
    assert_eq!(unsigned(&server), 0.0);
    // Of a key that signs only from tomorrow on today's mail has nothing.
    server.done(&["dkim", "new", "x.test", "--after", "86400"]);
    Wire::hello(server.smtp).mail("ann@x.test", &["bob@y.test"], &mail);
    assert_eq!(unsigned(&server), 1.0);
}

#[test]
fn what_strangers_send_is_not_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::new(folder.path(), "RSA");
    let config = format!(
        "[[domains]]\nname = \"x.test\"\ndeliver = \"maildir:{}/{{local}}\"\nrecipients = \"any\"\n",
        folder.path().display()
    );
    let pem = std::fs::read_to_string(&key.pem).expect("the key");
    let server = Setup::new(config)
        .env("SMTP_DKIM_PRIVATE_KEY", pem)
        .env("SMTP_DKIM__DOMAIN", "x.test")
        .start();
    Wire::hello(server.smtp).mail("ann@x.test", &["bob@x.test"], &format!("{HEADER}\r\nx\r\n"));
    server.wait_empty();
    Wire::hello(server.smtp).mail("a@other.test", &["bob@x.test"], "From: a@other.test\r\n\r\nx\r\n");
    server.wait_empty();
    assert_eq!(unsigned(&server), 0.0, "nobody but other.test could sign that");
    let kept = blackbox::tools::maildir(&folder.path().join("bob"));
    assert_eq!(kept.len(), 2);
    for mail in &kept {
        let text = String::from_utf8_lossy(mail).into_owned();
        assert!(!text.contains("DKIM-Signature"), "{text}");
    }
}

#[test]
fn the_key_from_the_environment_signs_for_the_domain_above_the_hostname() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::new(folder.path(), "RSA");
    let sink = Sink::start();
    let server = Setup::new(sink.relay_config())
        .env("SMTP_HOSTNAME", "mail.x.test")
        .env("SMTP_DKIM_PRIVATE_KEY_FILE", key.pem.display().to_string())
        .start();
    Wire::hello(server.smtp).mail("ann@x.test", &["bob@y.test"], &format!("{HEADER}\r\nx\r\n"));
    let message = sink.wait(1).pop().expect("a message");
    let mut verifiers = Verifiers::default();
    verifiers.publish("default._domainkey.x.test", &key.record);
    let judged = verifiers.judge(&message.content);
    assert_eq!(
        judged,
        [
            "dkimpy rsa-sha256 x.test pass",
            "Mail::DKIM rsa-sha256 x.test pass"
        ]
    );
}

#[test]
fn an_account_writes_in_nobody_elses_name() {
    let stage = Stage::new();
    for header in [
        "From: eve@y.test",
        "From: ann@x.test, eve@y.test",
        "From: ann@x.test\r\nSender: eve@y.test",
        "From: ann@x.test\r\nFrom: eve@y.test",
        "From: ann@x.test\r\nFrom : eve@y.test",
        "From: \"ann@x.test\" <eve@y.test>",
        "From: ann@x.test (\r\n) , eve@y.test",
        "From: friends: ann@x.test, eve@y.test;",
    ] {
        let (sent, said) = submit(&stage, &format!("{header}\r\nSubject: x\r\n\r\nHello\r\n"));
        assert!(!sent && said.contains("550 5."), "{header}: {said}");
    }
    assert_eq!(stage.server.metric("smtp_queue_depth"), 0.0);
    assert_eq!(stage.sink.count(), 0);
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let stage = Stage::new();
    let mut wire = Wire::hello(stage.server.smtp);
    let too_long = format!("{HEADER}\r\n{}\r\n", "x".repeat(2000));
    assert_eq!(wire.mail("ann@x.test", &["bob@y.test"], &too_long).code, 554);
    let header = format!("{HEADER}{}\r\nx\r\n", "X-Filler: 0123456789\r\n".repeat(20_000));
    let reply = wire.mail("ann@x.test", &["bob@y.test"], &header);
    assert_eq!(reply.code, 552, "{reply:?}");
    let id = queue_id(&wire.mail("ann@x.test", &["bob@y.test"], &format!("{HEADER}\r\nx\r\n")));
    assert!(!id.is_empty(), "the session goes on");
    assert_eq!(stage.sink.wait(1).len(), 1);
    stage.server.wait_empty();
}
