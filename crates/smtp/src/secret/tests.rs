use super::*;
use proptest::prelude::*;

#[test]
fn only_base64_as_it_should_be() {
    let decoded = |text: &str| Secret::decode(text.as_bytes()).map(|secret| secret.to_vec());
    assert_eq!(decoded(""), Some(Vec::new()));
    assert_eq!(decoded("AGEAYg=="), Some(b"\0a\0b".to_vec()));
    for text in [
        "=",
        "AGEAYg",
        "AGEAYg=",
        "=AAA",
        "AAA=BBB",
        "AGEA Yg==",
        "AGEAYh==",
        "A-_A",
        "*",
    ] {
        assert_eq!(decoded(text), None, "{text}");
    }
    assert_eq!(Encoded("=").decode().as_deref(), Some(&b""[..]));
    assert!(Encoded("==").decode().is_none());
}

#[test]
fn nothing_is_shown() {
    let secret = Secret::new(b"hush".to_vec());
    assert_eq!(
        format!("{secret:?} {:?}", Encoded("aHVzaA==")),
        "Secret(..) Encoded(..)"
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut text = b"334 ".to_vec();
        encode(&octets, &mut text);
        prop_assert_eq!(text.len(), 4 + encoded_len(octets.len()));
        let decoded = Secret::decode(&text[4..]).unwrap();
        prop_assert_eq!(&*decoded, &octets[..]);
    }
}
