//! `config show`: the effective configuration, with each value's origin and when a change of it takes effect; secrets masked.

use crate::descriptor::Reload;
use crate::lists::LISTS;
use crate::load::{Loaded, Origin};
use crate::tree::SETTINGS;
use serde_json::{Value as Json, json};

/// One setting as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its name.
    pub key: &'static str,
    /// Its value; of a list the items. Secrets are `***`.
    pub value: Json,
    /// Where the value came from, in words.
    pub origin: String,
    /// When a change of it takes effect.
    pub reload: Reload,
}

/// Every setting, secrets masked.
pub fn show_values(loaded: &Loaded) -> Vec<Shown> {
    let origin = |key: &str| loaded.origins.get(key).unwrap_or(&Origin::Default).to_string();
    let profile = Shown {
        key: "profile",
        value: Json::from(loaded.config.profile.name()),
        origin: origin("profile"),
        reload: Reload::Restart,
    };
    let settings = SETTINGS.iter().map(|setting| Shown {
        key: setting.name,
        value: setting.shown(&loaded.config),
        origin: origin(setting.name),
        reload: setting.reload,
    });
    let lists = LISTS.iter().map(|list| Shown {
        key: list.name,
        value: (list.show)(&loaded.config),
        origin: origin(list.name),
        reload: list.reload,
    });
    std::iter::once(profile).chain(settings).chain(lists).collect()
}

/// A line a setting: key, when a change takes effect, value, origin.
pub fn show_table(loaded: &Loaded) -> String {
    let rows: Vec<(&str, String, String, &str)> = show_values(loaded)
        .into_iter()
        .map(|row| (row.key, cell(&row.value), row.origin, row.reload.name()))
        .collect();
    let width = |column: fn(&(&str, String, String, &str)) -> usize| {
        rows.iter().map(column).max().unwrap_or(0).min(60)
    };
    let (keys, values) = (width(|row| row.0.len()), width(|row| row.1.chars().count()));
    let line = |(key, value, origin, reload): &(&str, String, String, &str)| {
        format!("{key:keys$}  {reload:7}  {value:values$}  {origin}\n")
    };
    rows.iter().map(line).collect()
}

/// A line a setting, each a JSON object: `key`, `value`, `origin`, `reload` (`live` or `restart`).
pub fn show_json(loaded: &Loaded) -> String {
    let line = |row: Shown| {
        let object =
            json!({"key": row.key, "value": row.value, "origin": row.origin, "reload": row.reload.name()});
        format!("{object}\n")
    };
    show_values(loaded).into_iter().map(line).collect()
}

/// A value as in the file; `-` when there is none.
pub(crate) fn cell(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        other => other.to_string(),
    }
}
