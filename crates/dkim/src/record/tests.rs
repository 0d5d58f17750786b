use super::*;
use crate::identity::Identity;
use std::sync::Arc;

const RFC_8463: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn key() -> SigningKey {
    SigningKey::from_pem(crate::key::tests::RFC_8463).unwrap()
}

#[test]
fn verdicts() {
    let ours = key();
    let other = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let other = STANDARD.encode(other.public_key());
    let wrong_type = Verdict::WrongType {
        published: "rsa".to_owned(),
        ours: Algorithm::Ed25519,
    };
    let p = RFC_8463;
    let cases = [
        (format!("v=DKIM1; k=ed25519; p={p}"), Verdict::Matches),
        (format!("k=ed25519;p={p};"), Verdict::Matches),
        (
            format!(" v=DKIM1 ; p = {p} ;\tk = ed25519 ; n=a=b; "),
            Verdict::Matches,
        ),
        (format!("k=ed25519; p={} {}", &p[..9], &p[9..]), Verdict::Matches),
        (
            format!("k=ed25519; h=sha1 : sha256; s=* ; t=s; p={p}"),
            Verdict::Matches,
        ),
        (format!("k=ed25519; s=tlsrpt:email; p={p}"), Verdict::Matches),
        (format!("k=ed25519; t=s:y; p={p}"), Verdict::Testing),
        (format!("k=ed25519; p={other}"), Verdict::OtherKey),
        (format!("k=ed25519; h=sha1; p={p}"), Verdict::HashNotAllowed),
        (format!("k=ed25519; s=tlsrpt; p={p}"), Verdict::NotForEmail),
        ("v=DKIM1; k=ed25519; p=".to_owned(), Verdict::Revoked),
        ("v=DKIM1; p= ;".to_owned(), Verdict::Revoked),
        (format!("v=DKIM1; p={p}"), wrong_type.clone()),
        (format!("v=DKIM1; K=ed25519; p={p}"), wrong_type),
    ];
    for (value, wanted) in cases {
        assert_eq!(Verdict::of(&value, &ours), wanted, "{value}");
    }
}

#[test]
fn malformed_records() {
    let p = RFC_8463;
    let cases = [
        (String::new(), RecordError::Syntax),
        ("hello".to_owned(), RecordError::Syntax),
        (format!("v=DKIM1;; p={p}"), RecordError::Syntax),
        (format!("v=DKIM1; 1=x; p={p}"), RecordError::Syntax),
        (format!("v=DKIM1; a b=x; p={p}"), RecordError::Syntax),
        (format!("v=DKIM2; p={p}"), RecordError::Version),
        (format!("v=dkim1; p={p}"), RecordError::Version),
        (format!("p={p}; v=DKIM1"), RecordError::Version),
        (format!("p={p}; p={p}"), RecordError::Twice("p".to_owned())),
        ("v=DKIM1; k=rsa".to_owned(), RecordError::NoKey),
        (format!("k=ed25519; p=\"{p}\""), RecordError::Base64),
        (format!("k=ed25519; p={}", &p[1..]), RecordError::Base64),
        (format!("k=ed25519; p={}", &p[4..]), RecordError::KeyLength),
    ];
    for (value, wanted) in cases {
        assert_eq!(Verdict::of(&value, &key()), Verdict::Malformed(wanted), "{value}");
    }
}

#[test]
fn an_rsa_key_may_be_published_bare() {
    let ours = Arc::new(SigningKey::generate(Algorithm::Rsa).unwrap());
    let identity = Identity::new("example.com", "s", Arc::clone(&ours)).unwrap();
    assert_eq!(Verdict::of(&identity.record_value(), &ours), Verdict::Matches);
    // SubjectPublicKeyInfo of a 2048-bit key: 24 octets, then the RSAPublicKey.
    let bare = STANDARD.encode(&ours.public_key()[24..]);
    assert_eq!(Verdict::of(&format!("p={bare}"), &ours), Verdict::Matches);
    let cut = STANDARD.encode(&ours.public_key()[..200]);
    assert_eq!(Verdict::of(&format!("p={cut}"), &ours), Verdict::OtherKey);
}

#[test]
fn every_verdict_tells_what_to_do() {
    assert!(Verdict::Matches.verifies() && Verdict::Testing.verifies());
    assert!(!Verdict::OtherKey.verifies() && !Verdict::Malformed(RecordError::NoKey).verifies());
    let hostile = Verdict::of(&format!("k=\u{1b}[2J; p={RFC_8463}"), &key());
    assert_eq!(
        hostile.to_string(),
        "the record says `k=\\u{1b}[2J`, but the key is `ed25519`: signatures do not verify"
    );
}
