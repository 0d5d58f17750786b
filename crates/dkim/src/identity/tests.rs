use super::*;
use crate::key::Algorithm;
use crate::record::{PublishedRecord, Verdict};

fn key(algorithm: Algorithm) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(algorithm).unwrap())
}

#[test]
fn names_that_could_break_out_of_a_signature_or_a_zone_are_refused() {
    let key = key(Algorithm::Ed25519);
    let new = |domain: &str, selector: &str| Identity::new(domain, selector, Arc::clone(&key)).map(|_| ());
    assert_eq!(new("Example.COM", "mail"), Ok(()));
    assert_eq!(new("example.com", "2026a.mail"), Ok(()));
    for domain in [
        "",
        ".",
        "example.com.",
        "a b",
        "a;b",
        "a\r\nb",
        "m\u{fc}nchen.example",
        "[127.0.0.1]",
    ] {
        assert_eq!(new(domain, "mail"), Err(IdentityError::Domain(domain.to_owned())));
        assert_eq!(
            new("example.com", domain),
            Err(IdentityError::Selector(domain.to_owned()))
        );
    }
    let long = ["x".repeat(63).as_str(); 3].join(".");
    assert_eq!(new(&long, "mail"), Ok(()));
    assert_eq!(new(&long, &"s".repeat(60)), Err(IdentityError::TooLong));
}

#[test]
fn the_record_of_rfc_8463() {
    let key = Arc::new(SigningKey::from_pem(crate::key::tests::RFC_8463).unwrap());
    let identity = Identity::new("football.example.com", "brisbane", key).unwrap();
    assert_eq!(
        identity.zone_line(),
        "brisbane._domainkey.football.example.com. IN TXT \
         \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\""
    );
}

#[test]
fn a_long_record_is_split_into_strings_that_join_to_it() {
    let identity = Identity::new("example.com", "rsa", key(Algorithm::Rsa)).unwrap();
    let line = identity.zone_line();
    let quoted = line.strip_prefix("rsa._domainkey.example.com. IN TXT ").unwrap();
    let strings: Vec<_> = quoted.trim_matches('"').split("\" \"").collect();
    assert!(strings.len() > 1 && strings.iter().all(|string| string.len() <= 255));
    assert_eq!(strings.concat(), identity.record_value());
    assert!(strings[0].starts_with("v=DKIM1; k=rsa; p=MII"));
    let record = PublishedRecord::parse(&strings.concat()).unwrap();
    assert_eq!(record.compare(identity.key()), Verdict::Matches);
}
