//! Changes of accounts.

use super::{Change, Material, existing, free, removable};
use crate::credential::AppPassword;
use crate::error::DirectoryError;
use crate::objects::Account;
use crate::record::{Object, ObjectEdit};
use crate::senders::Identity;
use crate::shelf::Kind;
use crate::snapshot::Snapshot;
use jiff::Timestamp;
use smtp::Address;

/// Most secrets for programs, patterns, identities, quotas of one account.
const MAX_ENTRIES: usize = 100;
/// Longest label, in octets.
const LABEL_LENGTH: usize = 100;

impl Change {
    pub(super) fn plan_account(
        &self,
        directory: &Snapshot,
        material: &Material,
        now: Timestamp,
    ) -> Result<ObjectEdit, DirectoryError> {
        let (kind, name) = self.subject()?;
        let found = directory.accounts.get(&name);
        let account = match self {
            Change::RemoveAccount { .. } => return removable(directory, kind, &name, found.is_some()),
            Change::AddAccount {
                senders,
                identities,
                quotas,
                ..
            } => {
                check_name(&name)?;
                free(directory, kind, &name)?;
                Account {
                    name: name.into(),
                    enabled: true,
                    created: Some(now),
                    senders: senders.clone(),
                    identities: identities.clone(),
                    quotas: quotas.clone(),
                    password: material.password.clone(),
                    apps: material.app.iter().cloned().collect(),
                    declared: None,
                }
            }
            _ => {
                let mut account = (**existing(directory, kind, &name, found)?).clone();
                self.edit(&mut account, material)?;
                account
            }
        };
        check_size(&account)?;
        check_identities(directory, &account)?;
        Ok(ObjectEdit::Put(Box::new(Object::Account(account))))
    }

    fn edit(&self, account: &mut Account, material: &Material) -> Result<(), DirectoryError> {
        match self {
            Change::SetPassword { .. } => account.password.clone_from(&material.password),
            Change::SetEnabled { enabled, .. } => account.enabled = *enabled,
            Change::SetSenders { senders, .. } => account.senders.clone_from(senders),
            Change::SetIdentities { identities, .. } => account.identities.clone_from(identities),
            Change::SetQuotas { quotas, .. } => account.quotas.clone_from(quotas),
            Change::RemoveAppPassword { label, .. } => {
                let is_meant = |app: &AppPassword| *app.label == *label.trim() || *app.id == *label.trim();
                let before = account.apps.len();
                account.apps.retain(|app| !is_meant(app));
                if account.apps.len() == before {
                    let reason = format!(
                        "account {} has no secret with the label or id {label:?}",
                        account.name
                    );
                    return Err(DirectoryError::Invalid(reason));
                }
            }
            _ => {
                if let Some(app) = &material.app {
                    check_label(account, &app.label)?;
                    account.apps.push(app.clone());
                }
            }
        }
        Ok(())
    }
}

/// An address, or a word without blanks.
fn check_name(name: &str) -> Result<(), DirectoryError> {
    let plain = !name.is_empty()
        && name.len() <= smtp_sasl::MAX_NAME
        && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    let reason = match plain {
        false => format!(
            "{name:?} cannot be an account: a name has 1 to {} octets and no blanks",
            smtp_sasl::MAX_NAME
        ),
        true if name.contains('@') => match Address::parse(name) {
            Ok(_) => return Ok(()),
            Err(error) => format!("{name} has an @ but is no address: {error}"),
        },
        true => return Ok(()),
    };
    Err(DirectoryError::Invalid(reason))
}

fn check_label(account: &Account, label: &str) -> Result<(), DirectoryError> {
    let plain = !label.is_empty() && label.len() <= LABEL_LENGTH && !label.chars().any(char::is_control);
    let reason = match plain {
        false => format!("a label has 1 to {LABEL_LENGTH} octets and no control characters"),
        true if account.apps.iter().any(|app| *app.label == *label) => {
            format!(
                "account {} has a secret with the label {label:?} already: remove it first, or use another",
                account.name
            )
        }
        true => return Ok(()),
    };
    Err(DirectoryError::Invalid(reason))
}

fn check_size(account: &Account) -> Result<(), DirectoryError> {
    let sizes = [
        (account.apps.len(), "secrets for programs"),
        (account.senders.len(), "patterns of senders"),
        (account.identities.len(), "identities"),
        (account.quotas.len(), "quotas"),
    ];
    match sizes.iter().find(|(size, _)| *size > MAX_ENTRIES) {
        None => Ok(()),
        Some((_, what)) => Err(DirectoryError::Invalid(format!(
            "account {} would have more than {MAX_ENTRIES} {what}",
            account.name
        ))),
    }
}

/// An identity means one account: the one that lists it, or the one that has its name.
fn check_identities(directory: &Snapshot, account: &Account) -> Result<(), DirectoryError> {
    let taken = |identity: &&Identity| {
        let owner = directory.identities.get(&identity.to_string());
        owner.is_some_and(|owner| ***owner != *account.name)
    };
    match account.identities.iter().find(taken) {
        None => Ok(()),
        Some(identity) => Err(DirectoryError::Exists {
            kind: Kind::Account,
            name: format!("with the identity {identity}"),
        }),
    }
}
