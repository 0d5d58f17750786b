//! Signs one message.
//!
//! The header section is hashed when the signer is made, the body as it passes. What is left of both at the end are two hashes, however
//! large the message. The body is hashed once for all identities.
//!
//! `c=relaxed/relaxed`, with `t=`, and `x=` when a lifetime is given. No `l=` (RFC 6376 8.2 tells why), no `i=`.

use crate::canonical::{self, BodyHash};
use crate::field::{self, Layout};
use crate::header::{Field, Header};
use crate::identity::Identity;
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Fields that are named once more than they occur: none can be added without breaking the signature. Those that readers see, those that
/// say where answers go, and those that say how the body is read: with another `Content-Type:` above, a signed body is another message.
const OVERSIGNED: [&str; 9] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];
/// Fields that are signed as often as they occur (RFC 6376 5.4.1). Never those that hops add or change.
const SIGNED: [&str; 13] = [
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Sender",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
];
/// Most fields that are signed. No mail has so many; a field with more names would be larger than receivers take.
const MAX_SIGNED: usize = 500;

/// Why a message is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No `From:`, which every signature must cover (RFC 6376 5.4).
    #[error("a message without a From field cannot be signed")]
    NoFrom,
    /// More fields to sign than [`Signer::new`] allows.
    #[error("the message has too many header fields to sign")]
    TooManyFields,
    /// The cryptographic library failed, which should not happen.
    #[error("the cryptographic library failed to sign")]
    Library,
}

/// Signs one message by several identities.
pub struct Signer {
    fields: Vec<(Arc<Identity>, Layout)>,
    header: Context,
    body: BodyHash,
}

impl Signer {
    /// Begins with the header section: all fields, with or without the empty line behind them. `timestamp` is in seconds since
    /// 1970 (`t=`); after `lifetime`, counted in whole seconds, at least one, the signature is no longer valid (`x=`).
    ///
    /// # Errors
    /// A header without `From:`, or with more than 500 fields to sign.
    pub fn new(
        header: &[u8],
        identities: &[Arc<Identity>],
        timestamp: u64,
        lifetime: Option<Duration>,
    ) -> Result<Self, SignError> {
        let (signed, hash) = header_hash(header)?;
        let mut times = format!(" t={timestamp};");
        if let Some(lifetime) = lifetime {
            let expires = timestamp.saturating_add(lifetime.as_secs().max(1));
            times.push_str(&format!(" x={expires};"));
        }
        let fields = identities
            .iter()
            .map(|identity| (Arc::clone(identity), Layout::new(identity, &signed, &times)))
            .collect();
        Ok(Signer {
            fields,
            header: hash,
            body: BodyHash::new(),
        })
    }

    /// Octets of what [`Signer::finish`] will give.
    pub fn field_len(&self) -> usize {
        self.fields.iter().map(|(_, layout)| layout.len()).sum()
    }

    /// The next piece of the body: what follows the empty line behind the header section.
    pub fn update(&mut self, body: &[u8]) {
        self.body.update(body);
    }

    /// Signs: the `DKIM-Signature:` fields, one for each identity in their order, each with its CRLF, to be put above all others.
    /// An RSA signature takes about a millisecond of one core.
    ///
    /// # Errors
    /// [`SignError::Library`].
    pub fn finish(self) -> Result<Vec<u8>, SignError> {
        let mut out = Vec::with_capacity(self.field_len());
        let body_hash = STANDARD.encode(self.body.finish());
        for (identity, layout) in &self.fields {
            let mut text = layout.unsigned(&body_hash);
            let mut relaxed = Vec::with_capacity(text.len());
            canonical::field(&Field::of(text.as_bytes()), &mut relaxed);
            let mut hash = self.header.clone();
            hash.update(&relaxed);
            let signature = identity
                .key()
                .sign(&hash.finish())
                .map_err(|_| SignError::Library)?;
            field::complete(&mut text, &STANDARD.encode(signature));
            out.extend_from_slice(text.as_bytes());
        }
        Ok(out)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.fields.iter().map(|(identity, _)| identity))
            .finish()
    }
}

/// The names for `h=`, and the hash of the fields that they stand for.
fn header_hash(header: &[u8]) -> Result<(Vec<&'static str>, Context), SignError> {
    let mut signed: Vec<(usize, Field<'_>)> = Vec::new();
    for field in Header::new(header).fields() {
        if let Some(place) = place(field.name) {
            if signed.len() >= MAX_SIGNED {
                return Err(SignError::TooManyFields);
            }
            signed.push((place, field));
        }
    }
    // Fields of one name are signed from the bottom up (RFC 6376 5.4.2).
    signed.reverse();
    signed.sort_by_key(|(place, _)| *place);
    if signed.first().is_none_or(|(place, _)| *place > 0) {
        return Err(SignError::NoFrom);
    }
    let mut names = Vec::with_capacity(signed.len() + OVERSIGNED.len());
    let mut hash = Context::new(&SHA256);
    let mut relaxed = Vec::new();
    let mut fields = signed.iter().peekable();
    for (place, name) in OVERSIGNED.iter().chain(&SIGNED).copied().enumerate() {
        while let Some((_, field)) = fields.next_if(|(of, _)| *of == place) {
            names.push(name);
            relaxed.clear();
            canonical::field(field, &mut relaxed);
            relaxed.extend_from_slice(b"\r\n");
            hash.update(&relaxed);
        }
        if place < OVERSIGNED.len() {
            names.push(name);
        }
    }
    Ok((names, hash))
}

/// Where fields of a name are signed, if they are.
fn place(name: &str) -> Option<usize> {
    OVERSIGNED
        .iter()
        .chain(&SIGNED)
        .position(|signed| signed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
