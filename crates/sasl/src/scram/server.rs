//! The end that checks.

use super::keys::{self, Octets};
use super::message::{self, ClientFinal, ClientFirst};
use super::verifier::ScramVerifier;
use crate::gs2::Flag;
use crate::{Failure, TlsExporter};

/// What this connection offers of channel binding.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// None.
    None,
    /// SCRAM-SHA-256-PLUS is offered, but the client chose the other: it must have wanted to.
    Declined,
    /// The client chose SCRAM-SHA-256-PLUS.
    Bound(TlsExporter),
}

impl Binding {
    /// Whether the client's first message goes with the mechanism it chose (RFC 5802, section 6).
    fn admits(&self, flag: Flag<'_>) -> Result<(), Failure> {
        match (self, flag) {
            (Self::None, Flag::No | Flag::NotOffered) | (Self::Declined, Flag::No) => Ok(()),
            (Self::Bound(_), Flag::Bound(TlsExporter::NAME)) => Ok(()),
            (Self::Declined | Self::Bound(_), Flag::NotOffered) => Err(Failure::Downgrade),
            (_, Flag::Bound(_)) | (Self::Bound(_), Flag::No) => Err(Failure::UnsupportedBinding),
        }
    }

    fn octets(&self) -> &[u8] {
        match self {
            Self::None | Self::Declined => b"",
            Self::Bound(TlsExporter(octets)) => octets,
        }
    }
}

/// The client named itself; its verifier is wanted.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    client_first_bare: String,
    /// What `c=` must hold.
    binding: Vec<u8>,
    nonce: String,
}

impl Named {
    /// Reads the client's first message; `nonce` is our half of the nonce.
    pub(crate) fn new(message: &str, binding: &Binding, nonce: &str) -> Result<Self, Failure> {
        let first = ClientFirst::parse(message)?;
        binding.admits(first.flag)?;
        Ok(Self {
            client_first_bare: first.bare.to_owned(),
            binding: [first.header.as_bytes(), binding.octets()].concat(),
            nonce: [first.nonce, nonce].concat(),
            name: first.name,
        })
    }

    /// Our first message, and what waits for its answer.
    pub(crate) fn challenge(self, verifier: ScramVerifier) -> (String, Challenged) {
        let server_first = message::server_first(&self.nonce, &verifier.salt, verifier.iterations);
        let challenged = Challenged {
            named: self,
            verifier,
            server_first: server_first.clone(),
        };
        (server_first, challenged)
    }
}

/// The client has salt and nonce; its proof is wanted.
#[derive(Debug)]
pub(crate) struct Challenged {
    named: Named,
    verifier: ScramVerifier,
    server_first: String,
}

impl Challenged {
    pub(crate) fn name(&self) -> &str {
        &self.named.name
    }

    /// Checks the proof; gives our last message, which proves that we know the verifier.
    pub(crate) fn check(&self, message: &str) -> Result<String, Failure> {
        let last = ClientFinal::parse(message)?;
        if last.nonce != self.named.nonce {
            return Err(Failure::WrongNonce);
        }
        if last.binding != self.named.binding {
            return Err(Failure::WrongBinding);
        }
        let signed = message::signed(&self.named.client_first_bare, &self.server_first, last.unproven);
        match self.is_proof(&last.proof, &signed) {
            true => Ok(message::server_final(&keys::hmac(
                &self.verifier.server_key,
                signed.as_bytes(),
            ))),
            false => Err(Failure::WrongCredentials),
        }
    }

    /// A proof is the client's key, hidden by a signature that only the stored key can make.
    fn is_proof(&self, proof: &Octets, signed: &str) -> bool {
        let signature = keys::hmac(&self.verifier.stored_key, signed.as_bytes());
        let client_key = keys::xor(proof, &signature);
        keys::same(&keys::hash(&client_key), &self.verifier.stored_key)
    }
}
