//! No input makes loading panic.

use super::Case;
use crate::*;
use proptest::prelude::*;

fn toml_soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z_.\\[\\]=\"{}#0-9 \n-]{0,40}",
        Just("[server]\nport = 0xFFFFFFFFFFFFFFFF\n".to_owned()),
        Just("[[domains]]\n".to_owned()),
        Just("[[accounts]]\nquota = [1, \"x\"]\nsenders = \"@\"\n".to_owned()),
        Just("domains = [1, {name = 2}]\n".to_owned()),
        Just("routes = 5\n".to_owned()),
        Just("relay.smarthost = \"smtp://[::1\"\n".to_owned()),
        ".{0,30}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in toml_soup(), name in "SMTP_[A-Z_0-9]{0,20}", value in ".{0,20}") {
        let case = Case::new(&text).env(&name, &value).flag(&name, &value);
        if let Err(errors) = Config::load(&case.sources) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_next_hop_makes_it_panic(text in "((smtps?|lmtp)://)?[\\[\\]:0-9a-z.@/%]{0,30}") {
        let _ = Config::load(&Case::new("").flag("relay.smarthost", &text).sources);
    }
}
