//! Changes that can be made at run time. Each is checked against the directory as it is, and made whole or not at all.

mod accounts;
mod aliases;
mod checks;
mod domains;
mod keys;
mod material;

use crate::error::DirectoryError;
use crate::name::{account_key, alias_key, domain_key};
use crate::record::{ObjectEdit, key_name};
use crate::senders::{Identity, SenderPattern};
use crate::shelf::Kind;
use crate::snapshot::Snapshot;
use checks::{existing, free, removable};
use jiff::Timestamp;
use material::Material;
use smtp::Address;
use smtp_config::{LocalDelivery, Quota, Recipients};
use smtp_dkim::Algorithm;
use smtp_sasl::Secret;

/// A change. Names are taken in any spelling.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes a domain local.
    AddDomain {
        /// The domain.
        name: String,
        /// Where its mail goes.
        deliver: LocalDelivery,
        /// Which of its addresses exist; what the kind of delivery suggests when `None`.
        recipients: Option<Recipients>,
    },
    /// Changes a domain.
    SetDomain {
        /// The domain.
        name: String,
        /// Where its mail goes from now on; as it is when `None`.
        deliver: Option<LocalDelivery>,
        /// Which of its addresses exist; as it is when `None`.
        recipients: Option<Recipients>,
    },
    /// Makes a domain no longer local.
    RemoveDomain {
        /// The domain.
        name: String,
        /// Also when it has accounts or aliases. They stay; until the domain is back they are no mailboxes.
        force: bool,
    },
    /// Makes an account.
    AddAccount {
        /// Its name: an address, or a word.
        name: String,
        /// What it logs in with.
        login: NewLogin,
        /// Whom it may send as, beside its own address.
        senders: Vec<SenderPattern>,
        /// By what tokens and certificates mean it.
        identities: Vec<Identity>,
        /// How much it may send.
        quotas: Vec<Quota>,
    },
    /// Removes an account with its secrets. Mail in its mailbox stays.
    RemoveAccount {
        /// The account.
        name: String,
    },
    /// Sets an account's password, or takes it away. Secrets of programs stay.
    SetPassword {
        /// The account.
        name: String,
        /// The password, or a hash of it; none when `None`.
        password: Option<Secret>,
    },
    /// Lets an account log in, or not.
    SetEnabled {
        /// The account.
        name: String,
        /// Whether it may.
        enabled: bool,
    },
    /// Sets whom an account may send as.
    SetSenders {
        /// The account.
        name: String,
        /// All its patterns.
        senders: Vec<SenderPattern>,
    },
    /// Sets by what tokens and certificates mean an account.
    SetIdentities {
        /// The account.
        name: String,
        /// All its identities.
        identities: Vec<Identity>,
    },
    /// Sets how much an account may send.
    SetQuotas {
        /// The account.
        name: String,
        /// All its quotas.
        quotas: Vec<Quota>,
    },
    /// Makes a secret for a program, given as [`Applied::secret`].
    AddAppPassword {
        /// The account.
        name: String,
        /// What it is for; no other of the account has the same.
        label: String,
    },
    /// Removes the secret of a program.
    RemoveAppPassword {
        /// The account.
        name: String,
        /// Its label or its id.
        label: String,
    },
    /// Makes an alias.
    AddAlias {
        /// An address of a local domain, or `@example.com`.
        name: String,
        /// To whom: at least one.
        targets: Vec<Address>,
    },
    /// Sets an alias's targets.
    SetAlias {
        /// The alias.
        name: String,
        /// All of them, at least one.
        targets: Vec<Address>,
    },
    /// Removes an alias.
    RemoveAlias {
        /// The alias.
        name: String,
    },
    /// Adds a DKIM key, whose record is to be published from now on.
    AddKey {
        /// The domain it signs for, and its subdomains.
        domain: String,
        /// Its selector.
        selector: String,
        /// The key.
        key: NewKey,
        /// From when it signs; at once when `None`.
        sign_from: Option<Timestamp>,
    },
    /// Sets until when a DKIM key signs; for good when `None`.
    RetireKey {
        /// Its domain.
        domain: String,
        /// Its selector.
        selector: String,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// Removes a DKIM key. Its record can go when mail that it signed has arrived.
    RemoveKey {
        /// Its domain.
        domain: String,
        /// Its selector.
        selector: String,
    },
}

/// What a new account logs in with.
#[derive(Clone, Debug)]
pub enum NewLogin {
    /// Nothing: it is known by its identities, or takes mail only.
    None,
    /// This password, or a hash of one (`$argon2id$…`, `SCRAM-SHA-256$…`).
    Password(Secret),
    /// A secret that is generated for a program, given as [`Applied::secret`].
    App,
}

/// Where a new DKIM key comes from.
#[derive(Clone, Debug)]
pub enum NewKey {
    /// It is made here.
    Generate(Algorithm),
    /// It was made elsewhere: PEM.
    Pem(Secret),
}

/// What a change did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The directory's revision with it.
    pub revision: u64,
    /// The name of what was changed, as it is listed. A key's is that of its DNS record.
    pub name: String,
    /// The generated secret. Nothing keeps it: to be shown once.
    pub secret: Option<Secret>,
}

impl Change {
    /// What there is to do to the directory as it is, or why it cannot be.
    pub(crate) fn plan(
        &self,
        directory: &Snapshot,
        material: &Material,
        now: Timestamp,
    ) -> Result<ObjectEdit, DirectoryError> {
        match self {
            Change::AddDomain { .. } | Change::SetDomain { .. } | Change::RemoveDomain { .. } => {
                self.plan_domain(directory)
            }
            Change::AddAlias { .. } | Change::SetAlias { .. } | Change::RemoveAlias { .. } => {
                self.plan_alias(directory)
            }
            Change::AddKey { .. } | Change::RetireKey { .. } | Change::RemoveKey { .. } => {
                self.plan_key(directory, material, now)
            }
            _ => self.plan_account(directory, material, now),
        }
    }

    /// What it changes, by its key.
    fn subject(&self) -> Result<(Kind, String), DirectoryError> {
        let invalid = |name: &str, is: &str| DirectoryError::Invalid(format!("{name:?} is no {is}"));
        let of_domain = |name: &str| match domain_key(name) {
            Some(key) => Ok(key.into_owned()),
            None => Err(invalid(name, "domain")),
        };
        Ok(match self {
            Change::AddDomain { name, .. }
            | Change::SetDomain { name, .. }
            | Change::RemoveDomain { name, .. } => (Kind::Domain, of_domain(name)?),
            Change::AddAlias { name, .. } | Change::SetAlias { name, .. } | Change::RemoveAlias { name } => {
                let key = alias_key(name);
                let is =
                    "alias: write sales@example.com, or @example.com for every address that is not known";
                (Kind::Alias, key.ok_or_else(|| invalid(name, is))?)
            }
            Change::AddKey { domain, selector, .. }
            | Change::RetireKey { domain, selector, .. }
            | Change::RemoveKey { domain, selector } => {
                (Kind::DkimKey, key_name(&of_domain(domain)?, selector))
            }
            Change::AddAccount { name, .. }
            | Change::RemoveAccount { name }
            | Change::SetPassword { name, .. }
            | Change::SetEnabled { name, .. }
            | Change::SetSenders { name, .. }
            | Change::SetIdentities { name, .. }
            | Change::SetQuotas { name, .. }
            | Change::AddAppPassword { name, .. }
            | Change::RemoveAppPassword { name, .. } => (Kind::Account, account_key(name)),
        })
    }
}
