//! Changes of domains.

use super::{Change, existing, free, removable};
use crate::error::DirectoryError;
use crate::name::domain_of;
use crate::objects::Domain;
use crate::record::{Object, ObjectEdit};
use crate::shelf::Kind;
use crate::snapshot::Snapshot;
use smtp_config::{LocalDelivery, Recipients};

/// Accounts and aliases that an error names.
const NAMED: usize = 3;

impl Change {
    pub(super) fn plan_domain(&self, directory: &Snapshot) -> Result<ObjectEdit, DirectoryError> {
        let (kind, name) = self.subject()?;
        let domain = match self {
            Change::AddDomain {
                deliver, recipients, ..
            } => {
                free(directory, kind, &name)?;
                Domain {
                    name: name.into(),
                    deliver: deliver.clone(),
                    recipients: recipients.unwrap_or_else(|| Recipients::default_for(deliver)),
                    declared: None,
                }
            }
            Change::SetDomain {
                deliver, recipients, ..
            } => {
                let mut domain = (**existing(directory, kind, &name, directory.domains.get(&name))?).clone();
                domain.deliver = deliver.clone().unwrap_or(domain.deliver);
                domain.recipients = recipients.unwrap_or(domain.recipients);
                domain
            }
            _ => {
                let force = matches!(self, Change::RemoveDomain { force: true, .. });
                let edit = removable(directory, kind, &name, directory.domains.contains(&name))?;
                return match force {
                    true => Ok(edit),
                    false => nothing_in(directory, &name).map(|()| edit),
                };
            }
        };
        if domain.recipients == Recipients::Verify && !matches!(domain.deliver, LocalDelivery::Hop(_)) {
            let reason =
                "only a next hop (smtp: or lmtp:) can be asked for recipients: use \"known\" or \"any\"";
            return Err(DirectoryError::Invalid(reason.to_owned()));
        }
        Ok(ObjectEdit::Put(Box::new(Object::Domain(domain))))
    }
}

/// A domain that is still used is not removed by accident.
fn nothing_in(directory: &Snapshot, domain: &str) -> Result<(), DirectoryError> {
    let accounts = directory.accounts.iter().map(|(name, _)| (Kind::Account, name));
    let aliases = directory.aliases.iter().map(|(name, _)| (Kind::Alias, name));
    let mut used = accounts
        .chain(aliases)
        .filter(|(_, name)| domain_of(name) == Some(domain));
    let named: Vec<String> = used
        .by_ref()
        .take(NAMED)
        .map(|(kind, name)| format!("{} {name}", kind.name()))
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    let more = match used.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Err(DirectoryError::InUse(format!(
        "domain {domain} still has {}{more}: remove them first, or force it (they stay, without mail)",
        named.join(", ")
    )))
}
