//! Each mechanism as a client sees it: what passes, and what must not.

use super::*;
use crate::{Client, Credentials, ScramVerifier, Secret};

fn tls() -> Channel {
    Channel::Tls {
        exporter: Some(TlsExporter([7; 32])),
        client_certificate: true,
    }
}

fn start(mechanism: Mechanism, initial: &[u8]) -> Step {
    Offer::new(&Mechanism::ALL, &tls()).start(mechanism, Some(initial))
}

/// Answers questions: ann's password is `secret`, her token `t0ken`; the certificate is hers.
fn answer(step: Step) -> Step {
    match step {
        Step::Password(q) if q.name() == "ann" && q.password().as_bytes() == b"secret" => q.accept(),
        Step::Password(q) => q.refuse(),
        Step::Verifier(q) if q.name() == "ann" => q.answer(verifier()),
        Step::Verifier(q) => {
            let decoy = ScramVerifier::decoy(&[9; 32], q.name());
            q.answer(decoy)
        }
        Step::Token(q) if q.token().expose() == "t0ken" => q.accept("ann"),
        Step::Token(q) => q.refuse(),
        Step::Certificate(q) => q.accept("ann"),
        other => other,
    }
}

fn verifier() -> ScramVerifier {
    ScramVerifier::with(&Password::prepare("secret").unwrap(), vec![5; 16], 4096).unwrap()
}

fn respond(step: Step, expected: &[u8], response: &[u8]) -> Step {
    match step {
        Step::Challenge { challenge, exchange } => {
            assert_eq!(
                String::from_utf8_lossy(&challenge),
                String::from_utf8_lossy(expected)
            );
            answer(exchange.step(response))
        }
        other => panic!("no challenge: {other:?}"),
    }
}

fn outcome(step: Step) -> Result<String, (Failure, Option<String>)> {
    match answer(step) {
        Step::Done { account } => Ok(account),
        Step::Failed { reason, name } => Err((reason, name)),
        other => panic!("no end: {other:?}"),
    }
}

fn ann() -> Option<String> {
    Some("ann".to_owned())
}

