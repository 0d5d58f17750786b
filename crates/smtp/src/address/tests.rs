use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn error(text: &str) -> AddressError {
    Address::parse(text).expect_err(text)
}

#[test]
fn takes_what_the_grammar_allows() {
    for (text, local, domain) in [
        ("a@b", "a", "b"),
        ("john.doe+tag@example.com", "john.doe+tag", "example.com"),
        (
            "!#$%&'*+-/=?^_`{|}~@x.example",
            "!#$%&'*+-/=?^_`{|}~",
            "x.example",
        ),
        ("\"john\"@example.com", "john", "example.com"),
        ("\"a b\"@example.com", "\"a b\"", "example.com"),
        ("\"a\\ b\"@example.com", "\"a b\"", "example.com"),
        ("\"a@b>\\\"\\\\\"@example.com", "\"a@b>\\\"\\\\\"", "example.com"),
        ("\"\"@example.com", "\"\"", "example.com"),
        ("a@[127.0.0.1]", "a", "[127.0.0.1]"),
        ("a@[ipv6:::1]", "a", "[ipv6:::1]"),
        ("jörg@grüße.example", "jörg", "grüße.example"),
        ("a@xn--gre-6ka8i.example", "a", "xn--gre-6ka8i.example"),
        ("root@my_container", "root", "my_container"),
        ("a@1and1.example", "a", "1and1.example"),
    ] {
        let address = Address::parse(text).expect(text);
        assert_eq!((address.local(), address.domain()), (local, domain), "{text}");
    }
}

#[test]
fn refuses_the_rest_and_says_why() {
    use AddressError::{Domain, Incomplete, LocalPart, TooLong};
    for text in ["", "a", "@b", "a@", "@", "\"a\"", "\"a\"b@c"] {
        assert_eq!(error(text), Incomplete, "{text}");
    }
    for text in [
        ";id;@x",
        "a b@c",
        ".a@b",
        "a.@b",
        "a..b@c",
        "\"a@b",
        "a\"b@c",
        "(a)@b",
        "a\0@b",
        "\"a\n\"@b",
    ] {
        assert_eq!(error(text), LocalPart, "{text}");
    }
    for text in [
        "a@b.",
        "a@.b",
        "a@b..c",
        "a@-b",
        "a@b-",
        "a@b c",
        "a@b@c",
        "a@[1.2.3]",
        "a@[IPv6:1.2.3.4]",
        "a@[::1]",
        "a@[x:y]",
        "a@[1.2.3.4",
        "a@[1.2.3.4]x",
        "a@b>",
        "a@b\r",
        "a@b。c",
    ] {
        assert_eq!(error(text), Domain, "{text}");
    }
    assert_eq!(error(&format!("{}@b", "a".repeat(65))), TooLong);
    assert_eq!(error(&format!("a@{}", "b.".repeat(130))), TooLong);
    assert_eq!(
        error(&format!("{}@{}c", "a".repeat(64), "bcd.".repeat(60))),
        TooLong
    );
    assert_eq!(error(&format!("a@{}.c", "b".repeat(64))), Domain);
}

#[test]
fn lengths_at_the_limit_are_taken() {
    assert!(Address::parse(&format!("{}@b", "a".repeat(64))).is_ok());
    assert!(Address::parse(&format!("a@{}.c", "b".repeat(63))).is_ok());
    let longest = format!("{}@{}c", "a".repeat(64), "b.".repeat(94));
    assert_eq!(longest.len(), 254);
    assert!(Address::parse(&longest).is_ok());
}

#[test]
fn equal_without_regard_to_case_of_the_domain() {
    let same: HashSet<Address> = ["a@Example.COM", "\"a\"@example.com", "a@example.com"]
        .iter()
        .map(|t| Address::parse(t).unwrap())
        .collect();
    assert_eq!(same.len(), 1);
    assert_ne!(Address::parse("A@x").unwrap(), Address::parse("a@x").unwrap());
}

#[test]
fn literals_are_ip_addresses() {
    let ip = |text| Address::parse(text).unwrap().literal();
    assert_eq!(ip("a@[127.0.0.1]"), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(ip("a@[IPv6:2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(ip("a@127.0.0.1"), None);
}

proptest! {
    #[test]
    fn what_parses_parses_again_to_itself(text in "\\PC{0,80}") {
        if let Ok(address) = Address::parse(&text) {
            let again = Address::parse(address.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), address.as_str());
        }
    }

    #[test]
    fn round_trip(local in "[a-z0-9+_-]{1,20}(\\.[a-z0-9]{1,10}){0,2}", domain in "[a-zA-Z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,4}") {
        let text = format!("{local}@{domain}");
        let address = Address::parse(&text).unwrap();
        prop_assert_eq!(address.as_str(), &text);
        let quoted = Address::parse(&format!("\"{local}\"@{domain}")).unwrap();
        prop_assert_eq!(quoted.as_str(), &text);
    }

    #[test]
    fn any_text_can_be_quoted(content in "[ -~é]{0,20}") {
        let text = format!("{}@x.example", quote(&content));
        let address = Address::parse(&text).unwrap();
        prop_assert_eq!(Address::parse(address.as_str()).unwrap(), address);
    }
}
