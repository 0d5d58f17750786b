//! What only the caller can answer. Each answer takes its question.

use super::{State, Step};
use crate::bearer::Claim;
use crate::prepare::same_identity;
use crate::scram::server::Named;
use crate::{Failure, Password, ScramVerifier, Secret};
use std::fmt;

/// Is this the account's password?
#[derive(Debug)]
pub struct PasswordQuestion {
    name: String,
    password: Password,
}

impl PasswordQuestion {
    pub(super) fn new((name, password): (String, Password)) -> Self {
        Self { name, password }
    }

    /// The account's name, prepared.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The password that the client sent.
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// It is. An account without a name like that has no password: refuse, and take the same time for it.
    pub fn accept(self) -> Step {
        Step::Done { account: self.name }
    }

    /// It is not.
    pub fn refuse(self) -> Step {
        Step::failed(Failure::WrongCredentials, Some(self.name))
    }
}

/// What is the account's SCRAM verifier?
#[derive(Debug)]
pub struct VerifierQuestion(pub(super) Named);

impl VerifierQuestion {
    /// The account's name, prepared.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// This is the verifier: the account's own, or [`ScramVerifier::decoy`] when there is none.
    pub fn answer(self, verifier: ScramVerifier) -> Step {
        let (challenge, challenged) = self.0.challenge(verifier);
        Step::challenge(challenge, State::ScramProof(Box::new(challenged)))
    }
}

/// Whose token is this?
pub struct TokenQuestion {
    pub(super) claim: Claim,
    pub(super) refused: &'static [u8],
}

impl TokenQuestion {
    /// The account that the client names beside the token, prepared. Nothing proves it but the token.
    pub fn name(&self) -> Option<&str> {
        self.claim.name.as_deref()
    }

    /// The token.
    pub fn token(&self) -> &Secret {
        &self.claim.token
    }

    /// It is this account's. Fails when the client named another.
    pub fn accept(self, account: &str) -> Step {
        match same_identity(account, self.name()) {
            Ok(()) => Step::Done {
                account: account.to_owned(),
            },
            Err(reason) => self.fail(reason),
        }
    }

    /// It is nobody's.
    pub fn refuse(self) -> Step {
        self.fail(Failure::WrongCredentials)
    }

    fn fail(self, reason: Failure) -> Step {
        let state = State::TokenRefused {
            reason,
            name: self.claim.name,
        };
        Step::challenge(self.refused, state)
    }
}

impl fmt::Debug for TokenQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenQuestion")
            .field("name", &self.claim.name)
            .finish_non_exhaustive()
    }
}

/// Whose certificate is it that the client showed?
#[derive(Debug)]
pub struct CertificateQuestion(pub(super) Option<String>);

impl CertificateQuestion {
    /// The account that the client wants to be, prepared; `None`: whichever the certificate names.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// It is this account's. Fails when the client named another.
    pub fn accept(self, account: &str) -> Step {
        match same_identity(account, self.name()) {
            Ok(()) => Step::Done {
                account: account.to_owned(),
            },
            Err(reason) => Step::failed(reason, self.0),
        }
    }

    /// It is nobody's.
    pub fn refuse(self) -> Step {
        Step::failed(Failure::WrongCredentials, self.0)
    }
}
