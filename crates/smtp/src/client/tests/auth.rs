//! AUTH (RFC 4954).

use super::{after_ehlo, play};
use crate::client::{Client, Phase};

/// What follows EHLO with a server that offers AUTH.
#[track_caller]
fn with_auth(rest: &str) -> Client {
    play(false, &after_ehlo("S: 250-AUTH PLAIN LOGIN", rest))
}

#[test]
fn an_initial_response() {
    let client = with_auth(
        "! auth PLAIN ok
         C: AUTH PLAIN b2s=
         ! phase AUTH
         ! usable false
         = Read
         S: 235 2.7.0 Welcome
         = Authenticated
         ! usable true
         ! no_auth PLAIN ok
         ! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>",
    );
    assert_eq!(client.capabilities().auth, ["PLAIN", "LOGIN"]);
    assert_eq!(Phase::Auth.timeout().as_secs(), 300);
    with_auth("! auth EXTERNAL \n C: AUTH EXTERNAL =\n S: 250 any 2yz\n = Authenticated");
}

#[test]
fn challenges_and_responses() {
    with_auth(
        "! auth LOGIN
         C: AUTH LOGIN
         S: 334 V2hvPw==
         = AuthChallenge Who?
         ! usable false
         ! no_auth PLAIN
         ! respond ask
         C: YXNr
         ! phase AUTH
         S: 334
         = AuthChallenge \n\
        ! respond \n\
        C: \n\
        S: 334 \n\
        = AuthChallenge \n\
        ! respond ok
         C: b2s=
         S: 235 ok
         = Authenticated
         ! respond ok
         ! cancel
         ! usable true",
    );
}

#[test]
fn refused_and_tried_again() {
    with_auth(
        "! auth PLAIN no
         C: AUTH PLAIN bm8=
         S: 535 5.7.8 No
         = AuthRefused 535 5.7.8 No
         ! auth LOGIN
         C: AUTH LOGIN
         S: 334 V2hvPw==
         = AuthChallenge Who?
         ! cancel
         C: *
         S: 501 5.7.0 As you like
         = AuthRefused 501 5.7.0 As you like
         ! usable true
         ! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         ! no_auth PLAIN
         S: 550 no
         = Finished MAIL 550
         ! no_auth PLAIN",
    );
    with_auth("! auth PLAIN no\n C: AUTH PLAIN bm8=\n S: 421 bye\n = Refused AUTH: 421 bye\n = Closed");
    with_auth("! auth PLAIN\n C: AUTH PLAIN\n S: 334\n = AuthChallenge \n! quit\n = Closed");
}

#[test]
fn a_challenge_that_is_no_base64_is_cancelled() {
    for challenge in ["334 Username:", "334 V2hvPw=", "334-V2hv\nS: 334 Pw=="] {
        with_auth(&format!(
            "! auth LOGIN\n C: AUTH LOGIN\n S: {challenge}\n C: *\n ! usable false\n S: 501 ?\n = Challenge\n = Closed"
        ));
    }
}

#[test]
fn replies_that_make_no_sense() {
    for reply in ["354 go", "300 ?"] {
        with_auth(&format!(
            "! auth PLAIN ok\n C: AUTH PLAIN b2s=\n S: {reply}\n = Unexpected {reply}"
        ));
    }
    let cancelled = "! auth LOGIN\n C: AUTH LOGIN\n S: 334\n = AuthChallenge \n! cancel\n C: *\n";
    for reply in ["235 Welcome", "334 V2hvPw=="] {
        with_auth(&format!("{cancelled}S: {reply}\n = Unexpected {reply}"));
    }
    let early =
        "! auth PLAIN ok\n C: AUTH PLAIN b2s=\n S: 334\n S: 235 early\n = AuthChallenge \n! respond x\n";
    with_auth(&format!("{early}C: eA==\n = Unexpected 235 early"));
}

/// AUTH is a command: with more than 512 octets the response waits for the server's word (RFC 4954 4).
#[test]
fn a_long_initial_response_waits() {
    let fits = "o".repeat(372);
    let line = format!("AUTH PLAIN {}", "b29v".repeat(124));
    assert_eq!(line.len() + 2, 509, "with one more it were 513");
    with_auth(&format!(
        "! auth PLAIN {fits}\n C: {line}\n S: 235 ok\n = Authenticated"
    ));
    let longer = "o".repeat(375);
    let response = "b29v".repeat(125);
    with_auth(&format!(
        "! auth PLAIN {longer}\n C: AUTH PLAIN\n S: 334 \n C: {response}\n S: 235 ok\n = Authenticated"
    ));
    with_auth(&format!(
        "! auth PLAIN {longer}\n C: AUTH PLAIN\n S: 334\n C: {response}\n S: 334\n = AuthChallenge \n! respond \nC: "
    ));
    with_auth(&format!(
        "! auth PLAIN {longer}\n C: AUTH PLAIN\n S: 504 ?\n = AuthRefused 504 ?\n ! auth LOGIN\n C: AUTH LOGIN\n S: 334\n = AuthChallenge "
    ));
}

#[test]
fn names_that_are_none() {
    for name in ["", "plain", "PLAIN\r\nQUIT", "A B", "ABCDEFGHIJKLMNOPQRSTU"] {
        let mut client = with_auth("");
        assert!(!client.authenticate(name, None), "{name}");
        assert!(client.output().is_empty());
    }
    let mut early = Client::new("me", false);
    assert!(!early.authenticate("PLAIN", None));
}

#[test]
fn under_tls_it_is_asked_anew() {
    play(
        false,
        &after_ehlo(
            "S: 250-STARTTLS\nS: 250-AUTH LOGIN",
            "! auth LOGIN x\n C: AUTH LOGIN eA==\n S: 235 ok\n = Authenticated
             ! start_tls\n C: STARTTLS\n S: 220 go\n = StartTls\n ! no_auth PLAIN\n ! tls_started
             C: EHLO me.test\n S: 250-mx.test\n S: 250 AUTH PLAIN\n = Ready
             ! auth PLAIN ok\n C: AUTH PLAIN b2s=",
        ),
    );
}

#[test]
fn secrets_are_not_shown() {
    let hush = "hush".repeat(200);
    for secret in ["hush", &hush] {
        let mut client = with_auth("");
        assert!(client.authenticate("PLAIN", Some(secret.as_bytes())));
        let shown = format!("{client:?}");
        // `aHVz`, and the same as a list of numbers; `hu`, as numbers.
        for part in ["aHVz", "97, 72, 86, 122", "hush", "104, 117"] {
            assert!(!shown.contains(part), "{shown}");
        }
        assert!(shown.contains("octets"), "{shown}");
    }
}
