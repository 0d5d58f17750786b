//! Bearer tokens: OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's form of it from before the RFC).
//!
//! A refused token is answered with a challenge that says so in JSON; the client sends an empty message (its
//! content does not matter) and only then the exchange fails (RFC 7628, section 3.2.3).

use crate::gs2::{Flag, Gs2};
use crate::prepare::prepare_name;
use crate::{Failure, Secret};
use zeroize::Zeroizing;

/// Longest token in octets.
pub(crate) const MAX_TOKEN: usize = 8192;
/// What a client with a wrong token is told before it fails.
pub(crate) const REFUSED: &[u8] = br#"{"status":"invalid_token","schemes":"bearer","scope":""}"#;
/// The same in XOAUTH2, whose clients know HTTP's code.
pub(crate) const XOAUTH2_REFUSED: &[u8] = br#"{"status":"401","schemes":"bearer","scope":""}"#;

/// Separates pairs of key and value.
const SEPARATOR: char = '\x01';

/// A token, and the account that the client names beside it.
pub(crate) struct Claim {
    pub(crate) name: Option<String>,
    pub(crate) token: Secret,
}

/// OAUTHBEARER: `n,a=NAME,^Ahost=…^Aport=…^Aauth=Bearer TOKEN^A^A`. There is no channel binding in it.
pub(crate) fn parse(message: &str) -> Result<Claim, Failure> {
    let gs2 = Gs2::parse(message)?;
    if let Flag::Bound(_) = gs2.flag {
        return Err(Failure::UnsupportedBinding);
    }
    let pairs = gs2.rest.strip_prefix(SEPARATOR).ok_or(Failure::Malformed)?;
    let token = token(value(pairs, "auth")?)?;
    Ok(Claim {
        name: gs2.authorization,
        token,
    })
}

/// XOAUTH2: `user=NAME^Aauth=Bearer TOKEN^A^A`.
pub(crate) fn parse_xoauth2(message: &str) -> Result<Claim, Failure> {
    let name = prepare_name(value(message, "user")?)?;
    let token = token(value(message, "auth")?)?;
    Ok(Claim {
        name: Some(name),
        token,
    })
}

/// The client's XOAUTH2 message.
pub(crate) fn xoauth2_message(name: &str, token: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(
        ["user=", name, "\x01auth=Bearer ", token, "\x01\x01"]
            .concat()
            .into_bytes(),
    )
}

/// The value of the one pair with this key, in pairs that each end with the separator, closed by another.
fn value<'a>(pairs: &'a str, wanted: &str) -> Result<&'a str, Failure> {
    let pairs = pairs.strip_suffix("\x01\x01").ok_or(Failure::Malformed)?;
    let mut found = None;
    for pair in pairs.split(SEPARATOR) {
        let (key, value) = pair.split_once('=').ok_or(Failure::Malformed)?;
        if key == wanted && found.replace(value).is_some() {
            return Err(Failure::Malformed);
        }
    }
    found.ok_or(Failure::Malformed)
}

/// The token of `Bearer TOKEN` (RFC 6750, section 2.1).
fn token(authorization: &str) -> Result<Secret, Failure> {
    let (scheme, token) = authorization.split_once(' ').ok_or(Failure::Malformed)?;
    let token = token.trim_matches(' ');
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !token.bytes().all(is_token) {
        return Err(Failure::Malformed);
    }
    match token.len() > MAX_TOKEN {
        true => Err(Failure::TooLong),
        false => Ok(Secret::new(token)),
    }
}
