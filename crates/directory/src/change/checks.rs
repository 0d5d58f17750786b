//! Whether an object may be made, changed, removed: one that is declared may not, one that cannot be read may only be removed.

use crate::error::DirectoryError;
use crate::record::ObjectEdit;
use crate::shelf::Kind;
use crate::snapshot::Snapshot;
use std::sync::Arc;

/// A new object may take a name that nothing has.
pub(super) fn free(directory: &Snapshot, kind: Kind, name: &str) -> Result<(), DirectoryError> {
    let taken = match kind {
        Kind::Domain => directory.domains.contains(name),
        Kind::Account => directory.accounts.contains(name),
        Kind::Alias => directory.aliases.contains(name),
        Kind::DkimKey => directory.key_named(name).is_some(),
    };
    let name = name.to_owned();
    if let Some(reason) = directory.unreadable.get(&(kind, name.clone())) {
        let reason = reason.clone();
        return Err(DirectoryError::Unreadable { kind, name, reason });
    }
    match taken {
        true => Err(changeable(directory, kind, &name)
            .err()
            .unwrap_or(DirectoryError::Exists { kind, name })),
        false => Ok(()),
    }
}

/// An object may be changed that is not declared.
fn changeable(directory: &Snapshot, kind: Kind, name: &str) -> Result<(), DirectoryError> {
    match directory.declared(kind, name) {
        None => Ok(()),
        Some(place) => Err(DirectoryError::Declared {
            kind,
            name: name.to_owned(),
            place: place.to_owned(),
        }),
    }
}

/// An object may be removed that is there, readable or not, and not declared.
pub(super) fn removable(
    directory: &Snapshot,
    kind: Kind,
    name: &str,
    found: bool,
) -> Result<ObjectEdit, DirectoryError> {
    changeable(directory, kind, name)?;
    let name = name.to_owned();
    if !found && !directory.unreadable.contains_key(&(kind, name.clone())) {
        return Err(DirectoryError::NotFound { kind, name });
    }
    Ok(ObjectEdit::Delete(kind, name))
}

/// The object that is to be changed.
pub(super) fn existing<'a, T>(
    directory: &Snapshot,
    kind: Kind,
    name: &str,
    found: Option<&'a Arc<T>>,
) -> Result<&'a Arc<T>, DirectoryError> {
    changeable(directory, kind, name)?;
    let name = name.to_owned();
    match (found, directory.unreadable.get(&(kind, name.clone()))) {
        (Some(found), _) => Ok(found),
        (None, None) => Err(DirectoryError::NotFound { kind, name }),
        (None, Some(reason)) => {
            let reason = reason.clone();
            Err(DirectoryError::Unreadable { kind, name, reason })
        }
    }
}
