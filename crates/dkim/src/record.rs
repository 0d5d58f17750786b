//! A published key record (RFC 6376 3.6.1), read and compared with a key.

use crate::key::{Algorithm, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::fmt;

/// Octets of an Ed25519 public key (RFC 8463 4).
const ED25519_KEY: usize = 32;

/// What DNS says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRecord {
    /// Key type (`k=`); `rsa` when the record does not say.
    pub key_type: String,
    /// Public key (`p=`); empty when the key is revoked.
    pub key: Vec<u8>,
    /// Whether signatures with SHA-256 are accepted (`h=`).
    pub allows_sha256: bool,
    /// Whether the key is for mail (`s=`).
    pub allows_email: bool,
    /// Whether the domain only tests DKIM (`t=y`): receivers may ignore what they find.
    pub testing: bool,
}

/// Why a TXT record is not a key record: receivers ignore it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a list of tags (RFC 6376 3.2).
    #[error("it is not a list of `tag=value` separated by `;`")]
    Syntax,
    /// A tag that is there twice.
    #[error("the tag `{0}=` is there twice")]
    Twice(String),
    /// `v=` is not `DKIM1`, or not the first tag.
    #[error("it has a `v=` that is not `DKIM1`, or that is not its first tag")]
    Version,
    /// No `p=`.
    #[error("it has no public key: `p=` is missing")]
    NoKey,
    /// `p=` is not Base64.
    #[error(
        "its public key, `p=`, is not valid Base64: it may have been cut short, or its strings joined with something between"
    )]
    Base64,
    /// An Ed25519 key of another length than 32 octets.
    #[error(
        "its public key, `p=`, is not the 32 octets of an Ed25519 key (RFC 8463 wants no DER around them)"
    )]
    KeyLength,
}

impl PublishedRecord {
    /// Reads the value of a TXT record, its strings joined with nothing between.
    ///
    /// # Errors
    /// What a receiver would ignore as malformed.
    pub fn parse(value: &str) -> Result<Self, RecordError> {
        let tags = tags(value)?;
        let get = |name| tags.get(name).copied();
        let key: String = get("p")
            .ok_or(RecordError::NoKey)?
            .split_ascii_whitespace()
            .collect();
        let key = STANDARD.decode(key).map_err(|_| RecordError::Base64)?;
        let key_type = get("k").unwrap_or("rsa");
        if key_type == Algorithm::Ed25519.name() && !key.is_empty() && key.len() != ED25519_KEY {
            return Err(RecordError::KeyLength);
        }
        Ok(PublishedRecord {
            key_type: key_type.to_owned(),
            key,
            allows_sha256: get("h").is_none_or(|list| lists(list, "sha256")),
            allows_email: get("s").is_none_or(|list| lists(list, "*") || lists(list, "email")),
            testing: get("t").is_some_and(|list| lists(list, "y")),
        })
    }

    /// What a receiver will make of signatures of `key`.
    pub fn compare(&self, key: &SigningKey) -> Verdict {
        if self.key.is_empty() {
            Verdict::Revoked
        } else if self.key_type != key.algorithm().name() {
            Verdict::WrongType {
                published: self.key_type.clone(),
                ours: key.algorithm(),
            }
        } else if !key.is_published_as(&self.key) {
            Verdict::OtherKey
        } else if !self.allows_sha256 {
            Verdict::HashNotAllowed
        } else if !self.allows_email {
            Verdict::NotForEmail
        } else if self.testing {
            Verdict::Testing
        } else {
            Verdict::Matches
        }
    }
}

/// How a published record and a key go together. `Display` says it to an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Receivers can verify our signatures.
    Matches,
    /// They can, but are told that the domain only tests.
    Testing,
    /// The record is of another key.
    OtherKey,
    /// The record revokes the key.
    Revoked,
    /// The record is of a key of another type.
    WrongType {
        /// `k=` of the record.
        published: String,
        /// The algorithm of our key.
        ours: Algorithm,
    },
    /// `h=` does not list SHA-256.
    HashNotAllowed,
    /// `s=` does not list mail.
    NotForEmail,
    /// The record cannot be read.
    Malformed(RecordError),
}

impl Verdict {
    /// Of the value of a TXT record, its strings joined.
    pub fn of(value: &str, key: &SigningKey) -> Self {
        match PublishedRecord::parse(value) {
            Ok(record) => record.compare(key),
            Err(error) => Verdict::Malformed(error),
        }
    }

    /// Whether signatures of the key verify.
    pub fn verifies(&self) -> bool {
        matches!(self, Verdict::Matches | Verdict::Testing)
    }
}

/// What all TXT records at a key's name come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// There is none.
    Absent,
    /// There is one.
    One(Verdict),
    /// There are several, and receivers may take any of them (RFC 6376 3.6.2.2).
    Several(usize),
}

impl Publication {
    /// Of the values of the records, the strings of each joined.
    pub fn of(records: &[String], key: &SigningKey) -> Self {
        match records {
            [] => Publication::Absent,
            [one] => Publication::One(Verdict::of(one, key)),
            several => Publication::Several(several.len()),
        }
    }

    /// Whether signatures of the key verify everywhere.
    pub fn verifies(&self) -> bool {
        matches!(self, Publication::One(verdict) if verdict.verifies())
    }
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Publication::Absent => f.write_str("no record is published: publish it"),
            Publication::One(verdict) => verdict.fmt(f),
            Publication::Several(count) => write!(
                f,
                "{count} records are published and receivers may take any of them: leave one"
            ),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Matches => f.write_str("the published key matches"),
            Verdict::Testing => f.write_str(
                "the published key matches, but its record has `t=y`: receivers may treat the mail as unsigned; remove the flag",
            ),
            Verdict::OtherKey => f.write_str(
                "the record publishes another key: signatures do not verify; publish this key, or use another selector",
            ),
            Verdict::Revoked => f.write_str(
                "the record revokes the key (`p=` is empty): signatures do not verify; sign with a new key under a new selector",
            ),
            Verdict::WrongType { published, ours } => write!(
                f,
                "the record says `k={}`, but the key is `{ours}`: signatures do not verify",
                published.escape_default()
            ),
            Verdict::HashNotAllowed => {
                f.write_str("the record's `h=` does not allow `sha256`: signatures do not verify; remove the tag")
            }
            Verdict::NotForEmail => {
                f.write_str("the record's `s=` does not allow `email`: signatures do not verify; remove the tag")
            }
            Verdict::Malformed(error) => write!(f, "the record is not valid: {error}"),
        }
    }
}

/// Reads a tag list (RFC 6376 3.2).
fn tags(value: &str) -> Result<HashMap<&str, &str>, RecordError> {
    let mut tags = HashMap::new();
    let specs = trim(value);
    let specs = specs.strip_suffix(';').unwrap_or(specs);
    for (index, spec) in specs.split(';').enumerate() {
        let (name, value) = spec.split_once('=').ok_or(RecordError::Syntax)?;
        let (name, value) = (trim(name), trim(value));
        if !name.starts_with(|c: char| c.is_ascii_alphabetic())
            || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        {
            return Err(RecordError::Syntax);
        }
        if name == "v" && (index > 0 || value != "DKIM1") {
            return Err(RecordError::Version);
        }
        if tags.insert(name, value).is_some() {
            return Err(RecordError::Twice(name.to_owned()));
        }
    }
    Ok(tags)
}

/// Whether a list separated by colons has `wanted`.
fn lists(list: &str, wanted: &str) -> bool {
    list.split(':').any(|item| trim(item) == wanted)
}

/// Folding white space is allowed around names, values and items.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

#[cfg(test)]
mod tests;
