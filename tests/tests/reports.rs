//! Delivery status notifications (RFC 3461, 3464): who gets them, and what they say.

use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Message, Moment, Sink};
use blackbox::tools::{program, run};
use blackbox::wire::Wire;

/// A next hop that knows no `never@…`, and takes everything else.
fn hop() -> Sink {
    Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.contains("RCPT TO:<never") => {
            Act::Say("550 5.1.1 <never@y.test>: no such user".into())
        }
        _ => Act::Default,
    })
}

fn relay(sink: &Sink, more: &str) -> Server {
    Setup::new(format!(
        "{}[delivery]\nretry_initial = 1\n{more}",
        sink.relay_config()
    ))
    .start()
}

fn send(server: &Server, mail: &str, rcpts: &[&str], content: &str) {
    let mut wire = Wire::hello(server.smtp);
    wire.expect(&format!("MAIL FROM:{mail}"), 250);
    for rcpt in rcpts {
        wire.expect(&format!("RCPT TO:{rcpt}"), 250);
    }
    wire.expect("DATA", 354);
    wire.send(content);
    wire.expect(".", 250);
}

/// Python's email package takes the report apart: `key=value` lines.
fn parsed(message: &Message) -> String {
    let script = "import sys, email, email.policy\n\
        m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
        assert not m.defects, m.defects\n\
        print('type=' + m.get_content_type()); print('report=' + str(m.get_param('report-type')))\n\
        print('to=' + m['To']); print('auto=' + m['Auto-Submitted']); print('from=' + m['From'])\n\
        assert m['Date'] and m['Message-ID'] and m['Subject'] and m['MIME-Version'] == '1.0'\n\
        parts = list(m.iter_parts()); assert len(parts) == 3, parts\n\
        print('text=' + parts[0].get_content().replace('\\n', ' '))\n\
        for block in parts[1].get_payload():\n\
        \x20   assert not block.defects\n\
        \x20   for k, v in block.items(): print('status.' + k + '=' + v.replace('\\n', ' '))\n\
        print('returned=' + parts[2].get_content_type())\n\
        p = parts[2].get_payload()\n\
        print('original=' + (p[0].as_string() if isinstance(p, list) else p).replace('\\n', '|'))\n";
    let mut command = program("/usr/bin/python3");
    command.args(["-c", script]);
    let input = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(input.path(), &message.content).expect("write");
    command.stdin(std::fs::File::open(input.path()).expect("open"));
    String::from_utf8(run(&mut command).stdout).expect("UTF-8")
}

fn assert_has(report: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            report.lines().any(|got| got.starts_with(line)),
            "no {line} in\n{report}"
        );
    }
}

#[test]
fn a_failure_goes_back_to_the_sender() {
    let sink = hop();
    let server = relay(&sink, "");
    send(
        &server,
        "<a@x.test> ENVID=QQ+2B314 RET=FULL",
        &["<never@y.test> ORCPT=rfc822;Old+2BName@z.test", "<good@y.test>"],
        "From: a@x.test\r\nSubject: hello\r\nMessage-ID: <m1@x.test>\r\n\r\nthe whole text\r\n",
    );
    let messages = sink.wait(2);
    let report = messages
        .iter()
        .find(|message| message.from.starts_with("<>"))
        .expect("a report from <>");
    assert!(report.to[0].starts_with("<a@x.test>"), "{:?}", report.to);
    let report = parsed(report);
    assert_has(
        &report,
        &[
            "type=multipart/report",
            "report=delivery-status",
            "to=a@x.test",
            "auto=auto-replied",
            "status.Reporting-MTA=dns; mx.test",
            "status.Original-Envelope-Id=QQ+314",
            "status.Arrival-Date=",
            "status.Original-Recipient=rfc822; Old+Name@z.test",
            "status.Final-Recipient=rfc822; never@y.test",
            "status.Action=failed",
            "status.Status=5.1.1",
            "status.Remote-MTA=dns; ",
            "status.Diagnostic-Code=smtp; 550 5.1.1 <never@y.test>: no such user",
            "returned=message/rfc822",
        ],
    );
    assert!(report.contains("the whole text"), "{report}");
    assert!(!report.contains("good@y.test"), "{report}");
    server.wait_empty();
}

#[test]
fn headers_only_when_asked() {
    let sink = hop();
    let server = relay(&sink, "");
    send(
        &server,
        "<a@x.test> RET=HDRS",
        &["<never@y.test>"],
        "Subject: hello\r\n\r\nthe whole text\r\n",
    );
    let report = parsed(&sink.wait(1)[0]);
    assert_has(&report, &["returned=text/rfc822-headers"]);
    assert!(
        report.contains("Subject: hello") && !report.contains("the whole text"),
        "{report}"
    );
}

