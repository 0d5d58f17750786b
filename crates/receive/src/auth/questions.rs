//! What an exchange asks: is this the password, whose token is this, whose certificate?

use super::hashing::Busy;
use super::{Authenticator, Halt, Turn};
use crate::rate_limit::key;
use smtp_directory::{Account, Identity, account_key};
use smtp_sasl::Step;
use smtp_sasl::server::{CertificateQuestion, PasswordQuestion, TokenQuestion};
use std::sync::Arc;

impl Authenticator {
    /// Locks are looked for again when its turn comes: many attempts may have begun before the first of them failed.
    pub(super) async fn password(&self, turn: &Turn<'_>, question: PasswordQuestion) -> Result<Step, Halt> {
        let attempt = self.attempt(turn, question.name());
        if self.guard.is_locked(&attempt, self.now()) {
            return Err(Halt::Locked);
        }
        let directory = self.directory.snapshot();
        let (guard, started) = (self.guard.clone(), self.started);
        let work = move || {
            if guard.is_locked(&attempt, started.elapsed()) {
                return None;
            }
            match directory.authenticate(question.name(), question.password()) {
                Some(_) => Some(question.accept()),
                None => Some(question.refuse()),
            }
        };
        let done = self.hashing.run(key(turn.client.peer.ip()), work).await;
        done.map_err(|Busy| Halt::Unavailable("too many passwords to check at once".into()))?
            .ok_or(Halt::Locked)
    }

    pub(super) async fn token(&self, turn: &mut Turn<'_>, question: TokenQuestion) -> Result<Step, Halt> {
        let Some(verifier) = self.tokens.load_full() else {
            return Err(Halt::Unavailable("tokens cannot be checked".into()));
        };
        let identity = match verifier.verify(question.token().expose()).await {
            Ok(identity) => Identity::OAuth(identity.name.into()),
            Err(error) if error.is_temporary() => return Err(Halt::Unavailable(error.to_string())),
            Err(error) => {
                turn.detail = Some(error.to_string().into());
                return Ok(question.refuse());
            }
        };
        Ok(match self.account_of(&identity) {
            Some(account) => {
                let name = spelling(&account, question.name());
                question.accept(&name)
            }
            None => {
                turn.detail = Some(no_account(&identity));
                question.refuse()
            }
        })
    }

    /// Of the names in the certificate the one that the client wants to be, or else the first that an account has.
    pub(super) fn certificate(&self, turn: &mut Turn<'_>, question: CertificateQuestion) -> Step {
        let names = turn.client.certificate.iter();
        let identities = names.filter_map(|name| format!("cert:{name}").parse().ok());
        let identities: Vec<Identity> = identities.collect();
        let wanted = question.name().map(account_key);
        let is_wanted = |account: &Arc<Account>| wanted.as_ref().is_none_or(|name| *account.name == **name);
        let mut accounts = identities.iter().filter_map(|identity| self.account_of(identity));
        match accounts.find(is_wanted) {
            Some(account) => {
                let name = spelling(&account, question.name());
                question.accept(&name)
            }
            None => {
                turn.detail = identities.first().map(no_account);
                question.refuse()
            }
        }
    }

    fn account_of(&self, identity: &Identity) -> Option<Arc<Account>> {
        let directory = self.directory.snapshot();
        let account = directory.account_by_identity(identity);
        account.filter(|account| account.enabled).cloned()
    }
}

/// An account's name as the client wrote it, if it named this one.
fn spelling(account: &Account, named: Option<&str>) -> String {
    let same = named.filter(|named| *account_key(named) == *account.name);
    same.unwrap_or(&account.name).to_owned()
}

fn no_account(identity: &Identity) -> Box<str> {
    format!("no account has the identity {identity}").into()
}
