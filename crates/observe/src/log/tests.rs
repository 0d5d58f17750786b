use super::*;
use crate::event::Phases;
use crate::labels::{AuthMechanism, AuthResult, DeliveryStatus, Listener, RejectReason};
use std::time::{Duration, UNIX_EPOCH};

const ID: &str = "01JD8Z5F4N9Q2R7T0V3X6Y8ZAB";

fn lines(event: &Event<'_>) -> (String, String) {
    let now = UNIX_EPOCH + Duration::from_millis(1_795_417_021_042);
    let line = |json| {
        let mut out = Vec::new();
        format_line(&mut out, &mut Clock::default(), now, json, event);
        String::from_utf8(out).unwrap()
    };
    (line(true), line(false))
}

fn delivery<'a>(status: DeliveryStatus, text: &'a str) -> Event<'a> {
    Event::Delivery {
        id: ID,
        to: "ann@example.com",
        orig_to: Some("sales@example.com"),
        relay: "mx.example.com[192.0.2.25]:25",
        delay: Duration::from_millis(1234),
        attempt: Duration::from_millis(205),
        connection_use: 2,
        dsn: "2.0.0",
        status,
        text,
        tls: Some("TLSv1.3"),
        phases: Some(Phases {
            connect: Duration::from_millis(5),
            envelope: Duration::from_millis(100),
            reply: Duration::from_millis(100),
            ..Phases::default()
        }),
    }
}

#[test]
fn a_delivery_has_postfix_words() {
    let (json, text) = lines(&delivery(DeliveryStatus::Sent, "250 2.0.0 Ok: queued as 4F1"));
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z INFO 01JD8Z5F4N9Q2R7T0V3X6Y8ZAB: to=<ann@example.com>, \
         orig_to=<sales@example.com>, relay=mx.example.com[192.0.2.25]:25, conn_use=2, delay=1.234, \
         delays=1.029/0.000/0.005/0.200, tls=TLSv1.3, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F1)\n"
    );
    assert_eq!(
        json,
        "{\"ts\":\"2026-11-23T06:57:01.042Z\",\"level\":\"info\",\"event\":\"delivery\",\
         \"id\":\"01JD8Z5F4N9Q2R7T0V3X6Y8ZAB\",\"to\":\"ann@example.com\",\"orig_to\":\"sales@example.com\",\
         \"relay\":\"mx.example.com[192.0.2.25]:25\",\"delay\":1.234,\"attempt\":0.205,\"connection_use\":2,\
         \"dsn\":\"2.0.0\",\"status\":\"sent\",\"text\":\"250 2.0.0 Ok: queued as 4F1\",\"tls\":\"TLSv1.3\",\
         \"phases\":{\"resolve\":0.000,\"connect\":0.005,\"tls\":0.000,\"login\":0.000,\"envelope\":0.100,\"content\":0.000,\"reply\":0.100}}\n"
    );
}

#[test]
fn a_received_message_has_postfix_words() {
    let (json, text) = lines(&Event::Received {
        id: ID,
        listener: Listener::Smtp,
        peer: "192.0.2.1:4321".parse().unwrap(),
        helo: "client.example",
        account: Some("ann"),
        from: "",
        size: 5120,
        recipients: 2,
        protocol: "ESMTP",
        tls: None,
        message_id: Some("<1@client.example>"),
        unsigned: Some("client.example"),
        commit: Duration::from_micros(2500),
        trace: None,
    });
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z INFO 01JD8Z5F4N9Q2R7T0V3X6Y8ZAB: client=unknown[192.0.2.1]:4321, sasl_username=ann, from=<>, \
         size=5120, nrcpt=2, proto=ESMTP, helo=<client.example>, message-id=<1@client.example>, unsigned=client.example, commit=0.002\n"
    );
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["event"], "received");
    assert_eq!(object["listener"], "smtp");
    assert_eq!(object["peer"], "192.0.2.1:4321");
    assert_eq!(object["recipients"], 2);
}

#[test]
fn a_failed_login_has_the_words_that_are_looked_for() {
    let (json, text) = lines(&Event::AuthFailed {
        listener: Listener::Smtps,
        peer: "192.0.2.1:4321".parse().unwrap(),
        account: Some("an\nn"),
        mechanism: AuthMechanism::Plain,
        result: AuthResult::Refused,
        reason: "the credentials are wrong",
    });
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z INFO warning: unknown[192.0.2.1]:4321: SASL PLAIN authentication failed: \
         the credentials are wrong, sasl_username=an\\nn\n"
    );
    assert!(json.contains("\"result\":\"refused\""), "{json}");
}