#[test]
fn nobody_is_told_who_does_not_want_to_be() {
    let sink = hop();
    let server = relay(&sink, "");
    send(
        &server,
        "<a@x.test>",
        &["<never@y.test> NOTIFY=NEVER"],
        "text\r\n",
    );
    send(
        &server,
        "<a@x.test>",
        &["<never@y.test> NOTIFY=SUCCESS"],
        "text\r\n",
    );
    send(&server, "<>", &["<never@y.test>"], "text\r\n");
    server.wait_event("double_bounce", |line| line["to"] == "never@y.test");
    blackbox::wait_for("three bounces", || {
        server
            .events("delivery")
            .iter()
            .filter(|line| line["status"] == "bounced")
            .count()
            == 3
    });
    server.wait_empty();
    assert_eq!(sink.count(), 0, "{:#?}", sink.messages());
}

#[test]
fn a_copy_of_a_double_bounce_goes_to_the_postmaster() {
    let sink = hop();
    let server = relay(&sink, "double_bounce_to = \"postmaster@y.test\"\n");
    send(&server, "<>", &["<never@y.test>"], "Subject: lost\r\n\r\n");
    let copy = &sink.wait(1)[0];
    assert!(copy.from.starts_with("<>"), "{}", copy.from);
    assert!(copy.to[0].starts_with("<postmaster@y.test>"), "{:?}", copy.to);
    assert!(copy.text().contains("never@y.test"));
}

#[test]
fn success_is_reported_when_asked() {
    // A hop without DSN: from there on nobody knows, so we say "relayed".
    let relayed = Sink::offering(&["PIPELINING"]);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Setup::new(format!(
        "{}[[domains]]\nname = \"local.test\"\ndeliver = \"maildir:{}/{{local}}\"\nrecipients = \"any\"\n",
        relayed.relay_config(),
        folder.path().display()
    ))
    .start();
    send(
        &server,
        "<a@x.test>",
        &["<b@y.test> NOTIFY=SUCCESS"],
        "Subject: one\r\n\r\n",
    );
    let report = relayed
        .wait(2)
        .into_iter()
        .find(|message| message.from.starts_with("<>"))
        .expect("a report");
    let report = parsed(&report);
    assert_has(
        &report,
        &[
            "status.Action=relayed",
            "status.Final-Recipient=rfc822; b@y.test",
            "status.Status=2.",
        ],
    );
    relayed.clear();
    send(
        &server,
        "<a@x.test>",
        &["<b@local.test> NOTIFY=SUCCESS", "<c@local.test>"],
        "Subject: two\r\n\r\n",
    );
    let report = parsed(&relayed.wait(1)[0]);
    assert_has(
        &report,
        &[
            "status.Action=delivered",
            "status.Final-Recipient=rfc822; b@local.test",
        ],
    );
    assert!(!report.contains("c@local.test"), "{report}");
    server.wait_empty();
    // A hop with DSN is told instead, and reports itself.
    let sink = Sink::start();
    let server = relay(&sink, "");
    send(
        &server,
        "<a@x.test>",
        &["<b@y.test> NOTIFY=SUCCESS"],
        "Subject: three\r\n\r\n",
    );
    assert!(sink.wait(1)[0].to[0].ends_with(" NOTIFY=SUCCESS"));
    server.wait_empty();
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_report_about_a_large_message_stays_small() {
    let sink = hop();
    let server = relay(&sink, "");
    let large = format!(
        "Subject: large\r\n\r\n{}",
        format!("{}\r\n", "x".repeat(70)).repeat(100_000)
    );
    send(&server, "<a@x.test>", &["<never@y.test>"], &large);
    let report = &sink.wait(1)[0];
    assert!(report.content.len() < 1_200_000, "{}", report.content.len());
    parsed(report);
}

#[test]
fn a_report_about_an_address_beyond_ascii() {
    let sink = hop();
    let server = relay(&sink, "");
    send(
        &server,
        "<j\u{f6}rg@x.test> SMTPUTF8",
        &["<never@y.test>", "<never-\u{fc}@y.test>"],
        "Subject: \u{fc}\r\n\r\n",
    );
    let report = &sink.wait(1)[0];
    assert!(report.to[0].starts_with("<j\u{f6}rg@x.test>"), "{:?}", report.to);
    assert!(report.from.contains("SMTPUTF8"), "{}", report.from);
    let text = report.text();
    assert!(text.contains("message/global-delivery-status"), "{text}");
    assert!(text.contains("utf-8; never-\u{fc}@y.test"), "{text}");
}

/// A report is sent with DATA: what BINARYMIME content holds must not reach it as it is.
#[test]
fn a_report_about_binary_content_holds_only_lines() {
    let sink = Sink::start();
    let server = Server::with(&format!(
        "{}[[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n",
        sink.relay_config()
    ));
    let content = "Subject: kept\r\nX: y\n.\nMAIL FROM:<smuggled@x.test>\r\nA: \0\r\n\r\nbody";
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test> BODY=BINARYMIME", 250);
    wire.expect("RCPT TO:<b@local.test> NOTIFY=SUCCESS", 250);
    wire.send(format!("BDAT {} LAST\r\n{content}", content.len()));
    assert_eq!(wire.reply().code, 250);
    let report = sink.wait(1).remove(0).text();
    assert!(
        report.contains("Subject: kept") && !report.contains("smuggled"),
        "{report}"
    );
    assert!(
        !report.replace("\r\n", "").contains(['\r', '\n', '\0']),
        "{report}"
    );
}
