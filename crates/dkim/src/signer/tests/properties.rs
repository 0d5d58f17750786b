//! Any message: it verifies however its body was split, and no signed octet can be changed.

use super::*;

/// Names that are signed, in various hands, and some that are not.
const NAMES: [&str; 12] = [
    "From",
    "to",
    "SUBJECT",
    "Date ",
    "Cc",
    "cc\t",
    "References",
    "Content-Type",
    "Resent-From",
    "Received",
    "X-Other",
    "List-Unsubscribe-Post",
];

/// A header with at least one `From:`.
fn header() -> impl Strategy<Value = String> {
    let value = "([a-z\u{fc}:;=,]| |\t|\r\n |\r\n\t){0,20}[a-z]";
    let field =
        (prop::sample::select(&NAMES[..]), value).prop_map(|(name, value)| format!("{name}:{value}\r\n"));
    (
        prop::collection::vec(field.clone(), 0..8),
        prop::collection::vec(field, 0..4),
    )
        .prop_map(|(above, below)| format!("{}From: a@x\r\n{}", above.concat(), below.concat()))
}

fn body() -> impl Strategy<Value = String> {
    "([a-z\u{fc}]| |\t|\r\n|\r|\n){0,40}"
}

/// Places in `text` whose octet is neither blank nor a line end, so that another octet there is another text.
fn visible(text: &[u8]) -> Vec<usize> {
    (0..text.len())
        .filter(|&at| text[at].is_ascii_lowercase())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_message_verifies_and_its_signature_does_not_depend_on_the_pieces(
        header in header(),
        body in body(),
        size in 1_usize..20,
    ) {
        let identities = [Arc::clone(&RSA), Arc::clone(&ED25519)];
        let whole = sign(header.as_bytes(), body.as_bytes(), usize::MAX, &identities);
        let pieces = sign(header.as_bytes(), body.as_bytes(), size, &identities);
        prop_assert_eq!(&whole, &pieces);
        for identity in &identities {
            let message = signed(header.as_bytes(), body.as_bytes(), identity);
            prop_assert_eq!(verify(&message, identity.key().public_key()), Ok(()));
        }
    }

    #[test]
    fn a_changed_body_does_not_verify(header in header(), body in body(), at in any::<prop::sample::Index>()) {
        let mut message = signed(header.as_bytes(), body.as_bytes(), &ED25519);
        let start = message.len() - body.len();
        let places = visible(body.as_bytes());
        prop_assume!(!places.is_empty());
        message[start + at.get(&places)] ^= 1;
        prop_assert_eq!(verify(&message, ED25519.key().public_key()), Err("body hash"));
    }

    #[test]
    fn a_changed_field_does_not_verify(header in header(), at in any::<prop::sample::Index>()) {
        let message = signed(header.as_bytes(), b"x", &ED25519);
        let start = message.len() - header.len() - b"\r\nx".len();
        let places: Vec<_> = Header::new(header.as_bytes())
            .fields()
            .filter(|field| place(field.name).is_some())
            .flat_map(|field| {
                let value = field.range.end - 2 - field.value.len();
                visible(field.value).into_iter().map(move |at| value + at)
            })
            .collect();
        let mut changed = message.clone();
        changed[start + at.get(&places)] ^= 1;
        prop_assert_eq!(verify(&changed, ED25519.key().public_key()), Err("signature"));
    }

    #[test]
    fn a_removed_field_does_not_verify(header in header(), at in any::<prop::sample::Index>()) {
        let fields: Vec<_> = Header::new(header.as_bytes()).fields().collect();
        let signed_fields: Vec<_> = fields.iter().filter(|field| place(field.name).is_some()).collect();
        let range = at.get(&signed_fields).range.clone();
        let message = signed(header.as_bytes(), b"x", &ED25519);
        let start = message.len() - header.len() - b"\r\nx".len();
        let left = [&message[..start + range.start], &message[start + range.end..]].concat();
        prop_assert_eq!(verify(&left, ED25519.key().public_key()), Err("signature"));
    }

    #[test]
    fn no_octets_panic(header in prop::collection::vec(any::<u8>(), 0..60), body in prop::collection::vec(any::<u8>(), 0..60)) {
        let header = [b"From:", &header[..]].concat();
        sign(&header, &body, 3, &[Arc::clone(&ED25519)]);
    }
}
