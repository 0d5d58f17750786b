//! What a server keeps of a password: enough to check a proof, not enough to make one.

use super::keys;
use crate::Password;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroize;

/// Fewest iterations of a verifier (RFC 7677, section 4); a client refuses a server that asks for fewer.
pub const MIN_ITERATIONS: u32 = 4096;
/// Most iterations: a client computes them at every login, so a server must not name any number it likes.
pub const MAX_ITERATIONS: u32 = 1_000_000;
/// Iterations of a new verifier. Whoever steals a verifier has to compute as many for each guess; a client
/// computes them once for each login, about 30 ms of a core.
pub const DEFAULT_ITERATIONS: u32 = 100_000;

/// Octets of a new salt.
const SALT: usize = 16;
/// Longest salt that is read.
const MAX_SALT: usize = 64;
/// How the text form begins.
const PREFIX: &str = "SCRAM-SHA-256$";

/// Salt, iterations, `StoredKey` and `ServerKey` of a password (RFC 5802, section 3).
///
/// Its text form is that of RFC 5803 and of PostgreSQL: `SCRAM-SHA-256$iterations:salt$stored:server`, in
/// base64. It is a secret: guesses can be tried on it, and who has it can pose as the server.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) stored_key: keys::Octets,
    pub(super) server_key: keys::Octets,
}

impl ScramVerifier {
    /// The verifier of a password: a new salt, [`DEFAULT_ITERATIONS`]. Takes tens of milliseconds: not
    /// for a thread that others wait for.
    ///
    /// # Errors
    /// [`VerifierError::NoRandomness`].
    pub fn derive(password: &Password) -> Result<Self, VerifierError> {
        let mut salt = vec![0; SALT];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| VerifierError::NoRandomness)?;
        Self::with(password, salt, DEFAULT_ITERATIONS)
    }

    /// The same with the salt that [`ScramVerifier::decoy`] shows for that name. For passwords that are derived anew at each start: were
    /// the salt another each time, that alone would tell an account from a name that nobody has.
    ///
    /// # Errors
    /// None that can happen: salt and iterations are our own.
    pub fn derive_for(
        server_secret: &[u8; 32],
        name: &str,
        password: &Password,
    ) -> Result<Self, VerifierError> {
        Self::with(password, salt_for(server_secret, name), DEFAULT_ITERATIONS)
    }

    /// The verifier of a password with a salt of 1 to 64 octets and iterations from [`MIN_ITERATIONS`] to
    /// [`MAX_ITERATIONS`].
    ///
    /// # Errors
    /// [`VerifierError::Iterations`], [`VerifierError::Malformed`] for the salt.
    pub fn with(password: &Password, salt: Vec<u8>, iterations: u32) -> Result<Self, VerifierError> {
        let iterations = checked(iterations)?;
        if !is_salt(&salt) {
            return Err(VerifierError::Malformed);
        }
        let salted = keys::salted_password(password.as_bytes(), &salt, iterations);
        Ok(Self {
            stored_key: keys::hash(&*keys::client_key(&salted)),
            server_key: keys::server_key(&salted),
            salt,
            iterations,
        })
    }

    /// Stands for an account that does not exist, so that it looks like one that does: the same name always
    /// has the same salt, and no proof fits. `server_secret` is random and stays the same for all servers
    /// that share their accounts, across restarts.
    ///
    /// It has [`DEFAULT_ITERATIONS`]: accounts with imported verifiers of other counts can be told from it.
    pub fn decoy(server_secret: &[u8; 32], name: &str) -> Self {
        Self {
            salt: salt_for(server_secret, name),
            iterations: DEFAULT_ITERATIONS,
            stored_key: invented(server_secret, b"stored key", name),
            server_key: invented(server_secret, b"server key", name),
        }
    }

    /// Whether this is the verifier of that password. Takes as long as [`ScramVerifier::derive`].
    pub fn is_of(&self, password: &Password) -> bool {
        let salted = keys::salted_password(password.as_bytes(), &self.salt, self.iterations);
        keys::same(&keys::hash(&*keys::client_key(&salted)), &self.stored_key)
    }
}

fn salt_for(server_secret: &[u8; 32], name: &str) -> Vec<u8> {
    let octets = invented(server_secret, b"salt", name);
    octets.into_iter().take(SALT).collect()
}

/// Octets that nobody can tell from random ones without the secret.
fn invented(server_secret: &[u8; 32], kind: &[u8], name: &str) -> keys::Octets {
    keys::hmac(server_secret, &[kind, b"\0", name.as_bytes()].concat())
}

/// The number, if it is one that we compute and let compute.
pub(super) fn checked(iterations: u32) -> Result<u32, VerifierError> {
    match iterations {
        MIN_ITERATIONS..=MAX_ITERATIONS => Ok(iterations),
        _ => Err(VerifierError::Iterations),
    }
}

pub(super) fn is_salt(octets: &[u8]) -> bool {
    (1..=MAX_SALT).contains(&octets.len())
}

/// The text form, secrets and all: for storing.
impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|octets| STANDARD.encode(octets));
        write!(f, "{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl FromStr for ScramVerifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let parts = || {
            let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
            let (iterations, salt) = parameters.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let salt = STANDARD.decode(salt).ok().filter(|salt| is_salt(salt))?;
            Some((iterations.parse().ok()?, salt, key(stored)?, key(server)?))
        };
        let (iterations, salt, stored_key, server_key) = parts().ok_or(VerifierError::Malformed)?;
        Ok(Self {
            salt,
            iterations: checked(iterations)?,
            stored_key,
            server_key,
        })
    }
}

/// 32 octets of base64.
pub(super) fn key(text: &str) -> Option<keys::Octets> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

impl Drop for ScramVerifier {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(…)")
    }
}

/// Why there is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// The text form is another.
    #[error("a SCRAM verifier is SCRAM-SHA-256$iterations:salt$stored key:server key, in base64")]
    Malformed,
    /// Too few iterations to protect the password, or too many to compute.
    #[error("a SCRAM verifier has from {MIN_ITERATIONS} to {MAX_ITERATIONS} iterations")]
    Iterations,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}
