//! One token: read, and checked with a set of keys.

use crate::keys::KeySet;
use crate::{TokenError, TokenSettings};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Header, Validation, decode, decode_header};
use serde_json::Value;

/// Longest token in octets.
pub const MAX_TOKEN: usize = 8192;

/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY: u64 = 60;

/// A token that is not checked yet.
pub(crate) struct Token<'a> {
    text: &'a str,
    header: Header,
}

impl<'a> Token<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let header = decode_header(text).map_err(|_| TokenError::Malformed)?;
        // A shared secret checks nothing: a public key could be taken for one.
        if header.alg.family() == AlgorithmFamily::Hmac {
            return Err(TokenError::Algorithm);
        }
        // What must be understood is not (RFC 7515, section 4.1.11).
        match header.crit {
            Some(_) => Err(TokenError::Malformed),
            None => Ok(Self { text, header }),
        }
    }

    /// The claims, if one of the keys made the signature and they fit the settings.
    pub(crate) fn check(&self, keys: &KeySet, settings: &TokenSettings) -> Result<Value, TokenError> {
        let kid = self.header.kid.as_deref();
        let validation = validation(self.header.alg, settings);
        let mut outcome = match keys.named(kid).next() {
            Some(_) => Err(TokenError::Algorithm),
            None => Err(TokenError::UnknownKey),
        };
        for key in keys.named(kid).filter(|key| key.serves_for(self.header.alg)) {
            let token = decode(self.text, &key.key, &validation);
            outcome = token
                .map(|token| token.claims)
                .map_err(|error| reason(error.kind()));
            if outcome != Err(TokenError::Signature) {
                break;
            }
        }
        match outcome {
            // It names no key, and none fits: it may be of a new one.
            Err(TokenError::Signature | TokenError::Algorithm) if kid.is_none() => {
                Err(TokenError::UnknownKey)
            }
            outcome => outcome,
        }
    }
}

fn validation(algorithm: Algorithm, settings: &TokenSettings) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&settings.audience);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY;
    validation
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => match claim.as_str()
        {
            "exp" => TokenError::NoExpiry,
            "iss" => TokenError::Issuer,
            "aud" => TokenError::Audience,
            _ => TokenError::NotYetValid,
        },
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            TokenError::Malformed
        }
        _ => TokenError::Signature,
    }
}
