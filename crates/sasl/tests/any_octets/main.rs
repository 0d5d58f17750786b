//! Whatever a peer sends, nothing panics, and nobody is let in who was not accepted.

mod drive;

use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces of real messages, so that deep places are reached too.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 28] = [
        "n,",
        "y,",
        "p=tls-exporter,",
        "a=ann",
        ",",
        "n=ann",
        "r=abc",
        "c=biws",
        "p=AAAA",
        "m=x",
        "=2C",
        "=",
        "s=c2FsdA==",
        "i=4096",
        "i=99999999",
        "v=AAAA",
        "e=other-error",
        "\0",
        "\0ann\0secret",
        "\x01",
        "auth=Bearer t",
        "user=ann",
        "host=h",
        "SCRAM-SHA-256$",
        "4096:",
        "\n",
        "\u{fdfa}",
        "\u{ad}",
    ];
    prop_oneof![
        8 => prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_octets(octets in vec(any::<u8>(), 0..400)) {
        drive::drive(&octets);
    }

    #[test]
    fn any_pieces(choice in any::<u8>(), pieces in vec(piece(), 0..24)) {
        drive::drive(&[vec![choice], pieces.concat()].concat());
    }
}
