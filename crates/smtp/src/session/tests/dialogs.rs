//! Commands and the replies to them.

use super::driver::{Driver, check_with, converse, dialog, settings};
use crate::BodyType;

#[track_caller]
fn check(exchange: &[(&str, &str)]) {
    check_with(settings(), exchange);
}

#[test]
fn a_mail() {
    let record = dialog(&[
        "EHLO client.example",
        "MAIL FROM:<a@x>",
        "RCPT TO:<b@y>",
        "RCPT TO:<no@y>",
        "DATA",
        "Subject: x",
        "",
        "..",
        ".",
        "QUIT",
    ]);
    assert_eq!(record.codes(), [220, 250, 250, 250, 550, 354, 250, 221]);
    assert_eq!(record.hellos, ["client.example"]);
    assert!(record.closed);
    let (mail, info) = &record.messages[0];
    assert_eq!(
        (mail.sender.as_str(), mail.recipients.as_slice()),
        ("a@x", &["b@y".to_owned()][..])
    );
    assert_eq!(mail.content, b"Subject: x\r\n\r\n.\r\n");
    assert_eq!(info.size, 17);
    let verbs: Vec<&str> = record.answered.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(verbs, ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "DATA", "QUIT"]);
}

#[test]
fn what_ehlo_offers() {
    let record = dialog(&["EHLO x"]);
    assert_eq!(
        record.output.lines().next(),
        Some("220 mx.example ESMTP Server Ready")
    );
    for offer in [
        "PIPELINING",
        "SIZE 1000",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "LIMITS RCPTMAX=3",
        "HELP",
    ] {
        assert!(
            record.output.lines().any(|line| &line[4..] == offer),
            "{offer}: {}",
            record.output
        );
    }
    assert!(record.output.contains("\r\n250-mx.example\r\n"));
    assert_eq!(dialog(&["HELO x"]).last_line(), "250 mx.example");
}

#[test]
fn commands_without_a_mail() {
    check(&[
        ("NOOP hello", "250 2.0.0"),
        ("HELP", "214 2.0.0"),
        ("VRFY root", "252 2.5.2"),
        ("VRFY", "501 5.5.4"),
        ("EXPN list", "502 5.5.1"),
        ("STARTTLS", "502 5.5.1"),
        ("AUTH PLAIN", "502 5.5.1"),
        ("RSET", "250 2.0.0"),
        ("EHLO", "501 5.5.4"),
        ("WHAT", "500 5.5.1"),
        ("", "500 5.5.1"),
        ("QUIT", "221 2.0.0"),
    ]);
}

