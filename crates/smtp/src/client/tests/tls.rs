//! STARTTLS (RFC 3207).

use super::{after_ehlo, play};

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
