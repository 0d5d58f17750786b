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

impl Config {
    /// What would change from `self` to `new`.
    pub fn diff(&self, new: &Config) -> Difference {
        let mut difference = Difference::default();
        for setting in SETTINGS.iter().filter(|setting| !(setting.same)(self, new)) {
            match setting.reload {
                Reload::Live => difference.changed.push(setting.name.into()),
                Reload::Restart => difference.needs_restart.push(setting.name.into()),
            }
        }
        if self.profile != new.profile {
            difference.needs_restart.push("profile".into());
        }
        let lists = LISTS.iter().filter(|list| !(list.same)(self, new));
        difference.changed.extend(lists.map(|list| list.name.into()));
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
