//! Changes of DKIM keys.

use super::{Change, Material, NewKey, existing, free, removable};
use crate::error::DirectoryError;
use crate::objects::DkimKey;
use crate::record::{Object, ObjectEdit};
use crate::snapshot::Snapshot;
use jiff::Timestamp;
use smtp_dkim::{Identity, KeyError, SigningKey};
use std::sync::Arc;

/// Most keys of a domain: a rotation needs four, two algorithms, old and new.
const MAX_KEYS: usize = 16;

/// Makes or reads a key.
pub(super) fn make(key: &NewKey) -> Result<SigningKey, DirectoryError> {
    let made = match key {
        NewKey::Generate(algorithm) => SigningKey::generate(*algorithm),
        NewKey::Pem(text) => SigningKey::from_pem(text.expose()),
    };
    made.map_err(|error| match error {
        KeyError::Library => DirectoryError::Unavailable(error.to_string()),
        _ => DirectoryError::Invalid(error.to_string()),
    })
}

impl Change {
    pub(super) fn plan_key(
        &self,
        directory: &Snapshot,
        material: &Material,
        now: Timestamp,
    ) -> Result<ObjectEdit, DirectoryError> {
        let (kind, name) = self.subject()?;
        let found = directory.key_named(&name);
        let key = match (self, &material.key) {
            (
                Change::AddKey {
                    selector, sign_from, ..
                },
                Some(key),
            ) => {
                free(directory, kind, &name)?;
                let domain = name.split_once("._domainkey.").map_or("", |(_, domain)| domain);
                if directory
                    .keys
                    .get(domain)
                    .is_some_and(|keys| keys.len() >= MAX_KEYS)
                {
                    let reason = format!(
                        "{domain} has {MAX_KEYS} keys already: remove those that do not sign any more"
                    );
                    return Err(DirectoryError::Invalid(reason));
                }
                let identity = Identity::new(domain, &selector.to_ascii_lowercase(), Arc::clone(key));
                let identity = identity.map_err(|error| DirectoryError::Invalid(error.to_string()))?;
                DkimKey {
                    identity: Arc::new(identity),
                    created: Some(now),
                    sign_from: sign_from.unwrap_or(now),
                    sign_until: None,
                    declared: None,
                }
            }
            (Change::RetireKey { until, .. }, _) => DkimKey {
                sign_until: *until,
                ..(**existing(directory, kind, &name, found)?).clone()
            },
            _ => return removable(directory, kind, &name, found.is_some()),
        };
        Ok(ObjectEdit::Put(Box::new(Object::DkimKey(key))))
    }
}
