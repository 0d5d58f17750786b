//! STARTTLS (RFC 3207).

use super::{after_ehlo, play};
use crate::client::{Client, ClientError, ClientStep};
use bytes::BytesMut;

#[test]
fn all_is_forgotten_and_asked_again() {
    let transcript = after_ehlo(
        "S: 250-STARTTLS\nS: 250-PIPELINING\nS: 250-SIZE",
        "! start_tls
         C: STARTTLS
         ! phase STARTTLS
         ! usable false
         S: 220 go ahead
         = StartTls
         ! usable false
         ! tls_started
         C: EHLO me.test
         S: 250-mx.test
         S: 250 DSN
         = Ready",
    );
    let client = play(false, &transcript);
    assert!(client.passes_dsn());
    assert!(!client.capabilities().starttls && !client.capabilities().pipelining);
    assert_eq!(client.capabilities().size, None);
}

#[test]
fn refused_means_on_in_clear() {
    for refusal in ["454 4.7.0 Not now", "500 ?"] {
        let rest = format!(
            "! start_tls\n C: STARTTLS\n S: {refusal}\n = TlsRefused {refusal}\n ! usable true
             ! begin a@x.test b@y.test\n C: MAIL FROM:<a@x.test>"
        );
        play(false, &after_ehlo("S: 250-STARTTLS", &rest));
    }
    play(
        false,
        &after_ehlo(
            "",
            "! start_tls\n C: STARTTLS\n S: 421 bye\n = Refused STARTTLS: 421 bye",
        ),
    );
}

#[test]
fn replies_injected_before_the_handshake() {
    let rest = "! start_tls\n C: STARTTLS\n S: 220 go\n S: 250 injected\n = Unexpected 220 go\n = Closed";
    play(false, &after_ehlo("S: 250-STARTTLS", rest));
    play(
        false,
        &after_ehlo(
            "S: 250-STARTTLS",
            "! start_tls\n C: STARTTLS\n S: 354 go\n = Unexpected 354 go",
        ),
    );
}

#[test]
fn replies_injected_in_pieces() {
    for pieces in [
        &["220 go\r\n250 injected\r\n"][..],
        &["220 go\r\n25"],
        &["220 g", "o\r\n250-in", "jected\r\n"],
        &["220 go\r\n", "250 injected\r\n"],
    ] {
        let mut client = asked();
        let mut input = BytesMut::new();
        let refused = pieces.iter().any(|piece| {
            input.extend_from_slice(piece.as_bytes());
            matches!(client.step(&mut input), Err(ClientError::Unexpected(_)))
        });
        assert!(refused, "{pieces:?}");
        assert!(matches!(client.step(&mut input), Ok(ClientStep::Closed)));
    }
}

/// What the client read between STARTTLS's reply and the handshake is no part of what comes under TLS.
#[test]
fn half_a_reply_injected() {
    let mut client = asked();
    let mut input = BytesMut::from(&b"220 go\r\n"[..]);
    assert!(matches!(client.step(&mut input), Ok(ClientStep::StartTls)));
    input.extend_from_slice(b"250-injected\r\n250-SIZE 1\r\n");
    assert!(matches!(client.step(&mut input), Ok(ClientStep::Read)));
    client.tls_started();
    let mut input = BytesMut::from(&b"250-mx.test\r\n250 DSN\r\n"[..]);
    assert!(matches!(client.step(&mut input), Ok(ClientStep::Ready)));
    assert!(client.capabilities().dsn);
    assert_eq!(client.capabilities().size, None);
}

/// A client that has said STARTTLS.
fn asked() -> Client {
    let mut client = play(false, &after_ehlo("S: 250-STARTTLS", "! start_tls\n C: STARTTLS"));
    client.output().clear();
    client
}
