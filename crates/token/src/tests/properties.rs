//! Whatever is in a token or a key set, nothing panics, and nobody gets in.

use super::signer::{Signer, jwks};
use super::*;
use crate::keys::KeySet;
use crate::token::Token;
use crate::{KeySource, TokenError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::LazyLock;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::es256("k1"));

fn check(token: &str) -> Result<Value, TokenError> {
    let keys = KeySet::parse(jwks(&[&SIGNER]).as_bytes()).unwrap();
    Token::read(token)?.check(&keys, &settings(KeySource::File(PathBuf::new())))
}

proptest! {
    #[test]
    fn any_text_is_no_token(text in "[ -~é\0]{0,200}|[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        prop_assert!(check(&text).is_err());
    }

    /// The last characters of a signature hold two bits more than it has, which must be zero.
    #[test]
    fn any_octet_changed_spoils_a_token(at in any::<prop::sample::Index>(), by in 1u8..128) {
        let token = SIGNER.token(&claims());
        prop_assert!(check(&token).is_ok());
        let mut octets = token.into_bytes();
        let at = at.index(octets.len());
        octets[at] = (octets[at] ^ by) & 0x7f;
        prop_assert!(check(&String::from_utf8(octets).unwrap()).is_err());
    }

    #[test]
    fn any_header_and_claims(header in "[ -~]{0,60}", claims in "\\{\"(exp|iss|aud|nbf)\":[ -~]{0,20}\\}") {
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = parts.join(".") + ".AAAA";
        prop_assert!(check(&token).is_err());
    }

    #[test]
    fn any_key_set(document in "[ -~]{0,100}", kty in "RSA|EC|OKP|oct|x", field in "[nexyk]|crv|alg|use", value in "[ -~]{0,40}") {
        let _ = KeySet::parse(document.as_bytes());
        let jwk = json!({ "kty": kty, "n": "AQAB", "e": "AQAB", "crv": "P-256", "x": "AQ", "y": "AQ", (field): value });
        let _ = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes());
    }
}
