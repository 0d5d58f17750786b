//! What an account proves itself with: hashes of passwords and of generated secrets.
//!
//! A password is kept as an argon2id hash (RFC 9106) with the parameters that OWASP recommends, 19 MiB, two passes, one lane, and as
//! a SCRAM verifier beside it. Both are made to be slow, some tens of milliseconds: deriving and verifying is for a blocking
//! thread, and whoever calls bounds how many there are at once, since each verification needs those 19 MiB.
//!
//! A generated secret has 130 random bits and begins with the name of its record, so that one hash is computed for each attempt,
//! however many secrets an account has.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smtp_sasl::{Password, ScramVerifier, Secret, VerifierError};
use std::fmt;

/// Letters and digits that are not mistaken for each other: 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of an app password's id.
const ID_LENGTH: usize = 8;
/// Letters of what is secret in it: 130 bits.
const SECRET_LENGTH: usize = 26;
/// Octets of a salt (RFC 9106 3.1 recommends 16).
const SALT_LENGTH: usize = 16;
/// Most memory that a hash which was made elsewhere may ask for, in KiB, and most passes: an attempt must stay cheap enough to be allowed.
const MAX_MEMORY: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;

/// How a password is checked. Its texts are secrets: guesses can be tried on them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credential {
    /// `$argon2id$…`
    argon2: Option<Box<str>>,
    #[serde(with = "crate::record::text")]
    scram: Option<ScramVerifier>,
}

/// Why there is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialError {
    /// The library or the system failed.
    #[error("a password could not be hashed: {0}")]
    Library(String),
    /// A hash that is none, or none that is taken.
    #[error("{0}")]
    Hash(&'static str),
}

impl Credential {
    /// Derives what is kept of a password. Takes tens of milliseconds and 19 MiB.
    ///
    /// # Errors
    /// [`CredentialError::Library`]: no memory, no random numbers.
    pub(crate) fn derive(password: &Password) -> Result<Self, CredentialError> {
        Self::beside(ScramVerifier::derive(password), password)
    }

    /// The same for a declared account's password, which every start derives again: SCRAM shows one salt all the time.
    pub(crate) fn derive_for(
        server_secret: &[u8; 32],
        account: &str,
        password: &Password,
    ) -> Result<Self, CredentialError> {
        Self::beside(
            ScramVerifier::derive_for(server_secret, account, password),
            password,
        )
    }

    fn beside(
        scram: Result<ScramVerifier, VerifierError>,
        password: &Password,
    ) -> Result<Self, CredentialError> {
        let failed = |error: &dyn fmt::Display| CredentialError::Library(error.to_string());
        let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
            .hash_password_with_salt(password.as_bytes(), &random::<SALT_LENGTH>()?)
            .map_err(|error| failed(&error))?;
        Ok(Credential {
            argon2: Some(hash.to_string().into()),
            scram: Some(scram.map_err(|error| failed(&error))?),
        })
    }

    /// Reads a hash that was made elsewhere, `$argon2id$…` or `SCRAM-SHA-256$…`; `None` when `text` is neither, but a password.
    ///
    /// With an argon2 hash alone there is no SCRAM for the account.
    pub(crate) fn read_hash(text: &str) -> Option<Result<Self, CredentialError>> {
        if text.starts_with("$argon2") {
            return Some(read_argon2(text).map(|hash| Credential {
                argon2: Some(hash.into()),
                scram: None,
            }));
        }
        let scram = text.starts_with("SCRAM-SHA-256$").then(|| text.parse())?;
        Some(match scram {
            Ok(scram) => Ok(Credential {
                argon2: None,
                scram: Some(scram),
            }),
            Err(_) => Err(CredentialError::Hash(
                "it begins like a SCRAM verifier, but is none: SCRAM-SHA-256$iterations:salt$stored:server",
            )),
        })
    }

    /// Whether this is the password. Takes as long as [`Credential::derive`]: the hash says how long.
    pub(crate) fn verify(&self, password: &Password) -> bool {
        match (&self.argon2, &self.scram) {
            (Some(hash), _) => Argon2::default()
                .verify_password(password.as_bytes(), &**hash)
                .is_ok(),
            (None, Some(scram)) => scram.is_of(password),
            (None, None) => false,
        }
    }

