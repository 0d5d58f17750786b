//! What a reload changes.

use crate::descriptor::Reload;
use crate::lists::LISTS;
use crate::tree::{Config, SETTINGS};

/// The names of settings that differ between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In force with the reload.
    pub changed: Vec<String>,
    /// In force after a restart.
    pub needs_restart: Vec<String>,
}

impl Difference {
    fn note(&mut self, name: &str, reload: Reload) {
        match reload {
            Reload::Live => self.changed.push(name.into()),
            Reload::Restart => self.needs_restart.push(name.into()),
        }
    }
}

impl Config {
    /// What would change from `self` to `new`.
    pub fn diff(&self, new: &Config) -> Difference {
        let mut difference = Difference::default();
        for setting in SETTINGS.iter().filter(|setting| !(setting.same)(self, new)) {
            difference.note(setting.name, setting.reload);
        }
        if self.profile != new.profile {
            difference.note("profile", Reload::Restart);
        }
        for list in LISTS.iter().filter(|list| !(list.same)(self, new)) {
            difference.note(list.name, list.reload);
        }
        difference
    }

    /// `self` with the values of `running` where a change needs a restart: what a reload puts in force.
    /// So no part of the server sees a value that another part cannot follow yet.
    #[must_use]
    pub fn live_part(&self, running: &Config) -> Config {
        let mut config = self.clone();
        config.profile = running.profile;
        for setting in SETTINGS
            .iter()
            .filter(|setting| setting.reload == Reload::Restart)
        {
            (setting.copy)(&mut config, running);
        }
        config
    }
}
