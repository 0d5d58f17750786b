//! The end that checks.
//!
//! ```text
//! Offer::start ──▶ Step ──▶ Challenge: send it, give the response to Exchange::step ──▶ Step …
//!                   ├─────▶ Password, Verifier, Token, Certificate: answer the question ──▶ Step …
//!                   ├─────▶ Done: this is who the client is
//!                   └─────▶ Failed: say 535, log the reason
//! ```
//!
//! Each step and each answer takes what it belongs to by value: nothing can be answered twice, and no
//! exchange goes on after its end. To give up (`*`, a database that does not answer) drop it.

mod questions;
#[cfg(test)]
mod tests;

pub use questions::{CertificateQuestion, PasswordQuestion, TokenQuestion, VerifierQuestion};

use crate::scram::server::{Binding, Challenged, Named};
use crate::{Channel, Failure, MAX_MESSAGE, Mechanism, Password, TlsExporter};
use crate::{bearer, external, login, plain, prepare_name, scram};

/// The mechanisms of one connection.
#[derive(Clone, Debug)]
pub struct Offer {
    mechanisms: Vec<Mechanism>,
    exporter: Option<TlsExporter>,
}

impl Offer {
    /// What of `allowed` this connection can do. Without TLS that is nothing (RFC 4954, section 4, asks it of
    /// PLAIN; here it holds for all); SCRAM-SHA-256-PLUS needs an exporter, EXTERNAL a certificate.
    pub fn new(allowed: &[Mechanism], channel: &Channel) -> Self {
        let works = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => channel.exporter().is_some(),
            Mechanism::External => channel.has_client_certificate(),
            _ => channel.is_encrypted(),
        };
        let known = Mechanism::ALL.into_iter();
        let mechanisms = known.filter(|m| allowed.contains(m)).filter(works).collect();
        Self {
            mechanisms,
            exporter: channel.exporter().cloned(),
        }
    }

    /// What to advertise, the strongest first; nothing of AUTH when it is empty.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// Begins an exchange. `initial` is the initial response, if there was one (`=` is an empty one).
    /// A mechanism that is not offered fails with [`Failure::NotOffered`].
    pub fn start(&self, mechanism: Mechanism, initial: Option<&[u8]>) -> Step {
        if !self.mechanisms.contains(&mechanism) {
            return Step::failed(Failure::NotOffered, None);
        }
        let state = match mechanism {
            Mechanism::ScramSha256Plus => match &self.exporter {
                Some(exporter) => State::Scram(Binding::Bound(exporter.clone())),
                None => return Step::failed(Failure::NotOffered, None),
            },
            Mechanism::ScramSha256 if self.mechanisms.contains(&Mechanism::ScramSha256Plus) => {
                State::Scram(Binding::Declined)
            }
            Mechanism::ScramSha256 => State::Scram(Binding::None),
            Mechanism::External => State::External,
            Mechanism::OAuthBearer => State::OAuthBearer,
            Mechanism::XOAuth2 => State::XOAuth2,
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginName,
        };
        match (initial, &state) {
            (Some(initial), _) => Exchange(state).step(initial),
            (None, State::LoginName) => Step::challenge(login::ASK_NAME, state),
            (None, _) => Step::challenge(b"", state),
        }
    }
}

/// What the caller has to do.
#[must_use = "an exchange that is dropped has failed"]
#[derive(Debug)]
pub enum Step {
    /// Send the challenge and give the client's response to [`Exchange::step`].
    Challenge {
        /// The octets to send, not yet base64. Often empty.
        challenge: Vec<u8>,
        /// What waits for the response.
        exchange: Exchange,
    },
    /// Is this the account's password?
    Password(PasswordQuestion),
    /// What is the account's SCRAM verifier?
    Verifier(VerifierQuestion),
    /// Whose token is this?
    Token(TokenQuestion),
    /// Whose certificate is it that the client showed?
    Certificate(CertificateQuestion),
    /// The client is this account. The caller may still refuse it (a locked account).
    Done {
        /// The account's name, prepared.
        account: String,
    },
    /// The client failed. It must not be told why.
    Failed {
        /// For the log.
        reason: Failure,
        /// The account that it wanted to be, as far as that is known.
        name: Option<String>,
    },
}

impl Step {
    fn challenge(challenge: impl Into<Vec<u8>>, state: State) -> Self {
        Self::Challenge {
            challenge: challenge.into(),
            exchange: Exchange(state),
        }
    }

    fn failed(reason: Failure, name: Option<String>) -> Self {
        Self::Failed { reason, name }
    }
}

/// An exchange that waits for the client.
#[derive(Debug)]
pub struct Exchange(State);

/// What the next message of the client is.
#[derive(Debug)]
enum State {
    Plain,
    LoginName,
    LoginPassword {
        name: String,
    },
    Scram(Binding),
    ScramProof(Box<Challenged>),
    /// Our signature is sent: the client's message is empty.
    ScramEnd {
        account: String,
    },
    External,
    OAuthBearer,
    XOAuth2,
    /// The client was told that its token is refused.
    TokenRefused {
        reason: Failure,
        name: Option<String>,
    },
}

impl Exchange {
    /// Takes the client's response.
    pub fn step(self, response: &[u8]) -> Step {
        if response.len() > MAX_MESSAGE {
            return Step::failed(Failure::TooLong, None);
        }
        match std::str::from_utf8(response) {
            Ok(message) => self
                .0
                .read(message)
                .unwrap_or_else(|reason| Step::failed(reason, None)),
            Err(_) => Step::failed(Failure::Malformed, None),
        }
    }
}

impl State {
    fn read(self, message: &str) -> Result<Step, Failure> {
        Ok(match self {
            Self::Plain => Step::Password(PasswordQuestion::new(plain::parse(message)?)),
            Self::LoginName => {
                let name = prepare_name(message)?;
                Step::challenge(login::ASK_PASSWORD, Self::LoginPassword { name })
            }
            Self::LoginPassword { name } => match Password::prepare(message) {
                Ok(password) => Step::Password(PasswordQuestion::new((name, password))),
                Err(reason) => Step::failed(reason, Some(name)),
            },
            Self::Scram(binding) => {
                let nonce = scram::nonce().ok_or(Failure::NoRandomness)?;
                Step::Verifier(VerifierQuestion(Named::new(message, &binding, &nonce)?))
            }
            Self::ScramProof(challenged) => read_proof(&challenged, message),
            Self::ScramEnd { account } if message.is_empty() => Step::Done { account },
            Self::ScramEnd { account } => Step::failed(Failure::Malformed, Some(account)),
            Self::External => Step::Certificate(CertificateQuestion(external::parse(message)?)),
            Self::OAuthBearer => Step::Token(TokenQuestion {
                claim: bearer::parse(message)?,
                refused: bearer::REFUSED,
            }),
            Self::XOAuth2 => Step::Token(TokenQuestion {
                claim: bearer::parse_xoauth2(message)?,
                refused: bearer::XOAUTH2_REFUSED,
            }),
            Self::TokenRefused { reason, name } => Step::failed(reason, name),
        })
    }
}

fn read_proof(challenged: &Challenged, message: &str) -> Step {
    let account = challenged.name().to_owned();
    match challenged.check(message) {
        Ok(server_final) => Step::challenge(server_final, State::ScramEnd { account }),
        Err(reason) => Step::failed(reason, Some(account)),
    }
}