    pub(crate) fn scram(&self) -> Option<&ScramVerifier> {
        self.scram.as_ref()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

fn read_argon2(text: &str) -> Result<&str, CredentialError> {
    let malformed = CredentialError::Hash(
        "it begins like an argon2id hash, but is none: $argon2id$v=19$m=…,t=…,p=…$salt$hash",
    );
    let hash = PasswordHash::new(text).map_err(|_| malformed.clone())?;
    let params = Params::try_from(&hash).map_err(|_| malformed.clone())?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err(malformed);
    }
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES {
        return Err(CredentialError::Hash(
            "the hash takes more than 256 MiB or 16 passes: each login would; make one with less (m=19456,t=2,p=1)",
        ));
    }
    Ok(text)
}

/// The secret of one program, and what it is for.
#[derive(Clone, Debug)]
pub struct AppPassword {
    /// The first letters of the secret. Not secret.
    pub id: Box<str>,
    /// What it is for, in the words of whoever made it.
    pub label: Box<str>,
    /// When it was made.
    pub created: Timestamp,
    pub(crate) credential: Credential,
}

impl AppPassword {
    /// Makes one, with its secret, which nothing keeps. Takes as long as [`Credential::derive`].
    pub(crate) fn generate(label: &str, now: Timestamp) -> Result<(Self, Secret), CredentialError> {
        let (id, secret) = (letters::<ID_LENGTH>()?, letters::<SECRET_LENGTH>()?);
        let secret = Secret::new(format!("{id}-{secret}"));
        let password = Password::prepare(secret.expose())
            .map_err(|error| CredentialError::Library(error.to_string()))?;
        let app = AppPassword {
            id: id.into(),
            label: label.into(),
            created: now,
            credential: Credential::derive(&password)?,
        };
        Ok((app, secret))
    }

    /// Whether a password claims to be this one.
    pub(crate) fn is_named_by(&self, password: &Password) -> bool {
        let rest = password.as_bytes().strip_prefix(self.id.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&b'-'))
    }
}

/// A credential that nobody has the password of: it stands for accounts that are not there.
pub(crate) fn decoy() -> Result<Credential, CredentialError> {
    let nobody = AppPassword::generate("", Timestamp::UNIX_EPOCH)?;
    Ok(nobody.0.credential)
}

fn letters<const N: usize>() -> Result<String, CredentialError> {
    let letter = |octet: u8| ALPHABET.get(usize::from(octet % 32)).copied().map(char::from);
    Ok(random::<N>()?.into_iter().filter_map(letter).collect())
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], CredentialError> {
    let mut octets = [0; N];
    match aws_lc_rs::rand::fill(&mut octets) {
        Ok(()) => Ok(octets),
        Err(_) => Err(CredentialError::Library(
            "the system gives no random numbers".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::prepare(text).unwrap()
    }

    #[test]
    fn a_password_is_its_own_and_no_other() {
        let credential = Credential::derive(&password("correct horse")).unwrap();
        let hash = credential.argon2.as_deref().unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(credential.verify(&password("correct horse")));
        assert!(!credential.verify(&password("correct horsf")));
        assert!(credential.scram().unwrap().is_of(&password("correct horse")));
        let again = Credential::derive(&password("correct horse")).unwrap();
        assert_ne!(again, credential, "each has a salt of its own");
        assert!(!format!("{credential:?}").contains("argon"));
    }

    #[test]
    fn hashes_made_elsewhere_are_read() {
        // echo -n password | argon2 somesaltsomesalt -id -t 2 -k 8192 -p 1 -e
        let derived = Credential::derive(&password("secret word")).unwrap();
        let hash = Credential::read_hash(derived.argon2.as_deref().unwrap())
            .unwrap()
            .unwrap();
        assert!(hash.verify(&password("secret word")) && !hash.verify(&password("secret wort")));
        assert!(hash.scram().is_none());
        let text = derived.scram().unwrap().to_string();
        let scram = Credential::read_hash(&text).unwrap().unwrap();
        assert!(scram.verify(&password("secret word")) && !scram.verify(&password("secret wort")));
        assert!(Credential::read_hash("just a password").is_none());
        for wrong in [
            "$argon2id$",
            "$argon2i$v=19$m=4096,t=3,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A",
            "$argon2id$v=19$m=1048576,t=3,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A",
            "SCRAM-SHA-256$4096:xx",
        ] {
            assert!(Credential::read_hash(wrong).unwrap().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_generated_secret_names_its_record() {
        let (app, secret) = AppPassword::generate("printer", Timestamp::UNIX_EPOCH).unwrap();
        let password = password(secret.expose());
        assert_eq!(secret.expose().len(), ID_LENGTH + 1 + SECRET_LENGTH);
        assert!(app.is_named_by(&password) && app.credential.verify(&password));
        let (other, _) = AppPassword::generate("printer", Timestamp::UNIX_EPOCH).unwrap();
        assert!(!other.is_named_by(&password));
    }
}
