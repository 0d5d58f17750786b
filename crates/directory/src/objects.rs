//! What the directory holds: domains, accounts, aliases, DKIM keys.
//!
//! Every object is named by its key (see `name`): lower case, domains as A-labels. A declared object knows where in the
//! configuration it stands; it cannot be changed at run time.

use crate::credential::{AppPassword, Credential};
use crate::name::{address_key, domain_key, without_subaddress};
use crate::senders::{Identity, SenderPattern};
use jiff::Timestamp;
use smtp::Address;
use smtp_config::{LocalDelivery, Quota, Recipients};
use smtp_sasl::{Password, ScramVerifier};
use std::sync::Arc;

/// Where an object stands in the configuration (`accounts[2]`); `None` when it is kept in the database.
pub type Declared = Option<Box<str>>;

/// A local domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name: an A-label, lower case.
    pub name: Box<str>,
    /// Where its mail goes.
    pub deliver: LocalDelivery,
    /// Which of its addresses exist.
    pub recipients: Recipients,
    /// Where it is declared.
    pub declared: Declared,
}

/// Who may send. One named like an address of a local domain is a mailbox too.
#[derive(Clone, Debug)]
pub struct Account {
    /// What it logs in as, in lower case.
    pub name: Box<str>,
    /// A disabled account cannot log in. Its mailbox still takes mail.
    pub enabled: bool,
    /// When it was made; `None` for a declared one.
    pub created: Option<Timestamp>,
    /// Whom it may send as, beside its own address.
    pub senders: Vec<SenderPattern>,
    /// By what tokens and certificates mean it.
    pub identities: Vec<Identity>,
    /// How much it may send.
    pub quotas: Vec<Quota>,
    /// What a person logs in with.
    pub(crate) password: Option<Credential>,
    /// What programs log in with.
    pub(crate) apps: Vec<AppPassword>,
    /// Where it is declared.
    pub declared: Declared,
}

impl Account {
    /// Whether it has a password of its own.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The secrets of its programs, in the order in which they were made.
    pub fn app_passwords(&self) -> &[AppPassword] {
        &self.apps
    }

    /// What SCRAM checks a proof against: that of its password, or else of its oldest secret for programs. The exchange allows
    /// one only, so programs use the others with PLAIN.
    pub(crate) fn scram(&self) -> Option<&ScramVerifier> {
        match &self.password {
            Some(password) => password.scram(),
            None => self.apps.first().and_then(|app| app.credential.scram()),
        }
    }

    /// The one credential that `password` is to be checked against.
    pub(crate) fn credential_for(&self, password: &Password) -> Option<&Credential> {
        let app = self.apps.iter().find(|app| app.is_named_by(password));
        app.map(|app| &app.credential).or(self.password.as_ref())
    }

    /// Whether it may send as `address`: its own, with or without a subaddress, or one of its patterns.
    pub(crate) fn may_send_as(&self, address: &Address, separator: &str) -> bool {
        let (Some(key), Some(domain)) = (address_key(address), domain_key(address.domain())) else {
            return self.senders.contains(&SenderPattern::Any);
        };
        let local = key.strip_suffix(&*domain).and_then(|key| key.strip_suffix('@'));
        let own = self
            .name
            .strip_suffix(&*domain)
            .and_then(|name| name.strip_suffix('@'));
        let is_own = own.is_some_and(|own| {
            local.is_some_and(|local| {
                local == own || without_subaddress(local, separator).as_deref() == Some(own)
            })
        });
        is_own || self.senders.iter().any(|pattern| pattern.matches(&key, &domain))
    }
}

/// An address whose mail goes to others.
#[derive(Clone, Debug)]
pub struct Alias {
    /// `sales@example.com`, or `@example.com` for every address of the domain that nothing else knows.
    pub name: Box<str>,
    /// To whom: local or not, other aliases too. One that names itself means the mailbox of the same name.
    pub targets: Vec<Address>,
    /// Where it is declared.
    pub declared: Declared,
}

/// A DKIM key, and when it signs.
///
/// Its record is to be published from when the key is made until it is removed; it signs in between. A rotation is a new
/// key that signs from a time at which its record is known everywhere, and the old one retired at that time.
#[derive(Clone, Debug)]
pub struct DkimKey {
    /// Domain, selector and the key itself.
    pub identity: Arc<smtp_dkim::Identity>,
    /// When it was made; `None` for a declared one.
    pub created: Option<Timestamp>,
    /// From when it signs.
    pub sign_from: Timestamp,
    /// Until when.
    pub sign_until: Option<Timestamp>,
    /// Where it is declared.
    pub declared: Declared,
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Its record is to be published; it does not sign yet.
    Published,
    /// It signs.
    Active,
    /// It signs until a time that is set.
    Retiring,
    /// It signs no more. Its record stays until mail that it signed has arrived; then it can be removed.
    Retired,
}

impl DkimKey {
    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> KeyState {
        match self.sign_until {
            Some(until) if until <= now => KeyState::Retired,
            _ if self.sign_from > now => KeyState::Published,
            Some(_) => KeyState::Retiring,
            None => KeyState::Active,
        }
    }

    /// Whether it signs at `now`.
    pub(crate) fn signs(&self, now: Timestamp) -> bool {
        matches!(self.state(now), KeyState::Active | KeyState::Retiring)
    }
}
