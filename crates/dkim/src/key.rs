//! Signing keys: generated, read from PEM and written as PEM, used.
//!
//! A key that can be had is one that receivers accept: RSA of 2048 to 4096 bits (RFC 8301 3.2) or Ed25519 (RFC 8463).
//! Secrets are wiped from memory when dropped, and `Debug` shows the algorithm only.

use crate::pem;
use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use std::fmt;
use zeroize::Zeroizing;

/// Octets of the modulus of the largest RSA key taken: 4096 bits.
const MAX_RSA_OCTETS: usize = 512;
/// Octets of an Ed25519 signature.
const ED25519_SIGNATURE: usize = 64;

/// How a key signs. Both hash with SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `rsa-sha256` (RFC 6376 3.3.1): what every receiver verifies.
    Rsa,
    /// `ed25519-sha256` (RFC 8463): short, and not yet known to every receiver.
    Ed25519,
}

impl Algorithm {
    /// The key type, as in `k=` of a record.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa",
            Algorithm::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block at all.
    #[error("no PEM block was found: a key starts with the line `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// A block that does not end, or with something else than Base64 in it.
    #[error("the PEM block is damaged: it is cut short, or holds something else than Base64")]
    DamagedPem,
    /// More than one private key.
    #[error("there are several private keys: put each into a file of its own")]
    Several,
    /// A key that a passphrase protects.
    #[error("the key is encrypted: write it without a passphrase (`openssl pkey -in KEY -out PLAIN_KEY`)")]
    Encrypted,
    /// The public half.
    #[error("this is the public key: the private key of the pair is needed to sign")]
    Public,
    /// Another kind of PEM block.
    #[error("a PEM block `{0}` cannot sign: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1) is needed")]
    OtherBlock(String),
    /// The content is not a key, or its parts do not fit together.
    #[error("the key is damaged: what the PEM block holds is not a valid private key")]
    Damaged,
    /// Neither RSA nor Ed25519.
    #[error("the key is neither RSA nor Ed25519: DKIM knows no other")]
    OtherAlgorithm,
    /// RSA with less than 2048 bits.
    #[error("the RSA key is too small: receivers distrust keys below 2048 bits; make a new key")]
    TooSmall,
    /// RSA with more than 4096 bits.
    #[error("the RSA key is too large: receivers need not verify more than 4096 bits; 2048 are enough")]
    TooLarge,
    /// The cryptographic library failed, which should not happen.
    #[error("the cryptographic library failed")]
    Library,
}

impl From<Unspecified> for KeyError {
    fn from(_: Unspecified) -> Self {
        KeyError::Library
    }
}

/// A private key and its public half.
pub struct SigningKey {
    secret: Secret,
    /// What `p=` of a record carries.
    public: Vec<u8>,
}

enum Secret {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Makes a new key; RSA with 2048 bits. RSA takes up to a second of one core: not a thing to do on a reactor.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Rsa => Self::rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
            Algorithm::Ed25519 => Ok(Self::ed25519(Ed25519KeyPair::generate()?)),
        }
    }

    /// Reads a key from PEM (RFC 7468): PKCS#8 (`PRIVATE KEY`) for both algorithms, or PKCS#1 (`RSA PRIVATE KEY`).
    /// Text around the block is ignored, and so are public keys and certificates beside it.
    ///
    /// # Errors
    /// Says what was found instead, and what to do.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match pem::private_key(text)? {
            pem::PrivateKey::Pkcs1(der) => Self::rsa(RsaKeyPair::from_der(&der).map_err(rejected)?),
            pem::PrivateKey::Pkcs8(der) => match RsaKeyPair::from_pkcs8(&der).map_err(rejected) {
                Ok(pair) => Self::rsa(pair),
                Err(KeyError::OtherAlgorithm) => {
                    let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(rejected)?;
                    Ok(Self::ed25519(pair))
                }
                Err(error) => Err(error),
            },
        }
    }

    fn rsa(pair: RsaKeyPair) -> Result<Self, KeyError> {
        if pair.public_modulus_len() > MAX_RSA_OCTETS {
            return Err(KeyError::TooLarge);
        }
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(SigningKey {
            public: public.as_ref().to_vec(),
            secret: Secret::Rsa(pair),
        })
    }

    fn ed25519(pair: Ed25519KeyPair) -> Self {
        SigningKey {
            public: pair.public_key().as_ref().to_vec(),
            secret: Secret::Ed25519(pair),
        }
    }

    /// The key as PKCS#8 in PEM, as `openssl genpkey` would write it. The text is wiped when dropped.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der: Pkcs8V1Der<'_> = match &self.secret {
            Secret::Rsa(pair) => pair.as_der()?,
            Secret::Ed25519(pair) => pair.as_der()?,
        };
        Ok(pem::write(der.as_ref()))
    }

    /// How this key signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.secret {
            Secret::Rsa(_) => Algorithm::Rsa,
            Secret::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// What `p=` of the record carries: for RSA a SubjectPublicKeyInfo in DER (RFC 6376 3.6.1 with erratum 3017), for
    /// Ed25519 the 32 octets of the key (RFC 8463 4).
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Whether `published` is our public key. An RSA key may also be published as a bare RSAPublicKey, as the
    /// text of RFC 6376 has it.
    pub(crate) fn is_published_as(&self, published: &[u8]) -> bool {
        match &self.secret {
            Secret::Rsa(pair) => published == self.public || published == pair.public_key().as_ref(),
            Secret::Ed25519(_) => published == self.public,
        }
    }

    /// Octets of a signature.
    pub(crate) fn signature_len(&self) -> usize {
        match &self.secret {
            Secret::Rsa(pair) => pair.public_modulus_len(),
            Secret::Ed25519(_) => ED25519_SIGNATURE,
        }
    }

    /// Signs a SHA-256 hash: by RSASSA-PKCS1-v1_5 (RFC 6376 3.3.1) or PureEdDSA over the hash (RFC 8463 3).
    pub(crate) fn sign(&self, hash: &Digest) -> Result<Vec<u8>, Unspecified> {
        match &self.secret {
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&RSA_PKCS1_SHA256, hash, &mut signature)?;
                Ok(signature)
            }
            Secret::Ed25519(pair) => Ok(pair.try_sign(hash.as_ref())?.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm())
    }
}

/// The library names its reasons by a word.
fn rejected(reason: KeyRejected) -> KeyError {
    match reason.to_string().as_str() {
        "TooSmall" => KeyError::TooSmall,
        "TooLarge" => KeyError::TooLarge,
        "WrongAlgorithm" => KeyError::OtherAlgorithm,
        _ => KeyError::Damaged,
    }
}

#[cfg(test)]
pub(crate) mod tests;
