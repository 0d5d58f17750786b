//! The end that proves.

use super::keys::{self, Octets};
use super::message::{self, ServerFirst};
use super::verifier::{checked, is_salt, key};
use crate::{ClientFailure, Failure, Password, TlsExporter, prepare_name};

/// What the client says of channel binding.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// It can not bind.
    Unable,
    /// It could, but the server does not offer it: a server that does will notice.
    NotOffered,
    /// It binds.
    Bound(TlsExporter),
}

impl Binding {
    fn header(&self) -> String {
        match self {
            Self::Unable => "n,,".to_owned(),
            Self::NotOffered => "y,,".to_owned(),
            Self::Bound(_) => format!("p={},,", TlsExporter::NAME),
        }
    }

    fn octets(&self) -> &[u8] {
        match self {
            Self::Unable | Self::NotOffered => b"",
            Self::Bound(TlsExporter(octets)) => octets,
        }
    }
}

/// The first message; the server's is wanted.
#[derive(Debug)]
pub(crate) struct First {
    binding: Binding,
    nonce: String,
    bare: String,
    password: Password,
}

impl First {
    /// `nonce` is our half of the nonce.
    pub(crate) fn new(binding: Binding, name: &str, password: &str, nonce: String) -> Result<Self, Failure> {
        let bare = message::client_first_bare(&prepare_name(name)?, &nonce);
        Ok(Self {
            binding,
            nonce,
            bare,
            password: Password::prepare(password)?,
        })
    }

    /// The first message.
    pub(crate) fn message(&self) -> String {
        self.binding.header() + &self.bare
    }

    /// The last message, and the signature that the server has to show for it. The dear step: it computes
    /// the iterations that the server names, up to [`crate::MAX_ITERATIONS`].
    pub(crate) fn prove(&self, server_first: &str) -> Result<(String, Signature), ClientFailure> {
        let first = ServerFirst::parse(server_first).map_err(|_| ClientFailure::Malformed)?;
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(ClientFailure::WrongNonce);
        }
        let iterations = checked(first.iterations).map_err(|_| ClientFailure::Iterations)?;
        if !is_salt(&first.salt) {
            return Err(ClientFailure::Malformed);
        }
        let binding = [self.binding.header().as_bytes(), self.binding.octets()].concat();
        let unproven = message::client_final_unproven(&binding, first.nonce);
        let signed = message::signed(&self.bare, server_first, &unproven);
        let salted = keys::salted_password(self.password.as_bytes(), &first.salt, iterations);
        let client_key = keys::client_key(&salted);
        let stored_key = keys::hash(&*client_key);
        let proof = keys::xor(&client_key, &keys::hmac(&stored_key, signed.as_bytes()));
        let expected = keys::hmac(&keys::server_key(&salted), signed.as_bytes());
        Ok((message::client_final(&unproven, &proof), Signature(expected)))
    }
}

/// What the server's last message must hold.
#[derive(Debug)]
pub(crate) struct Signature(Octets);

impl Signature {
    pub(crate) fn check(&self, server_final: &str) -> Result<(), ClientFailure> {
        let shown = match server_final.split_once('=') {
            Some(("v", rest)) => rest.split(',').next().and_then(key),
            Some(("e", _)) => return Err(ClientFailure::Refused),
            _ => None,
        };
        let shown = shown.ok_or(ClientFailure::Malformed)?;
        match keys::same(&shown, &self.0) {
            true => Ok(()),
            false => Err(ClientFailure::WrongSignature),
        }
    }
}
