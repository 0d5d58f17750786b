//! The end that proves: for next hops that want to know who we are.
//!
//! [`Client::choose`] picks the mechanism; [`Client::initial`] is what goes beside its name; each challenge
//! goes to [`Client::respond`]; when the server says that it is done, [`Client::succeeded`] says whether it
//! has shown what it owes us. Calls in another order are errors.

#[cfg(test)]
mod tests;

use crate::scram::client::{Binding, First, Signature};
use crate::{Channel, Failure, MAX_MESSAGE, Mechanism, Secret, bearer, plain, scram};
use std::fmt;
use std::ops::Deref;
use zeroize::Zeroizing;

/// Octets to send, not yet base64. They hold secrets: `Debug` does not show them, and they are zeroed.
#[derive(PartialEq, Eq)]
pub struct Message(Zeroizing<Vec<u8>>);

impl Message {
    fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message(…)")
    }
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// For SCRAM, PLAIN and LOGIN.
    Password {
        /// The account's name.
        name: String,
        /// Its password.
        password: Secret,
    },
    /// For XOAUTH2.
    Token {
        /// The account's name.
        name: String,
        /// A bearer token.
        token: Secret,
    },
}

/// An exchange with a server.
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
    state: State,
}

#[derive(Debug)]
enum State {
    /// One message, and all is said.
    Whole(Message),
    LoginName {
        name: String,
        password: Secret,
    },
    LoginPassword {
        password: Secret,
    },
    ScramFirst(First),
    ScramProof(First),
    ScramSignature(Signature),
    /// All is said; the server has the word.
    Said,
    /// A refused token: the server explains, we say nothing, it fails.
    Failed,
}

impl Client {
    /// Picks the strongest of the mechanisms that the server offered and these credentials serve for.
    /// PLAIN, LOGIN and XOAUTH2 show the secret, and are never used without TLS.
    ///
    /// # Errors
    /// [`ClientFailure::NoMechanism`], [`ClientFailure::NeedsTls`], [`ClientFailure::Credentials`],
    /// [`ClientFailure::NoRandomness`].
    pub fn choose(
        offered: &[Mechanism],
        credentials: &Credentials,
        channel: &Channel,
    ) -> Result<Self, ClientFailure> {
        let serving: &[Mechanism] = match credentials {
            Credentials::Password { .. } if channel.exporter().is_some() => &[
                Mechanism::ScramSha256Plus,
                Mechanism::ScramSha256,
                Mechanism::Plain,
                Mechanism::Login,
            ],
            Credentials::Password { .. } => &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login],
            Credentials::Token { .. } => &[Mechanism::XOAuth2],
        };
        let chosen = serving.iter().find(|mechanism| offered.contains(mechanism));
        let mechanism = *chosen.ok_or(ClientFailure::NoMechanism)?;
        if !channel.is_encrypted() && mechanism != Mechanism::ScramSha256 {
            return Err(ClientFailure::NeedsTls);
        }
        let state = State::of(mechanism, credentials, channel)?;
        Ok(Self { mechanism, state })
    }

    /// The mechanism that was picked.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The initial response; LOGIN has none. It may be kept back (a line that would be too long): then it is
    /// what [`Client::respond`] gives to the server's empty challenge.
    pub fn initial(&mut self) -> Option<Message> {
        match self.state {
            State::Whole(_) | State::ScramFirst(_) => self.respond(b"").ok(),
            _ => None,
        }
    }

    /// The response to a challenge. For SCRAM it computes the iterations that the server names, up to
    /// [`crate::MAX_ITERATIONS`]: up to a third of a second, not for a thread that others wait for.
    ///
    /// # Errors
    /// What is wrong with the challenge. The exchange is over then; cancel it with `*`.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Message, ClientFailure> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        let challenge = match std::str::from_utf8(challenge) {
            Ok(text) if challenge.len() <= MAX_MESSAGE => text,
            _ => return Err(ClientFailure::Malformed),
        };
        let (message, next) = state.respond(challenge)?;
        self.state = next;
        Ok(message)
    }

    /// The server says that we are who we are.
    ///
    /// # Errors
    /// [`ClientFailure::Unproven`] when it did not prove that it knows our password although SCRAM asks
    /// for it, or said so too early.
    pub fn succeeded(&self) -> Result<(), ClientFailure> {
        match self.state {
            State::Said => Ok(()),
            _ => Err(ClientFailure::Unproven),
        }
    }
}

