//! The example of RFC 7677, section 3, from both ends, and what must not pass.

use super::client::{self, First};
use super::server::{Binding, Named};
use super::*;
use crate::{ClientFailure, Failure, Password, TlsExporter};

const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier() -> ScramVerifier {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramVerifier::with(&Password::prepare("pencil").unwrap(), salt, 4096).unwrap()
}

fn first(message: &str, binding: &Binding) -> Result<Named, Failure> {
    Named::new(message, binding, SERVER_NONCE)
}

fn last(message: &str) -> Result<String, Failure> {
    let (challenge, challenged) = first(CLIENT_FIRST, &Binding::None).unwrap().challenge(verifier());
    assert_eq!(challenge, SERVER_FIRST);
    challenged.check(message)
}

fn our_first() -> First {
    First::new(client::Binding::Unable, "user", "pencil", CLIENT_NONCE.to_owned()).unwrap()
}

#[test]
fn the_server_says_what_the_rfc_says() {
    assert_eq!(last(CLIENT_FINAL), Ok(SERVER_FINAL.to_owned()));
}

#[test]
fn the_client_says_what_the_rfc_says() {
    let first = our_first();
    assert_eq!(first.message(), CLIENT_FIRST);
    let (proof, signature) = first.prove(SERVER_FIRST).unwrap();
    assert_eq!(proof, CLIENT_FINAL);
    assert_eq!(signature.check(SERVER_FINAL), Ok(()));
    assert_eq!(signature.check(&format!("{SERVER_FINAL},x=later")), Ok(()));
    for (server_final, failure) in [
        (
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8=",
            ClientFailure::WrongSignature,
        ),
        ("v=6rriTRBi", ClientFailure::Malformed),
        ("", ClientFailure::Malformed),
        ("e=invalid-proof", ClientFailure::Refused),
    ] {
        assert_eq!(signature.check(server_final), Err(failure), "{server_final}");
    }
}

