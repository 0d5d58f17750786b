//! What passes between client and server in AUTH: base64 on the wire (RFC 4954 4), secrets in memory.
//!
//! Promises: decoded octets are overwritten when they are dropped, and nothing here shows them by `Debug`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{self, Debug, Formatter};
use std::ops::Deref;
use zeroize::Zeroizing;

/// Octets that a client proves itself with, decoded. They are overwritten when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over; a copy elsewhere is for its owner to overwrite.
    pub fn new(octets: Vec<u8>) -> Self {
        Secret(Zeroizing::new(octets))
    }

    /// Decodes base64 (RFC 4648 4): padded, nothing else in between. `None` when it is malformed.
    pub fn decode(text: &[u8]) -> Option<Self> {
        // At its full size from the start: growing would leave copies behind.
        let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = STANDARD.decode_slice(text, &mut octets).ok()?;
        octets.truncate(length);
        Some(Secret(octets))
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The initial response of an AUTH command, still base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoded<'a>(pub(crate) &'a str);

impl Encoded<'_> {
    /// Decodes it; `=` stands for no octets. `None` when it is malformed.
    pub fn decode(self) -> Option<Secret> {
        let text = if self.0 == "=" { "" } else { self.0 };
        Secret::decode(text.as_bytes())
    }
}

impl Debug for Encoded<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Encoded(..)")
    }
}

/// Appends `octets` as base64.
pub(crate) fn encode(octets: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // Lengths here are those of challenges and responses: far from overflow.
    out.resize(start + encoded_len(octets.len()), 0);
    let written = out
        .get_mut(start..)
        .and_then(|room| STANDARD.encode_slice(octets, room).ok());
    out.truncate(start + written.unwrap_or(0));
}

/// Length of so many octets as base64.
pub(crate) fn encoded_len(octets: usize) -> usize {
    octets.div_ceil(3).saturating_mul(4)
}

#[cfg(test)]
mod tests;
