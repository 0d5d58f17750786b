//! The four messages (RFC 5802, section 7), read and written.

use super::keys::Octets;
use super::verifier::key;
use crate::Failure;
use crate::gs2::{Flag, Gs2, escape, unescape};
use crate::prepare::{prepare_name, same_identity};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest nonce of a peer, in octets.
const MAX_NONCE: usize = 256;

/// The client's first message.
#[derive(Debug)]
pub(super) struct ClientFirst<'a> {
    pub(super) flag: Flag<'a>,
    /// `gs2-header`: returns within `c=`.
    pub(super) header: &'a str,
    /// `client-first-message-bare`: the first part of what is signed.
    pub(super) bare: &'a str,
    pub(super) name: String,
    pub(super) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a str) -> Result<Self, Failure> {
        let Gs2 {
            flag,
            authorization,
            header,
            rest: bare,
        } = Gs2::parse(message)?;
        let mut attributes = bare.split(',');
        let name = match attributes.next() {
            Some(first) if first.starts_with("m=") => return Err(Failure::UnknownExtension),
            first => value(first, "n=")?,
        };
        let nonce = nonce(attributes.next(), "r=")?;
        extensions(attributes)?;
        let name = prepare_name(&unescape(name)?)?;
        same_identity(&name, authorization.as_deref())?;
        Ok(Self {
            flag,
            header,
            bare,
            name,
            nonce,
        })
    }
}

/// `client-first-message-bare`.
pub(super) fn client_first_bare(name: &str, nonce: &str) -> String {
    format!("n={},r={nonce}", escape(name))
}

/// The server's first message.
pub(super) fn server_first(nonce: &str, salt: &[u8], iterations: u32) -> String {
    format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt))
}

/// The server's first message, as the client reads it.
#[derive(Debug)]
pub(super) struct ServerFirst<'a> {
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(message: &'a str) -> Result<Self, Failure> {
        let mut attributes = message.split(',');
        let nonce = nonce(attributes.next(), "r=")?;
        let salt = STANDARD
            .decode(value(attributes.next(), "s=")?)
            .map_err(|_| Failure::Malformed)?;
        let iterations = value(attributes.next(), "i=")?
            .parse()
            .map_err(|_| Failure::Malformed)?;
        extensions(attributes)?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

/// The client's last message.
#[derive(Debug)]
pub(super) struct ClientFinal<'a> {
    /// What `c=` holds: the header again, and the channel's binding.
    pub(super) binding: Vec<u8>,
    pub(super) nonce: &'a str,
    pub(super) proof: Octets,
    /// `client-final-message-without-proof`: the last part of what is signed.
    pub(super) unproven: &'a str,
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a str) -> Result<Self, Failure> {
        let (unproven, proof) = message.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let mut attributes = unproven.split(',');
        let binding = STANDARD
            .decode(value(attributes.next(), "c=")?)
            .map_err(|_| Failure::Malformed)?;
        let nonce = nonce(attributes.next(), "r=")?;
        extensions(attributes)?;
        let proof = key(proof).ok_or(Failure::Malformed)?;
        Ok(Self {
            binding,
            nonce,
            proof,
            unproven,
        })
    }
}

/// `client-final-message-without-proof`.
pub(super) fn client_final_unproven(binding: &[u8], nonce: &str) -> String {
    format!("c={},r={nonce}", STANDARD.encode(binding))
}

/// The client's last message.
pub(super) fn client_final(unproven: &str, proof: &Octets) -> String {
    format!("{unproven},p={}", STANDARD.encode(proof))
}

/// What client and server sign.
pub(super) fn signed(client_first_bare: &str, server_first: &str, unproven: &str) -> String {
    [client_first_bare, server_first, unproven].join(",")
}

/// The server's last message.
pub(super) fn server_final(signature: &Octets) -> String {
    format!("v={}", STANDARD.encode(signature))
}

fn value<'a>(attribute: Option<&'a str>, name: &str) -> Result<&'a str, Failure> {
    attribute
        .and_then(|attribute| attribute.strip_prefix(name))
        .filter(|value| !value.is_empty())
        .ok_or(Failure::Malformed)
}

/// A nonce is printable ASCII.
fn nonce<'a>(attribute: Option<&'a str>, name: &str) -> Result<&'a str, Failure> {
    let nonce = value(attribute, name)?;
    match nonce.bytes().all(|b| b.is_ascii_graphic()) {
        false => Err(Failure::Malformed),
        true if nonce.len() > MAX_NONCE => Err(Failure::TooLong),
        true => Ok(nonce),
    }
}

/// Optional extensions are read over; `m=`, which is not optional, comes first or not at all.
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let is_extension = |text: &str| {
        let mut octets = text.bytes();
        octets.next().is_some_and(|b| b.is_ascii_alphabetic())
            && octets.next() == Some(b'=')
            && !text.contains('\0')
    };
    match attributes.all(is_extension) {
        true => Ok(()),
        false => Err(Failure::Malformed),
    }
}