#[test]
fn out_of_sequence() {
    check(&[
        ("MAIL FROM:<a@x>", "503 5.5.1"),
        ("RCPT TO:<a@x>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("HELO x", "250"),
        ("DATA", "503 5.5.1"),
        ("MAIL FROM:<>", "250 2.1.0"),
        ("MAIL FROM:<a@x>", "503 5.5.1"),
        ("DATA", "554 5.5.1"),
        ("RCPT TO:<no@y>", "550 5.7.1"),
        ("DATA", "554 5.5.1"),
    ]);
    check(&[
        ("EHLO x", "250"),
        ("MAIL FROM:<a@x>", "250 2.1.0"),
        ("RCPT TO:<b@y>", "250 2.1.5"),
        ("EHLO x", "250"),
        ("RCPT TO:<b@y>", "503 5.5.1"),
        ("MAIL FROM:<a@x>", "250 2.1.0"),
        ("EHLO", "501 5.5.4"),
        ("RCPT TO:<b@y>", "250 2.1.5"),
        ("RSET", "250 2.0.0"),
        ("DATA", "503 5.5.1"),
    ]);
}

#[test]
fn paths_and_parameters() {
    check(&[
        ("EHLO x", "250"),
        ("MAIL FROM:a@x", "501 5.1.7"),
        ("MAIL FROM:<;id;>", "501 5.1.7"),
        ("MAIL FROM:<a@x> FOO=1", "555 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=1 SIZE=1", "501 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=1001", "552 5.3.4"),
        ("MAIL FROM:<é@x>", "553 5.6.7"),
        (
            "MAIL FROM: <@a,@b:c@d> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=x",
            "250 2.1.0",
        ),
        ("RCPT TO:<é@x>", "553 5.6.7"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<a@x.>", "501 5.1.3"),
        ("RCPT TO:<a@x> NOTIFY=NEVER ORCPT=rfc822;a@x", "250 2.1.5"),
    ]);
    check(&[
        ("EHLO x", "250"),
        ("MAIL FROM:<é@x> SMTPUTF8", "250 2.1.0"),
        ("RCPT TO:<ü@é.example>", "250 2.1.5"),
        ("RCPT TO:<a@x> ORCPT=utf-8;ü@x", "250 2.1.5"),
    ]);
    check(&[
        ("HELO x", "250"),
        ("MAIL FROM:<a@x> SIZE=1", "555 5.5.4"),
        ("MAIL FROM:<a@x>", "250 2.1.0"),
        ("RCPT TO:<a@x> NOTIFY=NEVER", "555 5.5.4"),
        ("RCPT TO:<a@x>", "250 2.1.5"),
    ]);
}

#[test]
fn postmaster_is_ours() {
    let record = dialog(&["EHLO x", "MAIL FROM:<>", "RCPT TO:<PostMaster>", "DATA", "."]);
    let (mail, _) = &record.messages[0];
    assert_eq!(
        (mail.sender.as_str(), mail.recipients[0].as_str()),
        ("", "postmaster@mx.example")
    );
}

#[test]
fn too_many_recipients_are_told_to_come_again() {
    let mut commands = vec!["EHLO x", "MAIL FROM:<>", "RCPT TO:<no@x>"];
    commands.extend(["RCPT TO:<a@x>"; 30]);
    let record = dialog(&commands);
    assert_eq!(record.codes()[4..8], [250, 250, 250, 452]);
    assert_eq!(
        record.last_line(),
        "452 4.5.3 Too many recipients, send the rest in another transaction"
    );
    assert!(record.delays.is_empty() && !record.closed);
}

#[test]
fn binary_content_needs_bdat() {
    check(&[
        ("EHLO x", "250"),
        ("MAIL FROM:<> BODY=BINARYMIME", "250 2.1.0"),
        ("RCPT TO:<a@x>", "250 2.1.5"),
        ("DATA", "503 5.5.1"),
        ("BDAT 0 LAST", "250 2.0.0"),
    ]);
    let record = dialog(&[
        "EHLO x",
        "MAIL FROM:<> BODY=BINARYMIME",
        "RCPT TO:<a@x>",
        "BDAT 5 LAST\r\na\n\0\rb",
    ]);
    assert_eq!(record.messages[0].0.body_type, BodyType::BinaryMime);
    assert_eq!(record.messages[0].0.content, b"a\n\0\rb");
}

#[test]
fn after_any_refusal_nothing_is_left_of_the_mail() {
    for start in [
        &["MAIL FROM:<nodata@x>", "RCPT TO:<a@x>", "DATA"][..],
        &["MAIL FROM:<nodata@x>", "RCPT TO:<a@x>", "BDAT 2 LAST\r\nab"],
        &["MAIL FROM:<a@x>", "RCPT TO:<a@x>", "DATA", "REJECT", "."],
        &["MAIL FROM:<a@x>", "RCPT TO:<a@x>", "BDAT 1001 LAST\r\n"],
        &["MAIL FROM:<a@x>", "RCPT TO:<a@x>", "BDAT 6 LAST\r\nREJECT"],
        &["MAIL FROM:<a@x>", "RCPT TO:<a@x>", "RSET"],
        &["MAIL FROM:<no@x>"],
        &["MAIL FROM:<later@x>"],
    ] {
        let mut driver = Driver::new(settings());
        driver.send("EHLO x\r\n");
        for command in start {
            driver.send(command);
            if command.starts_with("BDAT 1001") {
                driver.send("x".repeat(1001 - 2));
            }
            driver.send("\r\n");
        }
        let before = driver.record.codes().len();
        driver.send("RCPT TO:<a@x>\r\nDATA\r\nMAIL FROM:<b@x>\r\nDATA\r\n");
        let all = driver.record.codes();
        let after = &all[all.len() - 4..];
        assert_eq!(after, [503, 503, 250, 554], "{start:?} {all:?}");
        assert!(before <= all.len() - 4 && driver.record.messages.is_empty());
    }
}

#[test]
fn lf_alone_ends_a_command() {
    let record = converse(settings(), &["EHLO x\nNOOP\nQUIT\nNOOP\n"]);
    assert_eq!(record.codes(), [220, 250, 250, 221]);
}
