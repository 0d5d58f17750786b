//! What is picked, and what a client must not say or believe.

use super::*;
use crate::TlsExporter;
use Mechanism::{Login, OAuthBearer, Plain, ScramSha256, ScramSha256Plus, XOAuth2};

fn password() -> Credentials {
    Credentials::Password {
        name: "ann".to_owned(),
        password: Secret::new("secret"),
    }
}

fn token() -> Credentials {
    Credentials::Token {
        name: "ann".to_owned(),
        token: Secret::new("t0ken"),
    }
}

fn bound() -> Channel {
    Channel::Tls {
        exporter: Some(TlsExporter([7; 32])),
        client_certificate: false,
    }
}

fn unbound() -> Channel {
    Channel::Tls {
        exporter: None,
        client_certificate: false,
    }
}

fn pick(
    offered: &[Mechanism],
    credentials: &Credentials,
    channel: &Channel,
) -> Result<Mechanism, ClientFailure> {
    Client::choose(offered, credentials, channel).map(|client| client.mechanism())
}

#[test]
fn the_strongest_is_picked() {
    let all = [Login, Plain, XOAuth2, OAuthBearer, ScramSha256, ScramSha256Plus];
    assert_eq!(pick(&all, &password(), &bound()), Ok(ScramSha256Plus));
    assert_eq!(pick(&all, &password(), &unbound()), Ok(ScramSha256));
    assert_eq!(pick(&all, &password(), &Channel::Clear), Ok(ScramSha256));
    assert_eq!(pick(&[Login, Plain], &password(), &bound()), Ok(Plain));
    assert_eq!(pick(&[Login], &password(), &bound()), Ok(Login));
    assert_eq!(pick(&all, &token(), &unbound()), Ok(XOAuth2));
}

#[test]
fn a_secret_is_not_shown_without_tls() {
    assert_eq!(
        pick(&[Login, Plain], &password(), &Channel::Clear),
        Err(ClientFailure::NeedsTls)
    );
    assert_eq!(
        pick(&[XOAuth2], &token(), &Channel::Clear),
        Err(ClientFailure::NeedsTls)
    );
}

#[test]
fn credentials_serve_for_their_mechanisms() {
    assert_eq!(pick(&[], &password(), &bound()), Err(ClientFailure::NoMechanism));
    assert_eq!(
        pick(&[XOAuth2, OAuthBearer], &password(), &bound()),
        Err(ClientFailure::NoMechanism)
    );
    assert_eq!(
        pick(&[Plain, ScramSha256, OAuthBearer], &token(), &bound()),
        Err(ClientFailure::NoMechanism)
    );
    assert_eq!(
        pick(&[ScramSha256Plus], &password(), &unbound()),
        Err(ClientFailure::NoMechanism)
    );
    let unfit = Credentials::Password {
        name: "ann".to_owned(),
        password: Secret::new("a\0b"),
    };
    let refused = Err(ClientFailure::Credentials(Failure::Prohibited));
    assert_eq!(pick(&[ScramSha256], &unfit, &bound()), refused);
}

/// The first message tells the server what the client saw of its offer.
#[test]
fn the_flag_says_what_was_offered() {
    let first = |offered: &[Mechanism], channel| {
        let mut client = Client::choose(offered, &password(), &channel).unwrap();
        String::from_utf8(client.initial().unwrap().to_vec()).unwrap()
    };
    assert!(first(&[ScramSha256, ScramSha256Plus], bound()).starts_with("p=tls-exporter,,n=ann,r="));
    assert!(first(&[ScramSha256], bound()).starts_with("y,,n=ann,r="));
    assert!(first(&[ScramSha256, ScramSha256Plus], unbound()).starts_with("n,,n=ann,r="));
}

#[test]
fn one_message_says_it_all() {
    for (mechanism, credentials, expected) in [
        (Plain, password(), &b"\0ann\0secret"[..]),
        (XOAuth2, token(), &b"user=ann\x01auth=Bearer t0ken\x01\x01"[..]),
    ] {
        let mut client = Client::choose(&[mechanism], &credentials, &bound()).unwrap();
        assert_eq!(&*client.initial().unwrap(), expected);
        assert_eq!(client.initial(), None, "once");
        assert_eq!(client.succeeded(), Ok(()));
        // Or kept back, and sent when the server asks.
        let mut client = Client::choose(&[mechanism], &credentials, &bound()).unwrap();
        assert_eq!(client.succeeded(), Err(ClientFailure::Unproven));
        assert_eq!(&*client.respond(b"").unwrap(), expected);
        assert_eq!(client.succeeded(), Ok(()));
    }
    let mut client = Client::choose(&[Plain], &password(), &bound()).unwrap();
    assert_eq!(client.respond(b"tell me"), Err(ClientFailure::Malformed));
    assert_eq!(client.respond(b""), Err(ClientFailure::Malformed), "it is over");
}

#[test]
fn login_answers_two_questions() {
    let mut client = Client::choose(&[Login], &password(), &bound()).unwrap();
    assert_eq!(client.initial(), None);
    assert_eq!(&*client.respond(b"Username:").unwrap(), b"ann");
    assert_eq!(client.succeeded(), Err(ClientFailure::Unproven));
    assert_eq!(&*client.respond(b"Password:").unwrap(), b"secret");
    assert_eq!(client.succeeded(), Ok(()));
}

#[test]
fn an_explanation_is_answered_with_nothing_once() {
    let mut client = Client::choose(&[XOAuth2], &token(), &bound()).unwrap();
    client.initial().unwrap();
    assert_eq!(&*client.respond(br#"{"status":"401"}"#).unwrap(), b"");
    assert_eq!(client.succeeded(), Err(ClientFailure::Unproven));
    assert_eq!(client.respond(b"more"), Err(ClientFailure::Malformed));
}

#[test]
fn success_without_the_servers_proof_is_none() {
    let mut client = Client::choose(&[ScramSha256], &password(), &unbound()).unwrap();
    let first = client.initial().unwrap();
    assert_eq!(client.succeeded(), Err(ClientFailure::Unproven));
    let nonce = String::from_utf8(first.to_vec())
        .unwrap()
        .split_once(",r=")
        .unwrap()
        .1
        .to_owned();
    client
        .respond(format!("r={nonce}x,s=c2FsdA==,i=4096").as_bytes())
        .unwrap();
    assert_eq!(client.succeeded(), Err(ClientFailure::Unproven));
    let forged = format!("v={}", "A".repeat(43) + "=");
    assert_eq!(
        client.respond(forged.as_bytes()),
        Err(ClientFailure::WrongSignature)
    );
    assert_eq!(client.succeeded(), Err(ClientFailure::Unproven));
}

#[test]
fn a_challenge_is_bounded_text() {
    for challenge in [vec![b'x'; MAX_MESSAGE + 1], vec![0xff]] {
        let mut client = Client::choose(&[Login], &password(), &bound()).unwrap();
        assert_eq!(client.respond(&challenge), Err(ClientFailure::Malformed));
    }
}

#[test]
fn no_message_is_shown() {
    for offered in [Plain, Login, ScramSha256] {
        let mut client = Client::choose(&[offered], &password(), &bound()).unwrap();
        // Neither as text nor as a list of octets.
        let shown = format!("{client:?} {:?}", client.initial());
        assert!(
            !shown.contains("secret") && !shown.contains("115, 101, 99"),
            "{shown}"
        );
    }
}
