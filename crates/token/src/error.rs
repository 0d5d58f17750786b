//! What can be wrong with a token, with the source of keys, and with the settings.

/// Why a token does not count. For the log: nothing of the token is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`crate::MAX_TOKEN`].
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not a JSON Web Token, or one with an algorithm (`none`) or demands (`crit`) that are not known.
    #[error("this is no JSON Web Token, or one with an unknown algorithm")]
    Malformed,
    /// Its algorithm is not allowed at all, or not for the key that it names.
    #[error("the token's algorithm is not allowed for its key (RS, PS, ES256, ES384 and EdDSA are known)")]
    Algorithm,
    /// The issuer has no key that it could have been signed with.
    #[error("the token's key is not among the issuer's keys")]
    UnknownKey,
    /// The issuer's keys could not be had: see [`crate::TokenVerifier::last_error`].
    #[error("the issuer's keys are not available at the moment")]
    KeysUnavailable,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is another, or missing.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` does not name us, or is missing.
    #[error("the token is meant for another audience")]
    Audience,
    /// `exp` is missing or no number.
    #[error("the token does not say when it expires")]
    NoExpiry,
    /// The claim that names the account is missing, or is not a text of 1 to 255 octets without control
    /// characters.
    #[error("the token has no usable claim that names the account")]
    NoAccount,
}

impl TokenError {
    /// Whether the same token may be right later: answer 454 rather than 535.
    pub fn is_temporary(self) -> bool {
        self == Self::KeysUnavailable
    }
}

/// Why there are no (new) keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys from {place}: {why}")]
pub struct SourceError {
    /// The file or URL.
    pub place: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a source of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A file can not be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// Which one: the keys, the CA or the token.
        path: String,
        /// The system's words.
        error: String,
    },
    /// The server can not be reached or trusted, or is too slow.
    #[error("{0}")]
    Request(String),
    /// It answered something else than 200.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// Longer than 256 KiB.
    #[error("longer than 256 KiB")]
    TooLarge,
    /// It is no key set.
    #[error("not a JSON Web Key Set: {0}")]
    NotKeys(String),
    /// It holds no public key that signatures could be checked with.
    #[error("no usable public key in it (RSA, EC P-256 or P-384, Ed25519)")]
    NoUsableKey,
    /// It holds more than 64 usable keys.
    #[error("more than 64 keys in it")]
    TooManyKeys,
}

/// Why a verifier can not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No issuer.
    #[error("the issuer is missing: give the value that `iss` has in the tokens")]
    NoIssuer,
    /// No audience, or an empty one.
    #[error("the audience is missing: without it, tokens meant for other services would open accounts here")]
    NoAudience,
    /// The claim's name or path.
    #[error(
        "the claim {0:?} is neither a claim's name (`sub`) nor a JSON Pointer (`/kubernetes.io/namespace`)"
    )]
    Claim(String),
    /// The keys' URL.
    #[error("the keys' URL {0:?} is not https (http is for loopback only) or has a password in it")]
    Url(String),
}
