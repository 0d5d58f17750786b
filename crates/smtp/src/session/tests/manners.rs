//! Bad manners: errors, early talk, other protocols; and how a session is ended.

use super::driver::{Driver, Mail, converse, dialog, settings};
use crate::limits;
use crate::session::{Note, Session, Settings, Step};
use crate::{Enhanced, Reply};
use bytes::BytesMut;
use std::sync::Arc;

const BYE: Reply = Reply::new(421, Enhanced(4, 3, 2), "Shutting down");

fn strict() -> Settings {
    Settings {
        refuse_unauthorized_pipelining: true,
        ..settings()
    }
}

#[test]
fn a_session_at_rest_is_small() {
    let size = size_of::<Session<[u8; 1000]>>();
    assert!(size <= 256, "{size}");
}

#[test]
fn errors_slow_down_and_end() {
    let record = dialog(&["WHAT"; 30]);
    assert_eq!(record.codes().len(), 1 + 20);
    assert_eq!(record.delays, [1; 11]);
    assert_eq!(record.last_line(), "421 4.7.0 Too many errors, closing");
    assert_eq!(record.notes, [Note::TooManyErrors]);
    assert!(record.closed);
}

#[test]
fn the_reply_to_an_error_waits() {
    let mut session = Session::<()>::new(Arc::new(settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from("X\r\n".repeat(10).as_bytes());
    loop {
        match session.step(&mut input) {
            Step::Delay(_) => break,
            Step::Answered { .. } => session.output().clear(),
            other => panic!("{other:?}"),
        }
    }
    assert!(session.output().is_empty());
    assert!(matches!(
        session.step(&mut input),
        Step::Answered { code: 500, .. }
    ));
    assert!(session.output().starts_with(b"500 "));
}

#[test]
fn an_accepted_message_forgives() {
    let mut driver = Driver::new(settings());
    driver.send("EHLO x\r\n");
    for _ in 0..5 {
        driver.send("X\r\n".repeat(9));
        driver
            .send("MAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n")
            .send(".\r\n");
    }
    assert_eq!((driver.record.messages.len(), driver.record.delays.len()), (5, 0));
}

#[test]
fn commands_that_lead_nowhere_end_the_session() {
    for endless in ["NOOP", "RSET", "EHLO x", "MAIL FROM:<later@x>", "HELP"] {
        let mut driver = Driver::new(settings());
        driver.send("EHLO x\r\n");
        for _ in 0..=limits::FRUITLESS {
            driver.send(format!("{endless}\r\n"));
        }
        assert!(driver.record.closed, "{endless}");
        assert_eq!(driver.record.codes().last(), Some(&421), "{endless}");
        assert_eq!(driver.record.notes, [Note::TooManyErrors], "{endless}");
    }
}

#[test]
fn messages_may_follow_one_another_for_ever() {
    let mut driver = Driver::new(settings());
    driver.send("EHLO x\r\n");
    for _ in 0..=limits::FRUITLESS {
        driver.send("RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
        driver.send(".\r\n");
    }
    assert!(!driver.record.closed);
}

#[test]
fn long_lines_are_answered_once() {
    let line = "x".repeat(limits::COMMAND_LINE * 5);
    let record = converse(settings(), &[line.as_str(), &line, "\r\nNOOP\r\n"]);
    assert_eq!(record.statuses(), ["500 5.5.6", "250 2.0.0"]);
    assert_eq!(record.notes, [Note::LongCommandLine]);
}

#[test]
fn octets_that_are_no_text() {
    let record = converse(
        settings(),
        &[
            &b"NOOP \0\r\n"[..],
            b"NOOP \xff\r\n",
            b"NO\rOP\r\n",
            b"NOOP\r\r\n",
        ],
    );
    assert_eq!(
        record.statuses(),
        ["500 5.5.2", "500 5.5.2", "500 5.5.2", "500 5.5.2"]
    );
}

#[test]
fn other_protocols_are_shown_out() {
    for first in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nMAIL FROM:<>\r\n",
        b"\x16\x03\x01",
        b"connect x\r\n",
    ] {
        let record = converse(strict(), &[first]);
        assert_eq!(record.codes(), [220, 554]);
        assert_eq!(record.notes, [Note::OtherProtocol]);
        assert!(record.closed);
    }
}

#[test]
fn unauthorized_pipelining() {
    let open = "MAIL FROM:<>\r\nRCPT TO:<a@x>\r\n";
    for pieces in [
        &["EHLO x\r\nMAIL FROM:<>\r\n"][..],
        &["HELO x\r\n\n"],
        &["EHLO x\r\n", open, "DATA\r\nx"],
        &["DATA\r\nx"],
    ] {
        let record = converse(strict(), pieces);
        assert_eq!(record.notes, [Note::UnauthorizedPipelining], "{pieces:?}");
        assert!(record.last_line().starts_with("554 5.5.0 "), "{pieces:?}");
        assert!(record.closed && record.messages.is_empty());
        let record = converse(settings(), pieces);
        assert_eq!(record.notes, [Note::UnauthorizedPipelining], "{pieces:?}");
        assert!(!record.closed);
    }
    let group = format!("{open}BDAT 1 LAST\r\nxNOOP\r\nRSET\r\n{open}DATA\r\n");
    let record = converse(strict(), &["EHLO x\r\n", &group, "x\r\n.\r\nQUIT\r\nNOOP\r\n"]);
    assert_eq!(
        record.codes(),
        [220, 250, 250, 250, 250, 250, 250, 250, 250, 354, 250, 221]
    );
    assert!(record.notes.is_empty());
}

#[test]
fn talk_before_the_greeting() {
    let mut input = BytesMut::from(&b"EHLO x\r\n"[..]);
    let mut session = Session::<Mail>::new(Arc::new(strict()));
    assert!(matches!(
        session.step(&mut input),
        Step::Note(Note::UnauthorizedPipelining)
    ));
    assert!(matches!(
        session.step(&mut input),
        Step::Answered { code: 554, .. }
    ));
    session.greet();
    assert!(session.output().starts_with(b"554 5.5.0"));
    assert!(matches!(session.step(&mut input), Step::Close));

    let mut session = Session::<Mail>::new(Arc::new(settings()));
    let mut input = BytesMut::from(&b"EHLO x\r\n"[..]);
    assert!(matches!(
        session.step(&mut input),
        Step::Note(Note::UnauthorizedPipelining)
    ));
    assert!(matches!(session.step(&mut input), Step::Read));
    session.greet();
    assert!(matches!(
        session.step(&mut input),
        Step::Hello { extended: true, .. }
    ));

    let mut session = Session::<Mail>::new(Arc::new(strict()));
    let mut input = BytesMut::from(&b"EHLO x\r\n"[..]);
    session.greet();
    assert!(matches!(
        session.step(&mut input),
        Step::Note(Note::UnauthorizedPipelining)
    ));
}

#[test]
fn a_refused_connection() {
    let mut session = Session::<Mail>::new(Arc::new(settings()));
    session.refuse(&BYE);
    assert_eq!(session.output().as_slice(), b"421 4.3.2 Shutting down\r\n");
    assert!(matches!(
        session.step(&mut BytesMut::from(&b"NOOP\r\n"[..])),
        Step::Close
    ));
}

#[test]
fn shutdown_ends_an_idle_session_at_once() {
    let mut driver = Driver::new(settings());
    driver.send("EHLO x\r\nNO");
    driver.session.shutdown(BYE);
    assert!(driver.session.output().starts_with(b"421 4.3.2"));
    driver.send("OP\r\n");
    assert_eq!(driver.record.codes(), [220, 250, 421]);
    assert!(driver.record.closed);
}

#[test]
fn shutdown_lets_a_mail_finish() {
    let mut driver = Driver::new(settings());
    driver.send("EHLO x\r\nMAIL FROM:<>\r\n");
    driver.session.shutdown(BYE);
    driver.send("RCPT TO:<a@x>\r\n");
    assert!(!driver.session.is_idle() && !driver.session.in_content());
    driver.send("DATA\r\n");
    assert!(driver.session.in_content());
    driver.send("x\r\n.\r\nMAIL FROM:<>\r\n");
    assert_eq!(driver.record.codes(), [220, 250, 250, 250, 354, 250, 421]);
    assert_eq!(driver.record.messages.len(), 1);
    assert!(driver.record.closed);
}

#[test]
fn a_421_of_the_caller_ends_the_session() {
    let mut session = Session::<()>::new(Arc::new(settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from(&b"HELO x\r\nMAIL FROM:<>\r\nNOOP\r\n"[..]);
    while !matches!(session.step(&mut input), Step::Mail { .. }) {}
    session.answer_mail(Err(BYE));
    assert!(matches!(
        session.step(&mut input),
        Step::Answered { code: 421, .. }
    ));
    assert!(matches!(session.step(&mut input), Step::Close));
}

#[test]
fn a_decision_that_nobody_took() {
    let mut session = Session::<()>::new(Arc::new(settings()));
    session.greet();
    session.output().clear();
    let mut input = BytesMut::from(&b"HELO x\r\nMAIL FROM:<>\r\nNOOP\r\n"[..]);
    while !matches!(session.step(&mut input), Step::Mail { .. }) {}
    assert!(matches!(
        session.step(&mut input),
        Step::Answered { code: 451, .. }
    ));
    session.answer_mail(Ok(()));
    assert!(session.is_idle());
}
