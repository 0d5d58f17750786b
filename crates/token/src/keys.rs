//! An issuer's keys: those of its JWKS that can check a signature, and with which algorithms.

use crate::Why;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of an issuer: a token that does not name its key is tried with each.
const MAX_KEYS: usize = 64;

/// One public key.
pub(crate) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(crate) key: DecodingKey,
}

/// The usable keys of one issuer; at least one.
pub(crate) struct KeySet(Vec<Key>);

/// `{"keys":[…]}`.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWKS. Keys that are unknown, not for signatures or not public are passed over (RFC 7517,
    /// section 5).
    pub(crate) fn parse(document: &[u8]) -> Result<Self, Why> {
        let document: Document =
            serde_json::from_slice(document).map_err(|error| Why::NotKeys(error.to_string()))?;
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(Key::read)
            .take(MAX_KEYS + 1)
            .collect();
        match keys.len() {
            0 => Err(Why::NoUsableKey),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(Why::TooManyKeys),
        }
    }

    /// The keys that a token with this `kid` could have been signed with: all when it names none.
    pub(crate) fn named(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        self.0
            .iter()
            .filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
    }
}

impl Key {
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let of_its_kind = algorithms(&jwk.algorithm);
        let common = &jwk.common;
        let for_signatures = match (&common.public_key_use, &common.key_operations) {
            (Some(purpose), _) => *purpose == PublicKeyUse::Signature,
            (None, Some(operations)) => operations.contains(&KeyOperations::Verify),
            (None, None) => true,
        };
        let algorithms: Vec<_> = of_its_kind
            .iter()
            .copied()
            .filter(|algorithm| {
                common
                    .key_algorithm
                    .is_none_or(|only| only.to_string().parse() == Ok(*algorithm))
            })
            .collect();
        if !for_signatures || algorithms.is_empty() {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self {
            kid: jwk.common.key_id,
            algorithms,
            key,
        })
    }

    /// Whether it may check signatures of that algorithm.
    pub(crate) fn serves_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// What a key of this kind can check. Nothing for a shared secret: whoever could check could also sign.
fn algorithms(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => &[],
    }
}
