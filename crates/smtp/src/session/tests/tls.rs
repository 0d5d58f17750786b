//! STARTTLS (RFC 3207): when it is taken, and that nothing gets past it.

use super::driver::{Driver, Record, check_with, dialog_with, open_settings, settings, tls_settings};
use crate::limits;
use crate::session::{Note, Session, Settings, Step};
use crate::{Enhanced, Reply};
use bytes::BytesMut;
use std::rc::Rc;
use std::sync::Arc;

fn offers_starttls(record: &Record) -> bool {
    record.output.contains("250-STARTTLS\r\n") || record.output.contains("250 STARTTLS\r\n")
}

#[test]
fn when_it_is_taken() {
    check_with(
        open_settings(),
        &[
            ("STARTTLS", "503 5.5.1"),
            ("HELO x", "250"),
            ("STARTTLS", "503 5.5.1"),
            ("EHLO x", "250"),
            ("STARTTLS tls", "501 5.5.4"),
            ("STARTTLS", "220 2.0.0"),
        ],
    );
    let under_tls = check_with(tls_settings(), &[("EHLO x", "250"), ("STARTTLS", "503 5.5.1")]);
    assert!(!offers_starttls(&under_tls));
    let without = check_with(settings(), &[("EHLO x", "250"), ("STARTTLS", "502 5.5.1")]);
    assert!(!offers_starttls(&without));
    assert!(offers_starttls(&dialog_with(open_settings(), &["EHLO x"])));
}

#[test]
fn what_is_injected_behind_it_is_never_read() {
    for injected in [
        "MAIL FROM:<>\r\nRCPT TO:<a@x>\r\n",
        "EHLO x",
        "\n",
        "AUTH PLAIN b2s=\r\n",
    ] {
        let mut driver = Driver::new(open_settings());
        driver.send("EHLO x\r\n").send(format!("STARTTLS\r\n{injected}"));
        assert!(driver.in_handshake);
        assert_eq!(driver.record.codes(), [220, 250, 220], "{injected}");
        assert_eq!(driver.record.notes, [Note::UnauthorizedPipelining], "{injected}");
        driver.handshake(tls_settings()).send("RCPT TO:<a@x>\r\nNOOP\r\n");
        assert_eq!(driver.record.codes(), [220, 250, 220, 503, 250], "{injected}");
        assert!(driver.record.auth.is_empty());

        let strict = Settings {
            refuse_unauthorized_pipelining: true,
            ..open_settings()
        };
        let mut driver = Driver::new(strict);
        driver.send("EHLO x\r\n").send(format!("STARTTLS\r\n{injected}"));
        assert_eq!(driver.record.codes(), [220, 250, 554], "{injected}");
        assert!(driver.record.closed && !driver.in_handshake);
    }
}

#[test]
fn nothing_is_carried_over() {
    let mut driver = Driver::new(open_settings());
    driver.send("EHLO x\r\n").send("AUTH PLAIN b2s=\r\n");
    assert!(driver.session.is_authenticated());
    for _ in 1..limits::SOFT_ERRORS {
        driver.send("WHAT\r\n");
    }
    driver
        .send("MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n")
        .send("STARTTLS\r\n");
    assert!(driver.in_handshake);
    let before = driver.record.codes().len();
    driver.handshake(Settings {
        auth_required: true,
        ..tls_settings()
    });
    assert!(driver.session.is_idle() && !driver.session.is_authenticated());
    assert!(driver.session.output().is_empty(), "no greeting");
    for (command, code) in [
        ("DATA", 503),
        ("RCPT TO:<b@y>", 503),
        ("MAIL FROM:<a@x>", 503),
        ("AUTH PLAIN b2s=", 503),
        ("EHLO y", 250),
        ("MAIL FROM:<a@x>", 530),
        ("AUTH PLAIN b2s=", 235),
        ("MAIL FROM:<a@x>", 250),
        ("DATA", 554),
        ("RCPT TO:<b@y>", 250),
    ] {
        driver.send(format!("{command}\r\n"));
        assert_eq!(driver.record.codes().last(), Some(&code), "{command}");
    }
    assert_eq!(driver.record.codes().len(), before + 10);
    assert!(driver.record.delays.is_empty(), "errors in clear do not count");
    assert_eq!(driver.record.hellos, ["x", "y"]);
}

/// What it says first, up to [`Step::Read`], [`Step::StartTls`] or [`Step::Close`].
fn run(session: &mut Session<Rc<()>>, input: &str, transaction: &Rc<()>) -> &'static str {
    let mut input = BytesMut::from(input.as_bytes());
    loop {
        match session.step(&mut input) {
            Step::Read => return "read",
            Step::StartTls => return "tls",
            Step::Close => return "close",
            Step::Mail { .. } => session.answer_mail(Ok(transaction.clone())),
            _ => {}
        }
    }
}

fn greeted() -> Session<Rc<()>> {
    let mut session = Session::new(Arc::new(open_settings()));
    session.greet();
    session.output().clear();
    session
}

#[test]
fn an_open_mail_is_dropped() {
    let (mut session, mail) = (greeted(), Rc::new(()));
    assert_eq!(run(&mut session, "EHLO x\r\nMAIL FROM:<>\r\n", &mail), "read");
    assert_eq!(Rc::strong_count(&mail), 2);
    assert_eq!(run(&mut session, "STARTTLS\r\n", &mail), "tls");
    assert_eq!(Rc::strong_count(&mail), 1);
    assert_eq!(run(&mut session, "MAIL FROM:<>\r\n", &mail), "close");
}

#[test]
fn a_server_that_stops_does_not_start() {
    let (mut session, mail) = (greeted(), Rc::new(()));
    assert_eq!(run(&mut session, "EHLO x\r\nMAIL FROM:<>\r\n", &mail), "read");
    session.output().clear();
    session.shutdown(Reply::new(421, Enhanced(4, 3, 2), "Stopping"));
    assert_eq!(run(&mut session, "STARTTLS\r\n", &mail), "close");
    assert_eq!(session.output().as_slice(), b"421 4.3.2 Stopping\r\n");
    assert_eq!(Rc::strong_count(&mail), 1);
}