fn rejected<'a>(id: Option<&'a str>, helo: &'a str) -> Event<'a> {
    Event::Rejected {
        id,
        listener: Listener::Smtp,
        peer: "[::ffff:192.0.2.1]:4321".parse().unwrap(),
        helo,
        protocol: "ESMTP",
        verb: "RCPT",
        from: Some(""),
        to: Some("b@other.example"),
        code: 554,
        text: "5.7.1 <b@other.example>: Relay access denied",
        reason: RejectReason::RelayDenied,
    }
}

#[test]
fn a_rejection_has_postfix_words() {
    let (_, text) = lines(&rejected(None, "x.example"));
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z INFO NOQUEUE: reject: RCPT from unknown[192.0.2.1]:4321: 554 5.7.1 \
         <b@other.example>: Relay access denied; from=<> to=<b@other.example> proto=ESMTP helo=<x.example>\n"
    );
    let (json, text) = lines(&rejected(Some(ID), ""));
    assert!(
        text.contains("INFO 01JD8Z5F4N9Q2R7T0V3X6Y8ZAB: reject: RCPT"),
        "{text}"
    );
    assert!(
        json.contains("\"event\":\"rejected\",\"id\":\"01JD8Z5F4N9Q2R7T0V3X6Y8ZAB\","),
        "{json}"
    );
    assert!(json.contains("\"reason\":\"relay_denied\""), "{json}");
}

#[test]
fn sessions_open_and_close() {
    let peer = "[2001:db8::1]:25".parse().unwrap();
    let (_, text) = lines(&Event::ConnectionOpened {
        listener: Listener::Smtp,
        peer,
        proxy: None,
    });
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z DEBUG connect from unknown[2001:db8::1]:25\n"
    );
    let (_, text) = lines(&Event::ConnectionClosed {
        listener: Listener::Smtp,
        peer,
        helo: "x",
        duration: Duration::from_millis(61_005),
        messages: 3,
        lost: Some("timeout"),
    });
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z DEBUG disconnect from unknown[2001:db8::1]:25 helo=<x> messages=3 \
         duration=61.005 lost=timeout\n"
    );
}

#[test]
fn other_events_are_name_and_pairs() {
    let changed = ["limits.max_recipients".to_owned(), "logging.level".to_owned()];
    let (json, text) = lines(&Event::ConfigReloaded {
        changed: &changed,
        needs_restart: &[],
    });
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z INFO config_reloaded: changed=[limits.max_recipients logging.level], \
         needs_restart=[]\n"
    );
    assert!(
        json.ends_with("\"changed\":[\"limits.max_recipients\",\"logging.level\"],\"needs_restart\":[]}\n"),
        "{json}"
    );
    let (_, text) = lines(&Event::Quarantined {
        id: ID,
        reason: "no body",
    });
    assert_eq!(
        text,
        "2026-11-23T06:57:01.042Z ERROR 01JD8Z5F4N9Q2R7T0V3X6Y8ZAB: quarantined: reason=no body\n"
    );
}

#[test]
fn a_peer_cannot_write_lines_or_terminal_codes() {
    let (json, text) = lines(&delivery(
        DeliveryStatus::Deferred,
        "4\"\\\r\nINFO forged\t\u{1b}[31m\u{7f}\u{85}\u{202e}é\u{0}",
    ));
    assert!(
        text.ends_with("(4\"\\\\r\\nINFO forged\\t\\x1b[31m\\x7f\\x85\\u202eé\\x00)\n"),
        "{text}"
    );
    assert_eq!(text.matches('\n').count(), 1);
    assert_eq!(json.matches('\n').count(), 1);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        object["text"],
        "4\"\\\r\nINFO forged\t\u{1b}[31m\u{7f}\u{85}\u{202e}é\u{0}"
    );
    assert!(
        !json.contains(['\u{1b}', '\u{7f}', '\u{85}', '\u{202e}', '\u{0}']),
        "{json}"
    );
}

#[test]
fn a_field_is_cut_at_a_character() {
    let long = "é".repeat(600);
    let (json, text) = lines(&Event::StoreFailed {
        operation: "insert",
        error: &long,
    });
    let kept = "é".repeat(512);
    assert!(text.ends_with(&format!("error={kept}…\n")));
    assert!(json.ends_with(&format!("\"error\":\"{kept}…\"}}\n")));
}

#[test]
fn the_clock_follows_the_seconds() {
    let mut clock = Clock::default();
    let mut at = |millis| {
        let mut out = Vec::new();
        clock.push(&mut out, UNIX_EPOCH + Duration::from_millis(millis));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(999), "1970-01-01T00:00:00.999Z");
    assert_eq!(at(951_782_400_007), "2000-02-29T00:00:00.007Z");
}
