//! The administrator's password: the configuration's, or one that is made at the start.

use super::House;
use crate::output::remark;
use rand::Rng;
use smtp_config::Config;
use smtp_observe::Event;
use std::sync::Arc;

/// Letters and digits of a password that is made here: 20 of them are 119 bits.
const LENGTH: usize = 20;

impl House {
    /// The administrator's password, in force.
    pub(crate) fn password(&self) -> Arc<str> {
        Arc::clone(&self.password.load())
    }

    /// The password that another configuration leads to: its own; else the one that was made here, or a new one when that was not made
    /// but configured.
    pub(crate) fn password_of(&self, new: &Config) -> Arc<str> {
        match (&new.admin.password, self.made_password()) {
            (Some(configured), _) => configured.expose().into(),
            (None, Some(made)) => made,
            (None, None) => made(),
        }
    }

    /// Puts the password of the configuration in force, which is in force already, and tells whoever has to know. Gives whether it is another
    /// one.
    pub(crate) fn take_password(&self, password: Arc<str>) -> bool {
        let before = self.password.swap(Arc::new(password.clone()));
        if *before == password {
            return false;
        }
        let made = self.made_password().is_some();
        let by = if made { "server" } else { "configuration" };
        self.observer.emit(Event::AdminPasswordChanged { by });
        if made {
            remark(&format!("admin password: {password}"));
        }
        true
    }

    /// The password that was made by this process, when none is configured.
    pub(crate) fn made_password(&self) -> Option<Arc<str>> {
        let none = self.config.load().admin.password.is_none();
        none.then(|| self.password())
    }
}

/// A new password that nobody can guess.
pub(super) fn made() -> Arc<str> {
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(LENGTH);
    letters.map(char::from).collect::<String>().into()
}