#[test]
fn a_connection_gets_what_it_can_do() {
    let names = |allowed: &[Mechanism], channel| {
        let offer = Offer::new(allowed, &channel);
        offer
            .mechanisms()
            .iter()
            .map(|m| m.name())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let all = &Mechanism::ALL;
    assert_eq!(names(all, Channel::Clear), "");
    assert_eq!(
        names(all, tls()),
        "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN"
    );
    let plain_tls = || Channel::Tls {
        exporter: None,
        client_certificate: false,
    };
    assert_eq!(
        names(all, plain_tls()),
        "SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN"
    );
    assert_eq!(
        names(&[Mechanism::Login, Mechanism::Plain], plain_tls()),
        "PLAIN LOGIN"
    );
    assert_eq!(names(&[], tls()), "");
}

#[test]
fn what_is_not_offered_does_not_start() {
    for mechanism in Mechanism::ALL {
        let others: Vec<_> = Mechanism::ALL.into_iter().filter(|m| *m != mechanism).collect();
        for offer in [
            Offer::new(&others, &tls()),
            Offer::new(&Mechanism::ALL, &Channel::Clear),
        ] {
            for initial in [None, Some(&b"\0ann\0secret"[..])] {
                assert_eq!(
                    outcome(offer.start(mechanism, initial)),
                    Err((Failure::NotOffered, None))
                );
            }
        }
    }
}

#[test]
fn names_are_read_in_either_case() {
    for mechanism in Mechanism::ALL {
        assert_eq!(
            Mechanism::parse(&mechanism.name().to_lowercase()),
            Some(mechanism)
        );
    }
    for unknown in ["", "PLAI", "PLAIN ", "CRAM-MD5", "SCRAM-SHA-1"] {
        assert_eq!(Mechanism::parse(unknown), None);
    }
}

#[test]
fn plain() {
    let plain = |message: &str| outcome(start(Mechanism::Plain, message.as_bytes()));
    assert_eq!(plain("\0ann\0secret"), Ok("ann".to_owned()));
    assert_eq!(plain("ann\0ann\0secret"), Ok("ann".to_owned()));
    assert_eq!(
        plain("\0a\u{ad}nn\0se\u{ad}cret"),
        Ok("ann".to_owned()),
        "SASLprep"
    );
    assert_eq!(plain("\0ann\0Secret"), Err((Failure::WrongCredentials, ann())));
    for (message, reason) in [
        ("root\0ann\0secret", Failure::OtherIdentity),
        ("\0ann\0secret\0", Failure::Malformed),
        ("\0ann", Failure::Malformed),
        ("", Failure::Malformed),
        ("\0\0secret", Failure::Prohibited),
        ("\0ann\0", Failure::Prohibited),
        ("\0ann\0sec\rret", Failure::Prohibited),
        ("\0an\nn\0secret", Failure::Prohibited),
        ("\0\u{ad}\0secret", Failure::Prohibited),
    ] {
        assert_eq!(plain(message), Err((reason, None)), "{message:?}");
    }
    let long = |name, password| plain(&format!("\0{}\0{}", "n".repeat(name), "p".repeat(password)));
    assert_eq!(long(256, 6), Err((Failure::TooLong, None)));
    assert_eq!(long(3, 1025), Err((Failure::TooLong, None)));
    assert!(matches!(
        long(255, 1024),
        Err((Failure::WrongCredentials, Some(_)))
    ));
    // One character that becomes eighteen.
    assert_eq!(
        plain(&format!("\0{}\0x", "\u{fdfa}".repeat(80))),
        Err((Failure::TooLong, None))
    );
    let not_utf8 = outcome(start(Mechanism::Plain, b"\0ann\0secr\xe9t"));
    assert_eq!(not_utf8, Err((Failure::Malformed, None)));
    let late = Offer::new(&Mechanism::ALL, &tls()).start(Mechanism::Plain, None);
    assert_eq!(
        outcome(respond(late, b"", b"\0ann\0secret")),
        Ok("ann".to_owned())
    );
}

#[test]
fn login() {
    let offer = Offer::new(&Mechanism::ALL, &tls());
    let asked = respond(offer.start(Mechanism::Login, None), b"Username:", b"ann");
    assert_eq!(
        outcome(respond(asked, b"Password:", b"secret")),
        Ok("ann".to_owned())
    );
    let login = |name: &str, password: &str| {
        outcome(respond(
            start(Mechanism::Login, name.as_bytes()),
            b"Password:",
            password.as_bytes(),
        ))
    };
    assert_eq!(login("ann", "secret"), Ok("ann".to_owned()));
    assert_eq!(login("ann", "wrong"), Err((Failure::WrongCredentials, ann())));
    assert_eq!(login("ann", ""), Err((Failure::Prohibited, ann())));
    assert_eq!(login("ann", "secret\0"), Err((Failure::Prohibited, ann())));
    for name in ["", "an\0n", "ann\r\n"] {
        assert_eq!(
            outcome(start(Mechanism::Login, name.as_bytes())),
            Err((Failure::Prohibited, None))
        );
    }
}

#[test]
fn external() {
    let external = |message: &[u8]| outcome(start(Mechanism::External, message));
    assert_eq!(external(b""), Ok("ann".to_owned()));
    assert_eq!(external(b"ann"), Ok("ann".to_owned()));
    assert_eq!(
        external(b"root"),
        Err((Failure::OtherIdentity, Some("root".to_owned())))
    );
    assert_eq!(external(b"an\0n"), Err((Failure::Prohibited, None)));
    match start(Mechanism::External, b"ann") {
        Step::Certificate(q) => assert_eq!(outcome(q.refuse()), Err((Failure::WrongCredentials, ann()))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn oauthbearer() {
    let bearer = |message: &str| start(Mechanism::OAuthBearer, message.as_bytes());
    for message in [
        "n,a=ann,\x01host=mx.example\x01port=587\x01auth=Bearer t0ken\x01\x01",
        "n,,\x01auth=bearer t0ken\x01\x01",
        "y,,\x01auth=BEARER  t0ken\x01\x01",
    ] {
        assert_eq!(outcome(bearer(message)), Ok("ann".to_owned()), "{message:?}");
    }
    let told = |message: &str| {
        let expected = br#"{"status":"invalid_token","schemes":"bearer","scope":""}"#;
        outcome(respond(answer(bearer(message)), expected, b"\x01"))
    };
    assert_eq!(
        told("n,a=ann,\x01auth=Bearer other\x01\x01"),
        Err((Failure::WrongCredentials, ann()))
    );
    assert_eq!(
        told("n,a=root,\x01auth=Bearer t0ken\x01\x01"),
        Err((Failure::OtherIdentity, Some("root".to_owned())))
    );
    for (message, reason) in [
        (
            "p=tls-exporter,,\x01auth=Bearer t0ken\x01\x01",
            Failure::UnsupportedBinding,
        ),
        ("n,,\x01auth=Bearer t0ken\x01", Failure::Malformed),
        ("n,,auth=Bearer t0ken\x01\x01", Failure::Malformed),
        ("n,,\x01auth=Basic t0ken\x01\x01", Failure::Malformed),
        ("n,,\x01auth=Bearer t0 ken\x01\x01", Failure::Malformed),
        ("n,,\x01auth=Bearer \x01\x01", Failure::Malformed),
        ("n,,\x01auth=\x01\x01", Failure::Malformed),
        (
            "n,,\x01auth=Bearer a\x01auth=Bearer t0ken\x01\x01",
            Failure::Malformed,
        ),
        ("n,,\x01host=x\x01\x01", Failure::Malformed),
        ("n,,\x01\x01", Failure::Malformed),
        ("\x01", Failure::Malformed),
        ("", Failure::Malformed),
    ] {
        assert_eq!(outcome(bearer(message)), Err((reason, None)), "{message:?}");
    }
    let sized = |size| bearer(&format!("n,,\x01auth=Bearer {}\x01\x01", "x".repeat(size)));
    assert!(matches!(sized(8192), Step::Token(_)));
    assert_eq!(outcome(sized(8193)), Err((Failure::TooLong, None)));
}

#[test]
fn xoauth2() {
    let xoauth2 = |message: &str| start(Mechanism::XOAuth2, message.as_bytes());
    assert_eq!(
        outcome(xoauth2("user=ann\x01auth=Bearer t0ken\x01\x01")),
        Ok("ann".to_owned())
    );
    let told = |message: &str| {
        let expected = br#"{"status":"401","schemes":"bearer","scope":""}"#;
        outcome(respond(answer(xoauth2(message)), expected, b""))
    };
    assert_eq!(
        told("user=ann\x01auth=Bearer other\x01\x01"),
        Err((Failure::WrongCredentials, ann()))
    );
    assert_eq!(
        told("user=root\x01auth=Bearer t0ken\x01\x01"),
        Err((Failure::OtherIdentity, Some("root".to_owned())))
    );
    for (message, reason) in [
        ("auth=Bearer t0ken\x01\x01", Failure::Malformed),
        ("user=ann\x01\x01", Failure::Malformed),
        ("user=\x01auth=Bearer t0ken\x01\x01", Failure::Prohibited),
        ("user=ann\x01auth=Bearer t0ken", Failure::Malformed),
    ] {
        assert_eq!(outcome(xoauth2(message)), Err((reason, None)), "{message:?}");
    }
}

#[test]
fn scram_ends_after_its_signature() {
    let channel = tls();
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
        let offer = Offer::new(&[mechanism], &channel);
        let scram = |name: &str, password: &str, last: &[u8]| {
            let (name, password) = (name.to_owned(), Secret::new(password));
            let credentials = Credentials::Password { name, password };
            let mut client = Client::choose(&[mechanism], &credentials, &channel).unwrap();
            let mut step = answer(offer.start(mechanism, client.initial().as_deref()));
            while let Step::Challenge { challenge, exchange } = step {
                let response = client.respond(&challenge).unwrap();
                let ended = client.succeeded().is_ok();
                step = answer(exchange.step(if ended { last } else { &response }));
            }
            outcome(step)
        };
        assert_eq!(scram("ann", "secret", b""), Ok("ann".to_owned()));
        assert_eq!(scram("ann", "secret", b"more"), Err((Failure::Malformed, ann())));
        assert_eq!(
            scram("ann", "wrong", b""),
            Err((Failure::WrongCredentials, ann()))
        );
        let nobody = Err((Failure::WrongCredentials, Some("nobody".to_owned())));
        assert_eq!(scram("nobody", "secret", b""), nobody);
    }
}

#[test]
fn removing_plus_from_the_offer_is_noticed() {
    let step = start(Mechanism::ScramSha256, b"y,,n=ann,r=x");
    assert_eq!(outcome(step), Err((Failure::Downgrade, None)));
    let without = Offer::new(&[Mechanism::ScramSha256], &tls());
    assert!(matches!(
        without.start(Mechanism::ScramSha256, Some(b"y,,n=ann,r=x")),
        Step::Verifier(_)
    ));
}

#[test]
fn a_long_message_is_not_read() {
    for mechanism in Mechanism::ALL {
        let step = start(mechanism, &vec![b'x'; MAX_MESSAGE + 1]);
        assert_eq!(outcome(step), Err((Failure::TooLong, None)));
    }
}

#[test]
fn no_secret_is_shown() {
    let shown = [
        format!("{:?}", start(Mechanism::Plain, b"\0ann\0hush")),
        format!(
            "{:?}",
            start(Mechanism::XOAuth2, b"user=ann\x01auth=Bearer hush\x01\x01")
        ),
        format!(
            "{:?}",
            Credentials::Password {
                name: "ann".to_owned(),
                password: Secret::new("hush")
            }
        ),
    ];
    for text in shown {
        assert!(text.contains("ann") && !text.contains("hush"), "{text}");
    }
}
