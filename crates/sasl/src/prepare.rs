//! Names and passwords as they are compared: SASLprep (RFC 4013), bounded, and secrets that go away.

use crate::Failure;
use std::fmt;
use zeroize::Zeroizing;

/// Longest name in octets, before and after it is prepared.
pub const MAX_NAME: usize = 255;
/// Longest password in octets, before and after it is prepared.
pub const MAX_PASSWORD: usize = 1024;

/// A text that `Debug` does not show and that is zeroed when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A password in the form in which it is hashed and compared, whatever keyboard it was typed on.
#[derive(Clone, Debug)]
pub struct Password(Secret);

impl Password {
    /// Prepares what a person typed or a client sent.
    ///
    /// # Errors
    /// [`Failure::TooLong`] beyond [`MAX_PASSWORD`]; [`Failure::Prohibited`] when it is empty or has
    /// characters that SASLprep prohibits, control characters among them.
    pub fn prepare(text: &str) -> Result<Self, Failure> {
        prepare(text, MAX_PASSWORD).map(|prepared| Self(Secret(prepared)))
    }

    /// The prepared octets: what a password hash is made of.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

/// Prepares an account's name. Case is kept: whether `Ann` is `ann` is the directory's business.
///
/// # Errors
/// [`Failure::TooLong`] beyond [`MAX_NAME`]; [`Failure::Prohibited`] when it is empty or has characters
/// that SASLprep prohibits, control characters among them.
pub fn prepare_name(text: &str) -> Result<String, Failure> {
    prepare(text, MAX_NAME).map(|prepared| String::clone(&prepared))
}

fn prepare(text: &str, limit: usize) -> Result<Zeroizing<String>, Failure> {
    if text.len() > limit {
        return Err(Failure::TooLong);
    }
    let prepared = stringprep::saslprep(text).map_err(|_| Failure::Prohibited)?;
    let prepared = Zeroizing::new(prepared.into_owned());
    match prepared.len() {
        0 => Err(Failure::Prohibited),
        length if length > limit => Err(Failure::TooLong),
        _ => Ok(prepared),
    }
}

/// The account that a client wants to be: the one it proves to be, and nobody else.
pub(crate) fn same_identity(name: &str, authorization: Option<&str>) -> Result<(), Failure> {
    match authorization {
        Some(other) if other != name => Err(Failure::OtherIdentity),
        _ => Ok(()),
    }
}

/// An optional name: empty means absent.
pub(crate) fn optional_name(text: &str) -> Result<Option<String>, Failure> {
    match text {
        "" => Ok(None),
        text => prepare_name(text).map(Some),
    }
}
