//! Changes of aliases.

use super::{Change, existing, free, removable};
use crate::error::DirectoryError;
use crate::name::domain_of;
use crate::objects::Alias;
use crate::record::{Object, ObjectEdit};
use crate::snapshot::Snapshot;

impl Change {
    pub(super) fn plan_alias(&self, directory: &Snapshot) -> Result<ObjectEdit, DirectoryError> {
        let (kind, name) = self.subject()?;
        let targets = match self {
            Change::AddAlias { targets, .. } => {
                free(directory, kind, &name)?;
                targets
            }
            Change::SetAlias { targets, .. } => {
                existing(directory, kind, &name, directory.aliases.get(&name))?;
                targets
            }
            _ => return removable(directory, kind, &name, directory.aliases.contains(&name)),
        };
        let domain = domain_of(&name).unwrap_or_default();
        if !directory.domains.contains(domain) {
            let reason = format!("{domain} is not a local domain: add it first (domain add {domain})");
            return Err(DirectoryError::Invalid(reason));
        }
        if targets.is_empty() {
            let reason = format!("alias {name} needs at least one address that it leads to");
            return Err(DirectoryError::Invalid(reason));
        }
        let alias = Object::Alias(Alias {
            name: name.as_str().into(),
            targets: targets.clone(),
            declared: None,
        });
        let edit = ObjectEdit::Put(Box::new(alias));
        directory
            .after(vec![edit.clone()], directory.revision)
            .check_alias(&name)
            .map_err(DirectoryError::Invalid)?;
        Ok(edit)
    }
}
