//! The directory at one moment: immutable, in memory, shared. A lookup costs a hash probe.

mod build;
mod check;
mod listing;
mod resolve;

pub(crate) use check::path_back;
pub use resolve::{Resolution, Trouble};

use crate::credential::Credential;
use crate::map::Map;
use crate::name::{account_key, domain_key};
use crate::objects::{Account, Alias, DkimKey, Domain};
use crate::senders::Identity;
use crate::shelf::Kind;
use jiff::Timestamp;
use smtp::Address;
use smtp_sasl::{Password, ScramVerifier};
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that the directory knows, declared and stored.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) domains: Map<Domain>,
    pub(crate) accounts: Map<Account>,
    /// From an identity's text to the account's name.
    pub(crate) identities: Map<Box<str>>,
    pub(crate) aliases: Map<Alias>,
    /// By domain.
    pub(crate) keys: Map<Vec<Arc<DkimKey>>>,
    /// Records that cannot be read, with the reason.
    pub(crate) unreadable: Arc<HashMap<(Kind, String), String>>,
    pub(crate) separator: Arc<str>,
    /// The key of our own name.
    pub(crate) hostname: Box<str>,
    /// Who gets mail for the role addresses: `server.postmaster`, or else the first declared account that is an address.
    pub(crate) postmaster: Option<Address>,
    /// Who gets mail for postmaster of our own name, when that is no local domain.
    pub(crate) host_postmaster: Option<Address>,
    /// Of the declared ones.
    pub(crate) first_domain: Option<Box<str>>,
    pub(crate) secrets: Arc<Secrets>,
}

/// What stands for accounts that are not there.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// Of the same cost as a real one.
    pub(crate) decoy: Credential,
    /// Salts of SCRAM for names that nobody has are derived from it.
    pub(crate) scram: [u8; 32],
}

impl Snapshot {
    /// How often what is stored was changed. Grows.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A local domain, by any spelling of its name.
    pub fn domain(&self, name: &str) -> Option<&Arc<Domain>> {
        self.domains.get(&domain_key(name)?)
    }

    /// An account, by any spelling of its name; disabled ones too.
    pub fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(&account_key(name))
    }

    /// The account that a token or a certificate means: the one that lists the identity, or else the one of that name. Disabled ones too.
    pub fn account_by_identity(&self, identity: &Identity) -> Option<&Arc<Account>> {
        match self.identities.get(&identity.to_string()) {
            Some(name) => self.accounts.get(name),
            None => self.account(identity.name()),
        }
    }

    /// The account that logs in with this name and password. `None` when there is none, when the password is wrong, and when the
    /// account is disabled: all after the same work, the hashing of one password. Blocking.
    pub fn authenticate(&self, name: &str, password: &Password) -> Option<Arc<Account>> {
        let account = self.account(name);
        let credential = account.and_then(|account| account.credential_for(password));
        let right = credential.unwrap_or(&self.secrets.decoy).verify(password);
        account
            .filter(|account| right && credential.is_some() && account.enabled)
            .cloned()
    }

    /// What SCRAM checks the proof of `name` against. For a name that nobody has, a disabled one, or one without a verifier it is one that no
    /// proof fits and that cannot be told from a real one.
    pub fn scram(&self, name: &str) -> ScramVerifier {
        // Derived in any case, so that the answer takes the same time.
        let decoy = ScramVerifier::decoy(&self.secrets.scram, &account_key(name));
        let account = self.account(name).filter(|account| account.enabled);
        account
            .and_then(|account| account.scram())
            .cloned()
            .unwrap_or(decoy)
    }

    /// Whether an account may use `address` in MAIL or `From:`: its own, with or without a subaddress, or what its patterns allow.
    pub fn may_send_as(&self, account: &Account, address: &Address) -> bool {
        account.may_send_as(address, &self.separator)
    }

    /// Whether any domain has a key.
    pub fn has_keys(&self) -> bool {
        self.keys.len() > 0
    }

    /// Who signs mail from `domain` at `now`: of the nearest domain at or above it that has keys, the newest key of each
    /// algorithm that signs. Empty when there is none.
    pub fn signing_keys(&self, domain: &str, now: Timestamp) -> Vec<Arc<smtp_dkim::Identity>> {
        let Some(key) = domain_key(domain) else {
            return Vec::new();
        };
        let keys = ancestors(&key).find_map(|name| self.keys.get(name));
        let mut signing: Vec<&Arc<DkimKey>> = Vec::new();
        for key in keys
            .into_iter()
            .flat_map(|keys| keys.iter())
            .filter(|key| key.signs(now))
        {
            let algorithm = key.identity.key().algorithm();
            match signing
                .iter_mut()
                .find(|other| other.identity.key().algorithm() == algorithm)
            {
                None => signing.push(key),
                Some(other) if other.sign_from < key.sign_from => *other = key,
                Some(_) => {}
            }
        }
        signing.into_iter().map(|key| Arc::clone(&key.identity)).collect()
    }
}

/// A domain, and those above it.
fn ancestors(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| name.split_once('.').map(|(_, above)| above))
}
