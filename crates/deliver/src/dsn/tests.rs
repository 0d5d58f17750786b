//! Reports as they are sent, and what peers cannot do to them.

use super::*;
use crate::testing::{address, message};
use smtp::{Orcpt, Ret};
use smtp_queue::State;

fn own() -> Own {
    Own {
        hostname: "mx.own.test".into(),
        addresses: vec![],
        ports: [25, 465, 587],
    }
}

fn recipient(to: &str, orcpt: Option<&str>) -> Recipient {
    Recipient {
        index: 0,
        address: address(to),
        notify: None,
        orcpt: orcpt.map(|value| Orcpt::parse(value).unwrap()),
        state: State::Leased,
        attempts: 1,
        due: Timestamp::UNIX_EPOCH,
        delay_notified: false,
        last_result: None,
        parked: false,
    }
}

fn failed<'a>(recipient: &'a Recipient, reply: &'a Reply) -> Reported<'a> {
    Reported {
        recipient,
        action: Action::Failed,
        status: reply.enhanced.unwrap_or(Enhanced(5, 0, 0)),
        remote: Some("mx.far.test"),
        diagnostic: Some(reply),
        last_attempt: "2026-03-01T12:01:00Z".parse().unwrap(),
        will_retry_until: None,
    }
}

fn text(report: &NewMessage) -> String {
    let Body::Memory(octets) = &report.body else {
        panic!("reports are small")
    };
    String::from_utf8(octets.to_vec()).unwrap()
}