impl State {
    fn of(mechanism: Mechanism, credentials: &Credentials, channel: &Channel) -> Result<Self, ClientFailure> {
        let (name, secret) = match credentials {
            Credentials::Password { name, password } => (name, password),
            Credentials::Token { name, token } => {
                return Ok(Self::Whole(Message(bearer::xoauth2_message(
                    name,
                    token.expose(),
                ))));
            }
        };
        let binding = match (mechanism, channel.exporter()) {
            (Mechanism::Plain, _) => return Ok(Self::Whole(Message(plain::message(name, secret.expose())))),
            (Mechanism::Login, _) => {
                return Ok(Self::LoginName {
                    name: name.clone(),
                    password: secret.clone(),
                });
            }
            (_, None) => Binding::Unable,
            (Mechanism::ScramSha256Plus, Some(exporter)) => Binding::Bound(exporter.clone()),
            (_, Some(_)) => Binding::NotOffered,
        };
        let nonce = scram::nonce().ok_or(ClientFailure::NoRandomness)?;
        Ok(Self::ScramFirst(First::new(
            binding,
            name,
            secret.expose(),
            nonce,
        )?))
    }

    fn respond(self, challenge: &str) -> Result<(Message, Self), ClientFailure> {
        Ok(match self {
            Self::Whole(whole) if challenge.is_empty() => (whole, Self::Said),
            Self::ScramFirst(first) if challenge.is_empty() => {
                (Message::new(&first.message()), Self::ScramProof(first))
            }
            Self::LoginName { name, password } => (Message::new(&name), Self::LoginPassword { password }),
            Self::LoginPassword { password } => (Message::new(password.expose()), Self::Said),
            Self::ScramProof(first) => {
                let (proof, signature) = first.prove(challenge)?;
                (Message::new(&proof), Self::ScramSignature(signature))
            }
            Self::ScramSignature(signature) => {
                signature.check(challenge)?;
                (Message::new(""), Self::Said)
            }
            Self::Said => (Message::new(""), Self::Failed),
            Self::Whole(_) | Self::ScramFirst(_) | Self::Failed => return Err(ClientFailure::Malformed),
        })
    }
}

/// Why we could not prove who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientFailure {
    /// The server offers none that these credentials serve for.
    #[error(
        "the server offers no mechanism that these credentials serve for (SCRAM-SHA-256, PLAIN, LOGIN for a password, XOAUTH2 for a token)"
    )]
    NoMechanism,
    /// Only mechanisms that show the secret are offered, and the connection is not encrypted.
    #[error("the server offers only mechanisms that show the secret, and the connection has no TLS")]
    NeedsTls,
    /// Our name or password can not be used with SCRAM.
    #[error("our own name or password can not be used: {0}")]
    Credentials(#[from] Failure),
    /// A challenge does not follow the mechanism's grammar.
    #[error("the server's challenge does not follow the mechanism's grammar")]
    Malformed,
    /// The server's nonce does not begin with ours.
    #[error("the server's nonce does not go with ours")]
    WrongNonce,
    /// Too few iterations to protect the password, or too many to compute.
    #[error("the server asks for too few or too many iterations")]
    Iterations,
    /// The server says that our proof is wrong.
    #[error("the server refused our proof: the password is wrong")]
    Refused,
    /// The server does not know our password.
    #[error("the server's signature is wrong: it does not know our password, and may be another server")]
    WrongSignature,
    /// The server said that all is well before it was.
    #[error("the server reported success without the proof that it knows our password")]
    Unproven,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}