#[test]
fn each_part_of_the_last_message_counts() {
    let changed = |from: &str, to: &str| {
        assert!(CLIENT_FINAL.contains(from));
        last(&CLIENT_FINAL.replace(from, to)).unwrap_err()
    };
    assert_eq!(changed("p=dHz", "p=dHy"), Failure::WrongCredentials);
    assert_eq!(changed("$k0", "$k1"), Failure::WrongNonce);
    assert_eq!(changed("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""), Failure::WrongNonce);
    assert_eq!(
        changed("c=biws", "c=eSws"),
        Failure::WrongBinding,
        "y,, after n,,"
    );
    assert_eq!(changed("c=biws", "c=biw"), Failure::Malformed);
    assert_eq!(changed("c=biws,", ""), Failure::Malformed);
    assert_eq!(changed(",p=", ",q="), Failure::Malformed);
    assert_eq!(
        changed("AndVQ=", "AndVQ=,x=y"),
        Failure::Malformed,
        "the proof comes last"
    );
    assert_eq!(changed("dVQ=", ""), Failure::Malformed);
    assert_eq!(
        changed(",p=", ",x=1,p="),
        Failure::WrongCredentials,
        "extensions are signed too"
    );
    assert_eq!(last("").unwrap_err(), Failure::Malformed);
}

#[test]
fn the_first_message_has_its_grammar() {
    let name = |message: &str| first(message, &Binding::None).map(|named| named.name);
    assert_eq!(name("n,,n=us=2Cer=3D,r=x"), Ok("us,er=".to_owned()));
    assert_eq!(name("y,a=user,n=user,r=x,e=later"), Ok("user".to_owned()));
    assert_eq!(name("n,a=u=3D,n=u=3D,r=x"), Ok("u=".to_owned()));
    assert_eq!(name("n,,n=I\u{ad}X,r=x"), Ok("IX".to_owned()), "SASLprep");
    for (message, failure) in [
        ("n,a=root,n=user,r=x", Failure::OtherIdentity),
        ("n,,m=must,n=user,r=x", Failure::UnknownExtension),
        ("p=tls-exporter,,n=user,r=x", Failure::UnsupportedBinding),
        ("n,,n=user\0,r=x", Failure::Prohibited),
        ("n,,n=us\r\ner,r=x", Failure::Prohibited),
        ("n,,n=us=er,r=x", Failure::Malformed),
        ("n,,n=us=2cer,r=x", Failure::Malformed),
        ("n,,n=,r=x", Failure::Malformed),
        ("n,a=,n=user,r=x", Failure::Malformed),
        ("n,b=user,n=user,r=x", Failure::Malformed),
        ("n,,n=user,r=", Failure::Malformed),
        ("n,,n=user,r=\u{e9}", Failure::Malformed),
        ("n,,n=user,r=x y", Failure::Malformed),
        ("n,,n=user", Failure::Malformed),
        ("n,,r=x,n=user", Failure::Malformed),
        ("n,,n=user,r=x,later", Failure::Malformed),
        ("x,,n=user,r=x", Failure::Malformed),
        ("n,n=user,r=x", Failure::Malformed),
        ("", Failure::Malformed),
    ] {
        assert_eq!(name(message), Err(failure), "{message:?}");
    }
    assert_eq!(
        name(&format!("n,,n=user,r={}", "x".repeat(257))),
        Err(Failure::TooLong)
    );
    assert_eq!(
        name(&format!("n,,n={},r=x", "x".repeat(256))),
        Err(Failure::TooLong)
    );
}

#[test]
fn a_client_can_not_be_talked_out_of_binding() {
    let bound = Binding::Bound(TlsExporter([7; 32]));
    let flag = |flag: &str, binding| first(&format!("{flag},,n=user,r=x"), binding).map(|_| ());
    for (sent, binding, expected) in [
        ("n", &Binding::None, Ok(())),
        ("y", &Binding::None, Ok(())),
        ("n", &Binding::Declined, Ok(())),
        ("p=tls-exporter", &bound, Ok(())),
        ("y", &Binding::Declined, Err(Failure::Downgrade)),
        ("y", &bound, Err(Failure::Downgrade)),
        ("n", &bound, Err(Failure::UnsupportedBinding)),
        (
            "p=tls-exporter",
            &Binding::Declined,
            Err(Failure::UnsupportedBinding),
        ),
        ("p=tls-unique", &bound, Err(Failure::UnsupportedBinding)),
        ("p=tls-exporte", &bound, Err(Failure::UnsupportedBinding)),
        ("p=", &bound, Err(Failure::UnsupportedBinding)),
    ] {
        assert_eq!(flag(sent, binding), expected, "{sent} {binding:?}");
    }
}

#[test]
fn a_proof_is_bound_to_its_connection() {
    let client = |exporter| {
        let binding = client::Binding::Bound(TlsExporter(exporter));
        First::new(binding, "user", "pencil", CLIENT_NONCE.to_owned()).unwrap()
    };
    let outcome = |first: &First| {
        let named = Named::new(
            &first.message(),
            &Binding::Bound(TlsExporter([7; 32])),
            SERVER_NONCE,
        )
        .unwrap();
        let (challenge, challenged) = named.challenge(verifier());
        let (proof, signature) = first.prove(&challenge).unwrap();
        challenged
            .check(&proof)
            .map(|server_final| signature.check(&server_final))
    };
    assert_eq!(outcome(&client([7; 32])), Ok(Ok(())));
    assert_eq!(
        outcome(&client([8; 32])),
        Err(Failure::WrongBinding),
        "somebody sits in between"
    );
}

#[test]
fn the_client_checks_what_it_is_asked_to_compute() {
    let changed = |from: &str, to: &str| {
        assert!(SERVER_FIRST.contains(from));
        our_first().prove(&SERVER_FIRST.replace(from, to)).unwrap_err()
    };
    assert_eq!(changed("i=4096", "i=4095"), ClientFailure::Iterations);
    assert_eq!(changed("i=4096", "i=1000001"), ClientFailure::Iterations);
    assert_eq!(changed("i=4096", "i=4294967297"), ClientFailure::Malformed);
    assert_eq!(changed("r=rOpr", "r=rOps"), ClientFailure::WrongNonce);
    assert_eq!(changed(SERVER_NONCE, ""), ClientFailure::WrongNonce);
    assert_eq!(
        changed("W22ZaJ0SNY7soEsUEjb6gQ==", "W22"),
        ClientFailure::Malformed
    );
    assert_eq!(changed("r=", "m=must,r="), ClientFailure::Malformed);
    let long = STANDARD.encode([1; 65]);
    assert_eq!(
        changed("W22ZaJ0SNY7soEsUEjb6gQ==", &long),
        ClientFailure::Malformed
    );
}

#[test]
fn a_verifier_survives_its_text() {
    let verifier = verifier();
    let text = verifier.to_string();
    // What PostgreSQL computes for this password, salt and count is the same text.
    assert_eq!(
        text,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    );
    assert_eq!(text.parse(), Ok(verifier));
    for (from, to, error) in [
        ("4096", "4095", VerifierError::Iterations),
        ("4096", "1000001", VerifierError::Iterations),
        ("4096", "-1", VerifierError::Malformed),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", "", VerifierError::Malformed),
        ("SHA-256", "SHA-1", VerifierError::Malformed),
        ("dU=", "d", VerifierError::Malformed),
        (":wfPL", ":", VerifierError::Malformed),
        ("=$WG", "=WG", VerifierError::Malformed),
    ] {
        assert_eq!(
            text.replace(from, to).parse::<ScramVerifier>(),
            Err(error),
            "{from} {to}"
        );
    }
}

#[test]
fn a_derived_verifier_is_of_its_password_only() {
    let password = Password::prepare("\u{2168}\u{ad}").unwrap();
    let verifier = ScramVerifier::derive(&password).unwrap();
    assert!(verifier.is_of(&Password::prepare("IX").unwrap()), "SASLprep");
    assert!(!verifier.is_of(&Password::prepare("ix").unwrap()));
    assert_ne!(
        verifier,
        ScramVerifier::derive(&password).unwrap(),
        "a new salt each time"
    );
    assert_eq!(verifier.salt.len(), SERVER_SALT);
    assert_eq!(format!("{verifier:?}"), "ScramVerifier(…)");
}

/// Octets of a new salt.
const SERVER_SALT: usize = 16;

#[test]
fn a_decoy_looks_like_an_account() {
    let decoy = ScramVerifier::decoy(&[1; 32], "nobody");
    let account = ScramVerifier::derive(&Password::prepare("x").unwrap()).unwrap();
    assert_eq!(
        (decoy.salt.len(), decoy.iterations),
        (account.salt.len(), account.iterations)
    );
    assert_eq!(decoy, ScramVerifier::decoy(&[1; 32], "nobody"));
    assert_ne!(decoy.salt, ScramVerifier::decoy(&[1; 32], "somebody").salt);
    assert_ne!(decoy.salt, ScramVerifier::decoy(&[2; 32], "nobody").salt);
    assert_eq!(decoy.to_string().parse(), Ok(decoy));
}

#[test]
fn nonces_differ() {
    let nonce = nonce().unwrap();
    assert_eq!(nonce.len(), 24);
    assert_ne!(Some(nonce), super::nonce());
}