/// The report with everything that differs each time replaced, and without its folded `Received:`.
fn stable(report: &NewMessage) -> String {
    let text = text(report);
    assert!(
        text.starts_with(&format!("Received: by mx.own.test id {}; ", report.id)),
        "{text}"
    );
    let boundary = text
        .split("boundary=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let text = &text[text.find("\r\nDate: ").unwrap() + 2..];
    text.replace(boundary, "BOUNDARY")
        .replace(&report.id.to_string(), "ID")
        .replace(&date(report.received_at), "NOW")
}

#[test]
fn a_failure_report_is_this() {
    let mut message = message(Some("ann@home.test"));
    message.options.envid = Some("QQ+2B314".into());
    let bob = recipient("bob@far.test", Some("rfc822;robert+2Bx@far.test"));
    let reply = Reply::with(
        550,
        Enhanced(5, 1, 1),
        "No such user here, and a text that is long enough\nto be folded",
    );
    let content = Returned::Whole(b"Subject: hello\r\n\r\nHi Bob\r\n".to_vec());
    let report = report(
        DsnKind::Failure,
        &message,
        &[failed(&bob, &reply)],
        &content,
        &own(),
    )
    .unwrap();

    assert_eq!(report.sender, None);
    assert_eq!(report.recipients.len(), 1);
    assert_eq!(report.recipients[0].address, address("ann@home.test"));
    assert_eq!(
        report.options.origin,
        "failure report of 01JABCDEFGHJKMNPQRSTVWXYZ0"
    );
    assert!(!report.options.has_8bit && !report.options.header_8bit && !report.options.smtputf8);
    assert_eq!(report.options.body_type, BodyType::SevenBit);
    assert_eq!(stable(&report).replace("\r\n", "\n"), include_str!("golden.eml"));
}

#[test]
fn a_null_sender_and_no_recipients_get_no_report() {
    let bob = recipient("bob@far.test", None);
    let reply = Reply::new(550, Enhanced(5, 1, 1), "no");
    let content = Returned::Headers(Vec::new());
    assert!(
        report(
            DsnKind::Failure,
            &message(None),
            &[failed(&bob, &reply)],
            &content,
            &own()
        )
        .is_none()
    );
    assert!(
        report(
            DsnKind::Failure,
            &message(Some("a@b.test")),
            &[],
            &content,
            &own()
        )
        .is_none()
    );
}

#[test]
fn a_delay_report_says_until_when() {
    let bob = recipient("bob@far.test", None);
    let reply = Reply::new(451, Enhanced(4, 4, 1), "connection timed out");
    let reported = Reported {
        action: Action::Delayed,
        remote: None,
        will_retry_until: Some("2026-03-06T12:00:00Z".parse().unwrap()),
        ..failed(&bob, &reply)
    };
    let content = Returned::Headers(b"Subject: x\r\n".to_vec());
    let report = report(
        DsnKind::Delay,
        &message(Some("a@b.test")),
        &[reported],
        &content,
        &own(),
    )
    .unwrap();
    let text = text(&report);
    assert!(
        text.contains("\r\nAction: delayed\r\nStatus: 4.4.1\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nDiagnostic-Code: X-smtp-server; 451 4.4.1 connection timed out\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nWill-Retry-Until: Fri, 6 Mar 2026 12:00:00 +0000\r\n"),
        "{text}"
    );
    assert!(text.contains("YOU DO NOT NEED TO DO ANYTHING"), "{text}");
    assert!(
        text.contains("Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n"),
        "{text}"
    );
    assert!(!text.contains("Remote-MTA"), "{text}");
}

#[test]
fn what_peers_say_stays_text() {
    let mut message = message(Some("ann@home.test"));
    // CR LF and a field, as xtext.
    message.options.envid = Some("x+0D+0AEvil-Envid:+20yes".into());
    let bob = recipient("bob@far.test", Some("utf-8;b\\x{2028}Evil-Orcpt:yes@far.test"));
    let words = format!(
        "{}\nEvil-Reply: yes\r\nEvil-CR: {}\u{fc}\0",
        "w ".repeat(3000),
        "l".repeat(3000)
    );
    let reply = Reply {
        code: 550,
        enhanced: None,
        text: words.into(),
    };
    let reported = Reported {
        remote: Some("mx\r\nEvil-Remote: yes"),
        ..failed(&bob, &reply)
    };
    let content = Returned::Headers(Vec::new());
    let report = report(DsnKind::Failure, &message, &[reported], &content, &own()).unwrap();
    let text = text(&report);
    for line in text.split("\r\n") {
        assert!(line.len() <= 998, "{} octets", line.len());
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(!line.starts_with("Evil"), "{line}");
    }
    assert!(text.is_ascii() && text.len() < 12_000, "{} octets", text.len());
}

#[test]
fn an_unbroken_diagnostic_is_broken() {
    let bob = recipient("bob@far.test", None);
    let reply = Reply {
        code: 550,
        enhanced: None,
        text: "\u{e9}x".repeat(990).into(),
    };
    let mut message = message(Some("\u{e4}nn@home.test"));
    message.options.smtputf8 = true;
    let content = Returned::Headers(Vec::new());
    let report = report(
        DsnKind::Failure,
        &message,
        &[failed(&bob, &reply)],
        &content,
        &own(),
    )
    .unwrap();
    assert!(text(&report).split("\r\n").all(|line| line.len() <= 998));
}

#[test]
fn international_addresses_take_the_forms_of_rfc_6533() {
    let mut message = message(Some("ann@home.test"));
    let bob = recipient("b\u{f6}b@far.test", None);
    let reply = Reply::new(550, Enhanced(5, 1, 1), "no");
    message.options.smtputf8 = true;
    let content = Returned::Headers(b"Subject: x\r\n".to_vec());
    let report = report(
        DsnKind::Failure,
        &message,
        &[failed(&bob, &reply)],
        &content,
        &own(),
    )
    .unwrap();
    let text = text(&report);
    assert!(report.options.smtputf8 && report.options.has_8bit && !report.options.header_8bit);
    assert_eq!(report.options.body_type, BodyType::EightBitMime);
    for line in [
        "Content-Type: message/global-delivery-status",
        "Content-Type: message/global-headers",
        "Final-Recipient: utf-8; b\u{f6}b@far.test",
        "Content-Transfer-Encoding: 8bit",
    ] {
        assert!(
            text.contains(&format!("\r\n{line}\r\n")),
            "{line} is missing in {text}"
        );
    }

    message.sender = Some(address("\u{e4}nn@home.test"));
    let report = super::report(
        DsnKind::Failure,
        &message,
        &[failed(&bob, &reply)],
        &content,
        &own(),
    )
    .unwrap();
    assert!(report.options.header_8bit);
}

#[test]
fn eight_bit_content_makes_an_eight_bit_report() {
    let bob = recipient("bob@far.test", None);
    let reply = Reply::new(550, Enhanced(5, 1, 1), "no");
    let content = Returned::Whole(b"Subject: x\r\n\r\n\xff\r\n".to_vec());
    let report = report(
        DsnKind::Failure,
        &message(Some("a@b.test")),
        &[failed(&bob, &reply)],
        &content,
        &own(),
    );
    let options = report.unwrap().options;
    assert!(options.has_8bit && !options.header_8bit && !options.smtputf8);
    assert_eq!(options.body_type, BodyType::EightBitMime);
}

#[tokio::test]
async fn as_much_is_returned_as_was_asked_and_is_bounded() {
    let body = |size: usize| {
        let mut octets = b"Subject: x\r\nTo: y\r\n\r\n".to_vec();
        octets.resize(size, b'z');
        Body::Memory(octets.into())
    };
    let header = Returned::Headers(b"Subject: x\r\nTo: y\r\n".to_vec());
    let (small, large, huge) = (body(1000), body(100_000), body(1_100_000));
    let whole = |body: &Body| match body {
        Body::Memory(octets) => Returned::Whole(octets.to_vec()),
        Body::File { .. } => unreachable!(),
    };
    for (ret, kind, body, expected) in [
        (None, DsnKind::Failure, &small, whole(&small)),
        (None, DsnKind::Failure, &large, header.clone()),
        (None, DsnKind::Delay, &small, header.clone()),
        (Some(Ret::Full), DsnKind::Failure, &large, whole(&large)),
        (Some(Ret::Full), DsnKind::Failure, &huge, header.clone()),
        (Some(Ret::Full), DsnKind::Success, &small, header.clone()),
        (Some(Ret::Headers), DsnKind::Failure, &small, header.clone()),
    ] {
        let mut message = message(Some("a@b.test"));
        message.options.ret = ret;
        assert_eq!(
            returned_content(&message, kind, body).await.unwrap(),
            expected,
            "{ret:?} {kind:?}"
        );
    }
}

#[tokio::test]
async fn headers_end_where_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    let long = "X: y\r\n".repeat(20_000);
    for (content, expected) in [
        ("\r\nno header", 0),
        ("A: b\r\n\r\nbody\r\n\r\n", 6),
        ("A: b\r\n", 6),
        ("A: b", 4),
        ("", 0),
        (&long, 64 * 1024 / 6 * 6),
    ] {
        std::fs::write(&path, content).unwrap();
        let body = Body::file(path.clone(), content.len() as u64);
        let returned = returned_content(&message(Some("a@b.test")), DsnKind::Delay, &body)
            .await
            .unwrap();
        assert_eq!(
            returned,
            Returned::Headers(content.as_bytes()[..expected].to_vec())
        );
    }
}

#[tokio::test]
async fn a_binary_header_cannot_end_the_report() {
    for smuggled in [
        "\n.\nMAIL FROM:<x@y>\r\n",
        "\r.\rMAIL FROM:<x@y>\r\n",
        "\n.\r\nMAIL\r\n",
        "a\0b\r\n",
    ] {
        let content = format!("Subject: x\r\nTo: y{smuggled}Cc: z\r\n\r\nbody");
        let mut message = message(Some("a@b.test"));
        message.options.body_type = BodyType::BinaryMime;
        let returned = returned_content(&message, DsnKind::Success, &Body::Memory(content.into())).await;
        assert_eq!(
            returned.unwrap(),
            Returned::Headers(b"Subject: x\r\n".to_vec()),
            "{smuggled:?}"
        );
    }
}
