//! What a change needs that takes a while to compute: hashes of passwords, generated secrets, keys.

use super::{Change, NewLogin, keys};
use crate::credential::{AppPassword, Credential};
use crate::error::DirectoryError;
use jiff::Timestamp;
use smtp_dkim::SigningKey;
use smtp_sasl::{Password, Secret};
use std::sync::Arc;

/// Label of the secret that an account for a program is made with.
const FIRST_LABEL: &str = "default";
/// Characters of a password that is set at run time, as NIST SP 800-63B has it.
const SHORTEST_PASSWORD: usize = 8;

/// Made before the directory is locked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Material {
    pub(super) password: Option<Credential>,
    pub(super) app: Option<AppPassword>,
    pub(super) key: Option<Arc<SigningKey>>,
    /// What is shown once.
    pub(crate) secret: Option<Secret>,
}

impl Change {
    /// Derives passwords and makes keys. Blocking, for up to a second.
    pub(crate) fn prepare(&self, now: Timestamp) -> Result<Material, DirectoryError> {
        let mut material = Material::default();
        match self {
            Change::SetPassword {
                password: Some(password),
                ..
            }
            | Change::AddAccount {
                login: NewLogin::Password(password),
                ..
            } => material.password = Some(derive(password)?),
            Change::AddAccount {
                login: NewLogin::App, ..
            } => material.add_app(FIRST_LABEL, now)?,
            Change::AddAppPassword { label, .. } => material.add_app(label.trim(), now)?,
            Change::AddKey { key, .. } => material.key = Some(Arc::new(keys::make(key)?)),
            _ => {}
        }
        Ok(material)
    }
}

impl Material {
    fn add_app(&mut self, label: &str, now: Timestamp) -> Result<(), DirectoryError> {
        let (app, secret) = AppPassword::generate(label, now)?;
        (self.app, self.secret) = (Some(app), Some(secret));
        Ok(())
    }
}

/// What is kept of a password, or of a hash that was made elsewhere.
fn derive(secret: &Secret) -> Result<Credential, DirectoryError> {
    if let Some(hash) = Credential::read_hash(secret.expose()) {
        return Ok(hash?);
    }
    if secret.expose().chars().count() < SHORTEST_PASSWORD {
        let reason = format!("a password has at least {SHORTEST_PASSWORD} characters");
        return Err(DirectoryError::Invalid(reason));
    }
    let password = Password::prepare(secret.expose());
    let password = password.map_err(|error| DirectoryError::Invalid(format!("the password: {error}")))?;
    Ok(Credential::derive(&password)?)
}
