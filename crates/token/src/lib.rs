//! Bearer tokens: JSON Web Tokens (RFC 7519) checked against the keys of their issuer (JWKS, RFC 7517).
//!
//! [`TokenVerifier`] is the whole surface. `settings` is what it is told, `token` reads and checks one
//! token, `keys` is an issuer's keys, `source` where they come from, `cache` when they are asked for.
//!
//! Promises: only signatures of public keys count (no HS256, no `none`), each key only with algorithms of
//! its kind; issuer, audience and expiry are always checked; a token is never kept nor shown in an error;
//! whatever tokens come, the source is asked once a minute at most, and its last good keys stay in use
//! while it fails.

mod cache;
mod error;
mod keys;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod verifier;

pub use error::{SettingsError, SourceError, TokenError, Why};
pub use settings::{Claim, KeySource, TokenSettings};
pub use token::MAX_TOKEN;
pub use verifier::{Identity, TokenVerifier};
