//! Signs tokens.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A private key and the id that it goes by.
pub(super) struct Signer {
    pub(super) kid: &'static str,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str, &'static str),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn rsa(kid: &'static str) -> Self {
        Self::rsa_of(kid, KeySize::Rsa2048)
    }

    pub(super) fn rsa_of(kid: &'static str, size: KeySize) -> Self {
        Self {
            kid,
            key: Key::Rsa(RsaKeyPair::generate(size).unwrap()),
        }
    }

    pub(super) fn es256(kid: &'static str) -> Self {
        Self::ec(kid, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", "ES256")
    }

    pub(super) fn es384(kid: &'static str) -> Self {
        Self::ec(kid, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", "ES384")
    }

    fn ec(
        kid: &'static str,
        kind: &'static EcdsaSigningAlgorithm,
        curve: &'static str,
        alg: &'static str,
    ) -> Self {
        Self {
            kid,
            key: Key::Ec(EcdsaKeyPair::generate(kind).unwrap(), curve, alg),
        }
    }

    pub(super) fn ed25519(kid: &'static str) -> Self {
        Self {
            kid,
            key: Key::Ed(Ed25519KeyPair::generate().unwrap()),
        }
    }

    /// A token of these claims, signed with the key's usual algorithm.
    pub(super) fn token(&self, claims: &Value) -> String {
        let alg = match &self.key {
            Key::Rsa(_) => "RS256",
            Key::Ec(_, _, alg) => alg,
            Key::Ed(_) => "EdDSA",
        };
        self.token_with(&json!({ "alg": alg, "kid": self.kid }), claims)
    }

    /// A token with this header.
    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.sign(header["alg"].as_str().unwrap(), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match alg {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Key::Ec(pair, ..) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The octets of the public key, as somebody would take them for a shared secret.
    pub(super) fn public(&self) -> Vec<u8> {
        match &self.key {
            Key::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Key::Ec(pair, ..) => pair.public_key().as_ref().to_vec(),
            Key::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The public key as a JWK.
    pub(super) fn jwk(&self) -> Value {
        let base64 = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        match &self.key {
            Key::Rsa(pair) => {
                let modulus = base64(pair.public_key().modulus().big_endian_without_leading_zero());
                let exponent = base64(pair.public_key().exponent().big_endian_without_leading_zero());
                json!({ "kty": "RSA", "kid": self.kid, "use": "sig", "n": modulus, "e": exponent })
            }
            Key::Ec(pair, curve, alg) => {
                let (x, y) =
                    pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
                json!({ "kty": "EC", "kid": self.kid, "use": "sig", "alg": alg, "crv": curve,
                        "x": base64(x), "y": base64(y) })
            }
            Key::Ed(pair) => {
                json!({ "kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": base64(pair.public_key().as_ref()) })
            }
        }
    }
}

/// Header and claims, not signed.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".")
}

/// A token signed with a shared secret.
pub(super) fn hs256(kid: &str, secret: &[u8], claims: &Value) -> String {
    let message = message(&json!({ "alg": "HS256", "kid": kid }), claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A key set.
pub(super) fn jwks(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}
