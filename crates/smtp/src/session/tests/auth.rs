//! AUTH (RFC 4954). In base64: `b2s=` is `ok`, `bm8=` `no`, `YXNr` `ask`, `bGF0ZXI=` `later`, `Ynll` `bye`.

use super::driver::{Driver, check_with, converse, dialog_with, open_settings, settings, tls_settings};
use crate::limits;
use crate::session::{AuthAnswer, AuthOffer, Note, Session, Settings, Step};
use crate::{Enhanced, Reply};
use bytes::BytesMut;
use std::sync::Arc;

const BYE: Reply = Reply::new(421, Enhanced(4, 3, 2), "Shutting down");

fn in_clear() -> Settings {
    Settings {
        auth: AuthOffer::UnderTls,
        ..open_settings()
    }
}

fn strict() -> Settings {
    Settings {
        refuse_unauthorized_pipelining: true,
        ..tls_settings()
    }
}

fn submission() -> Settings {
    Settings {
        auth_required: true,
        ..tls_settings()
    }
}

#[test]
fn who_may_say_it() {
    check_with(
        tls_settings(),
        &[
            ("AUTH PLAIN b2s=", "503 5.5.1"),
            ("HELO x", "250"),
            ("AUTH PLAIN b2s=", "503 5.5.1"),
            ("EHLO x", "250"),
            ("AUTH", "501 5.5.4"),
            ("AUTH CRAM-MD5", "504 5.5.4"),
            ("AUTH PLAIN b2s", "501 5.5.2"),
            ("AUTH PLAIN b2s= b2s=", "501 5.5.2"),
            ("auth plain bm8=", "535 5.7.8"),
            ("AUTH LOGIN bGF0ZXI=", "454 4.7.0"),
            ("auth plain b2s=", "235 2.7.0"),
            ("AUTH PLAIN b2s=", "503 5.5.1"),
            ("EHLO x", "250"),
            ("AUTH LOGIN", "503 5.5.1"),
        ],
    );
    for line in ["AUTH PLAIN b2s=", "AUTH PLAIN", "AUTH X !", "AUTH"] {
        check_with(settings(), &[("EHLO x", "250"), (line, "502 5.5.1")]);
        let record = check_with(in_clear(), &[("EHLO x", "250"), (line, "538 5.7.11")]);
        assert!(record.auth.is_empty());
    }
}

#[test]
fn what_ehlo_offers() {
    assert!(
        dialog_with(tls_settings(), &["EHLO x"])
            .output
            .ends_with(" AUTH PLAIN LOGIN\r\n")
    );
    for without in [settings(), in_clear()] {
        assert!(!dialog_with(without, &["EHLO x"]).output.contains("AUTH"));
    }
}

#[test]
fn mail_waits_for_it() {
    let mail = "MAIL FROM:<a@x>";
    check_with(
        submission(),
        &[(mail, "503 5.5.1"), ("HELO x", "250"), (mail, "530 5.7.0")],
    );
    check_with(
        submission(),
        &[
            ("EHLO x", "250"),
            (mail, "530 5.7.0"),
            ("RCPT TO:<b@y>", "503 5.5.1"),
            ("AUTH PLAIN bm8=", "535 5.7.8"),
            (mail, "530 5.7.0"),
            ("AUTH PLAIN b2s=", "235 2.7.0"),
            (mail, "250 2.1.0"),
        ],
    );
    let clear = Settings {
        auth_required: true,
        ..in_clear()
    };
    let record = check_with(clear, &[("EHLO x", "250"), (mail, "530 5.7.0")]);
    assert!(record.last_line().contains("STARTTLS"));
}

#[test]
fn not_within_a_mail() {
    let record = check_with(
        tls_settings(),
        &[
            ("EHLO x", "250"),
            ("MAIL FROM:<a@x>", "250 2.1.0"),
            ("AUTH PLAIN b2s=", "503 5.5.1"),
            ("RCPT TO:<b@y>", "250 2.1.5"),
            ("AUTH PLAIN", "503 5.5.1"),
            ("BDAT 0", "250 2.0.0"),
            ("AUTH PLAIN b2s=", "503 5.5.1"),
            ("RSET", "250 2.0.0"),
            ("AUTH PLAIN b2s=", "235 2.7.0"),
        ],
    );
    assert_eq!(record.auth, ["PLAIN", "ok"]);
}

