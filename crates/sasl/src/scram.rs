//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): both ends prove that they know the password,
//! and neither shows it.
//!
//! `message` is the grammar, `keys` the computation, `verifier` what a server keeps, `server` and `client`
//! the two ends.

pub(crate) mod client;
mod keys;
mod message;
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod verifier;

pub use verifier::{DEFAULT_ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS, ScramVerifier, VerifierError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A nonce: 18 random octets in 24 characters; `None` when the system gives no random numbers.
pub(crate) fn nonce() -> Option<String> {
    let mut octets = [0; 18];
    aws_lc_rs::rand::fill(&mut octets).ok()?;
    Some(STANDARD.encode(octets))
}