#[test]
fn challenges_and_responses() {
    let record = dialog_with(tls_settings(), &["EHLO x", "AUTH LOGIN", "YXNr", "b2s="]);
    assert!(
        record
            .output
            .ends_with("\r\n334 V2hvPw==\r\n334 V2hvPw==\r\n235 2.7.0 Authentication successful\r\n")
    );
    assert_eq!(record.auth, ["LOGIN", "ask", "ok"]);
    let answered = [("EHLO", 250), ("AUTH", 334), ("AUTH", 334), ("AUTH", 235)];
    assert_eq!(record.answered, answered);
    let record = dialog_with(tls_settings(), &["EHLO x", "AUTH PLAIN =", "AUTH PLAIN", ""]);
    assert_eq!(record.codes(), [220, 250, 535, 334, 535]);
    assert_eq!(record.auth, ["PLAIN", "", "PLAIN", ""]);
}

#[test]
fn a_long_challenge_stays_one_line() {
    let mut session = Session::<()>::new(Arc::new(tls_settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from(&b"EHLO x\r\nAUTH PLAIN\r\n"[..]);
    while !matches!(session.step(&mut input), Step::Auth { .. }) {}
    session.output().clear();
    session.answer_auth(AuthAnswer::Challenge(vec![0; 6000]));
    let expected = format!("334 {}\r\n", "A".repeat(8000));
    assert_eq!(session.output().as_slice(), expected.as_bytes());
}

#[test]
fn what_is_no_response_ends_the_exchange() {
    for (line, status) in [
        ("*", "501 5.7.0"),
        ("b2s", "501 5.5.2"),
        ("=", "501 5.5.2"),
        ("b2s= ", "501 5.5.2"),
        ("* ", "501 5.5.2"),
        ("b2s=\0", "501 5.5.2"),
        ("b2 s=", "501 5.5.2"),
        ("é", "501 5.5.2"),
        ("MAIL FROM:<a@x>", "501 5.5.2"),
    ] {
        let record = check_with(
            submission(),
            &[
                ("EHLO x", "250"),
                ("AUTH PLAIN", "334"),
                (line, status),
                ("MAIL FROM:<a@x>", "530 5.7.0"),
                ("AUTH LOGIN b2s=", "235 2.7.0"),
            ],
        );
        assert_eq!(record.auth, ["PLAIN", "cancelled", "LOGIN", "ok"], "{line}");
    }
}

/// A line of exactly so many octets with its CRLF, which decodes to nothing that is known.
fn line(start: &str, length: usize) -> String {
    format!("{start}{}\r\n", "A".repeat(length - start.len() - 2))
}

#[test]
fn long_lines() {
    const LIMIT: usize = limits::AUTH_LINE;
    let start = ["EHLO x\r\n", "AUTH PLAIN\r\n"];
    // 12288 less CRLF is no multiple of four, so the longest line that can be base64 is two octets shorter.
    for (length, code, heard) in [(LIMIT - 2, 535, 2), (LIMIT, 501, 2), (LIMIT + 1, 500, 2)] {
        let line = line("", length);
        let record = converse(tls_settings(), &[start[0], start[1], &line, "NOOP\r\n"]);
        assert_eq!(record.codes(), [220, 250, 334, code, 250], "{length}");
        assert_eq!(record.auth.len(), heard);
    }
    let endless = "A".repeat(50_000);
    let pieces = [
        start[0],
        start[1],
        &endless,
        &endless,
        "\r\n",
        "AUTH PLAIN b2s=\r\n",
    ];
    let record = converse(tls_settings(), &pieces);
    assert_eq!(record.statuses(), ["250", "334", "500 5.5.6", "235 2.7.0"]);
    assert_eq!(record.notes, [Note::LongCommandLine]);
    assert_eq!(record.auth, ["PLAIN", "cancelled", "PLAIN", "ok"]);
}

#[test]
fn long_commands_are_taken_where_it_is_offered() {
    let long = line("AUTH PLAIN ", limits::AUTH_LINE - 3);
    let longer = line("AUTH PLAIN ", limits::AUTH_LINE + 1);
    let noop = line("NOOP ", limits::COMMAND_LINE + 1);
    let pieces = ["EHLO x\r\n", &long, &longer, &noop];
    let record = converse(tls_settings(), &pieces);
    assert_eq!(record.codes(), [220, 250, 535, 500, 500]);
    assert_eq!(converse(in_clear(), &pieces).codes(), [220, 250, 500, 500, 500]);
}

#[test]
fn an_endless_line_is_not_held() {
    let mut session = Session::<()>::new(Arc::new(tls_settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from(&b"EHLO x\r\nAUTH PLAIN\r\n"[..]);
    while !matches!(session.step(&mut input), Step::Auth { .. }) {}
    session.answer_auth(AuthAnswer::Challenge(Vec::new()));
    for _ in 0..100 {
        input.extend_from_slice(&[b'A'; 1000]);
        while !matches!(session.step(&mut input), Step::Read) {}
        assert!(input.len() < limits::AUTH_LINE);
    }
}

#[test]
fn nothing_may_follow_before_the_answer() {
    let mail = "MAIL FROM:<a@x>\r\n";
    let plain = format!("AUTH PLAIN b2s=\r\n{mail}");
    let response = format!("b2s=\r\n{mail}");
    let cancel = format!("*\r\n{mail}");
    for (pieces, strictly, heard) in [
        (
            &["EHLO x\r\n", plain.as_str()][..],
            &[250, 554][..],
            &[250, 235, 250][..],
        ),
        (
            &["EHLO x\r\n", "AUTH PLAIN\r\nb2s=\r\n"],
            &[250, 554],
            &[250, 334, 235],
        ),
        (
            &["EHLO x\r\n", "AUTH PLAIN\r\n", &response],
            &[250, 334, 554],
            &[250, 334, 235, 250],
        ),
        (
            &["EHLO x\r\n", "AUTH PLAIN\r\n", &cancel],
            &[250, 334, 554],
            &[250, 334, 501, 250],
        ),
    ] {
        let record = converse(strict(), pieces);
        assert_eq!(&record.codes()[1..], strictly, "{pieces:?}");
        assert_eq!(record.notes, [Note::UnauthorizedPipelining]);
        assert!(record.closed && !record.auth.contains(&"ok".to_owned()));
        let record = converse(tls_settings(), pieces);
        assert_eq!(&record.codes()[1..], heard, "{pieces:?}");
        assert_eq!(record.notes, [Note::UnauthorizedPipelining]);
    }
}

#[test]
fn failures_are_errors_unless_they_are_ours() {
    let commands = |line, count| [vec!["EHLO x"], vec![line; count]].concat();
    for line in ["AUTH PLAIN bm8=", "AUTH PLAIN !", "AUTH X"] {
        let record = dialog_with(tls_settings(), &commands(line, 30));
        assert_eq!(
            (record.codes().len(), record.delays.len()),
            (2 + 20, 11),
            "{line}"
        );
        assert!(record.last_line().starts_with("421 4.7.0"), "{line}");
        assert!(record.closed);
    }
    let exchanges: Vec<&str> = commands("AUTH PLAIN", 1).into_iter().chain(["*"]).collect();
    let many = [&exchanges[..1], &exchanges[1..].repeat(30)].concat();
    let record = dialog_with(tls_settings(), &many);
    assert_eq!((record.codes().len(), record.closed), (2 + 40, true));
    let record = dialog_with(tls_settings(), &commands("AUTH PLAIN bGF0ZXI=", 30));
    assert_eq!((record.codes().len(), record.closed), (2 + 30, false));
    let record = dialog_with(tls_settings(), &["EHLO x", "AUTH PLAIN Ynll", "NOOP"]);
    assert_eq!((record.codes(), record.closed), (vec![220, 250, 421], true));
}

/// A session that asks for a decision on AUTH, and what it said since.
fn asked() -> (Session<()>, BytesMut) {
    let mut session = Session::<()>::new(Arc::new(tls_settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from(&b"EHLO x\r\nAUTH PLAIN aHVzaA==\r\n"[..]);
    while !matches!(session.step(&mut input), Step::Auth { .. }) {}
    session.output().clear();
    (session, input)
}

#[test]
fn a_decision_that_nobody_took() {
    let (mut session, mut input) = asked();
    assert!(matches!(
        session.step(&mut input),
        Step::Answered {
            verb: "AUTH",
            code: 454
        }
    ));
    session.answer_auth(AuthAnswer::Accepted);
    assert!(session.is_idle() && !session.is_authenticated());
}

#[test]
fn a_server_that_stops_answers_with_that() {
    for answer in [
        AuthAnswer::Accepted,
        AuthAnswer::Challenge(b"Who?".into()),
        AuthAnswer::Rejected(Reply::new(535, Enhanced(5, 7, 8), "No")),
    ] {
        let (mut session, mut input) = asked();
        assert!(!session.is_idle());
        session.shutdown(BYE);
        assert!(session.output().is_empty());
        session.answer_auth(answer);
        assert_eq!(session.output().as_slice(), b"421 4.3.2 Shutting down\r\n");
        assert!(!session.is_authenticated());
        assert!(matches!(
            session.step(&mut input),
            Step::Answered { code: 421, .. }
        ));
        assert!(matches!(session.step(&mut input), Step::Close));
    }
    for line in ["b2s=\r\n", "*\r\n", "?\r\n", &line("", limits::AUTH_LINE + 1)] {
        let mut driver = Driver::new(tls_settings());
        driver.send("EHLO x\r\n").send("AUTH PLAIN\r\n");
        driver.session.shutdown(BYE);
        assert!(!driver.session.is_idle() && driver.session.output().is_empty());
        driver.send(line);
        assert_eq!(driver.record.codes(), [220, 250, 334, 421], "{line}");
        assert!(driver.record.closed && !driver.record.auth.contains(&"ok".to_owned()));
    }
}

#[test]
fn secrets_are_not_shown() {
    let (session, _) = asked();
    assert!(format!("{session:?}").contains("AwaitAuth"));
    let mut session = Session::<()>::new(Arc::new(tls_settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from(&b"EHLO x\r\nAUTH PLAIN aHVzaA==\r\n"[..]);
    let shown = loop {
        let step = session.step(&mut input);
        if matches!(step, Step::Auth { .. }) {
            break format!("{step:?}");
        }
    };
    assert_eq!(shown, r#"Auth { mechanism: "PLAIN", initial: Some(Secret(..)) }"#);
    session.answer_auth(AuthAnswer::Challenge(Vec::new()));
    input.extend_from_slice(b"aHVzaA==\r\n");
    let shown = loop {
        let step = session.step(&mut input);
        if matches!(step, Step::AuthResponse(_)) {
            break format!("{step:?}");
        }
    };
    assert_eq!(shown, "AuthResponse(Secret(..))");
    let parsed = format!("{:?}", crate::command::parse(b"AUTH PLAIN aHVzaA=="));
    assert!(parsed.contains("PLAIN") && !parsed.contains("aHVz"), "{parsed}");
}

#[test]
fn the_parameter_of_mail() {
    let exchange = |value: &str, status: &str, settings: Settings| {
        let mail = format!("MAIL FROM:<a@x> AUTH={value}");
        check_with(settings, &[("EHLO x", "250"), (&mail, status)]);
    };
    for value in ["<>", "e+3Dmc2@example.com", "a@x"] {
        exchange(value, "250 2.1.0", tls_settings());
        exchange(value, "555 5.5.4", settings());
        exchange(value, "555 5.5.4", in_clear());
    }
    for value in ["", "a", "e+3@x", "<a@x>", "a+0Ab@x", "a=b@x", "<> AUTH=<>"] {
        exchange(value, "501 5.5.4", tls_settings());
    }
}
