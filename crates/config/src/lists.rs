//! The lists of tables: `[[routes]]`, `[[domains]]`, `[[admin.tokens]]` and their like. They can be set in the file only.
//!
//! A list is declared once, by [`Listed`]: its keys, how an item is read and shown. `LISTS` holds them all.

mod accounts;
mod domains;
mod keys;
mod routes;
mod tokens;
mod webhooks;

pub use accounts::{Account, Alias, Quota, QuotaKind, QuotaPeriod};
pub use domains::{Domain, Recipients};
pub use keys::{CertificateFiles, DkimKeyFile};
pub use routes::Route;
pub use tokens::{AdminToken, Scope, check_token_name};
pub use webhooks::{MessageEvent, SigningKey, Webhook};

use crate::descriptor::Reload;
use crate::error::ConfigError;
use crate::file::Item;
use crate::hint::nearest;
use crate::kinds::is_hostname;
use crate::tree::Config;
use crate::value::Raw;
use serde_json::Value as Json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A list, for the reference, the schema and everything else that walks over all lists.
#[derive(Debug)]
pub struct ListDescriptor {
    /// Its name in the file; `section.name` for one within a section.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// When a change takes effect.
    pub reload: Reload,
    /// The keys of an item.
    pub keys: &'static [ListKey],
    pub(crate) read: fn(&mut Config, &mut Reading<'_>, &[Item]),
    pub(crate) show: fn(&Config) -> Json,
    pub(crate) same: fn(&Config, &Config) -> bool,
}

/// A key of a list's items.
#[derive(Debug)]
pub struct ListKey {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in words.
    pub kind: &'static str,
    /// Whether it takes a list of texts rather than one.
    pub many: bool,
    /// What it is when it is not set; empty when it must be.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

impl ListKey {
    /// What a declaration gets when it does not say otherwise.
    pub(crate) const BLANK: ListKey = ListKey {
        name: "",
        kind: "text",
        many: false,
        default: "",
        doc: "",
    };
}

/// An item of a list.
pub(crate) trait Listed: Sized + Clone + PartialEq {
    const DOC: &'static str;
    const KEYS: &'static [ListKey];
    /// The key that no two items share.
    const UNIQUE: &'static str;
    /// Reads an item; `config` holds everything but the lists. What is wrong is noted in `fields`.
    fn read(fields: &mut Fields<'_>, config: &Config) -> Option<Self>;
    /// The value of [`Listed::UNIQUE`], as it is compared.
    fn unique(&self) -> String;
    /// The same shape as in the file, secrets masked.
    fn show(&self) -> Json;
}

macro_rules! lists {
    ($($name:literal $field:ident: $Item:ty),+ $(,)?) => {
        /// The lists.
        pub static LISTS: &[ListDescriptor] = &[ $( ListDescriptor {
            name: $name,
            doc: <$Item as Listed>::DOC,
            reload: Reload::Live,
            keys: <$Item as Listed>::KEYS,
            read: |config, reading, items| {
                let read = reading.list::<$Item>(config, $name, items);
                config.$field = read;
            },
            show: |config| config.$field.iter().map(Listed::show).collect(),
            same: |a, b| a.$field == b.$field,
        }, )+ ];
    };
}

lists! {
    "routes" routes: Route,
    "domains" domains: Domain,
    "accounts" accounts: Account,
    "aliases" aliases: Alias,
    "certificates" certificates: CertificateFiles,
    "dkim_keys" dkim_keys: DkimKeyFile,
    "admin.tokens" admin_tokens: AdminToken,
    "webhooks" webhooks: Webhook,
}

/// The list of that name.
pub(crate) fn list(name: &str) -> Option<&'static ListDescriptor> {
    LISTS.iter().find(|list| list.name == name)
}

/// Reads lists, and gathers what is wrong with them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) file: &'a str,
    pub(crate) errors: &'a mut Vec<ConfigError>,
}

impl Reading<'_> {
    fn list<T: Listed>(&mut self, config: &Config, name: &'static str, items: &[Item]) -> Vec<T> {
        let mut seen = HashSet::new();
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let mut fields = Fields {
                list: name,
                keys: T::KEYS,
                index,
                item,
                file: self.file,
                errors: Vec::new(),
            };
            fields.refuse_unknown();
            if let Some(value) = T::read(&mut fields, config) {
                if !seen.insert(value.unique()) {
                    fields.error(T::UNIQUE, "there is one with the same before".into());
                }
                read.push(value);
            }
            self.errors.append(&mut fields.errors);
        }
        read
    }
}

/// One item while it is read.
pub(crate) struct Fields<'a> {
    list: &'static str,
    keys: &'static [ListKey],
    index: usize,
    item: &'a Item,
    file: &'a str,
    errors: Vec<ConfigError>,
}

impl Fields<'_> {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.item.fields.iter().any(|(name, _, _)| name == key)
    }

    /// Reads one key; what is wrong, a missing key too, is noted.
    pub(crate) fn read<T>(&mut self, key: &str, read: impl Fn(&Raw) -> Result<T, String>) -> Option<T> {
        let result = match self.item.fields.iter().find(|(name, _, _)| name == key) {
            Some((_, _, raw)) => read(raw),
            None => Err("it has to be set".into()),
        };
        result.map_err(|reason| self.error(key, reason)).ok()
    }

    /// Reads one key, or takes `default` when it is not set. `None` when it is wrong.
    pub(crate) fn read_or<T>(
        &mut self,
        key: &str,
        default: T,
        read: impl Fn(&Raw) -> Result<T, String>,
    ) -> Option<T> {
        match self.has(key) {
            true => self.read(key, read),
            false => Some(default),
        }
    }

    fn refuse_unknown(&mut self) {
        let keys = self.keys;
        for (name, _, _) in &self.item.fields {
            if keys.iter().all(|key| key.name != name) {
                let hint = nearest(name, keys.iter().map(|key| key.name));
                let hint = hint
                    .map(|key| format!("; did you mean {key}?"))
                    .unwrap_or_default();
                self.error(name, format!("there is no such setting{hint}"));
            }
        }
    }

    pub(crate) fn error(&mut self, key: &str, reason: String) {
        let field = self.item.fields.iter().find(|(name, _, _)| name == key);
        let line = field.map_or(self.item.line, |(_, line, _)| *line);
        let name = format!("{}[{}].{key}", self.list, self.index);
        self.errors.push(ConfigError::new(
            format_args!("{}:{line}", self.file),
            name,
            reason,
        ));
    }
}

/// A domain in lower case.
pub(crate) fn domain_name(text: &str) -> Result<String, String> {
    match is_hostname(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "{text:?} is not a domain (write international ones in their xn-- form)"
        )),
    }
}

/// The first line of a file that holds a password. What is wrong is said with the file's name, never with its content.
pub(crate) fn password_in(path: &Path) -> Result<String, String> {
    let named = |reason: &str| format!("{}: {reason}", path.display());
    let text = crate::file::read_text(path).map_err(|reason| named(&reason))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password {
        "" => Err(named("it is empty")),
        password if password.contains(['\r', '\n', '\0']) => Err(named("it holds more than one line")),
        password => crate::kinds::no_placeholder(password)
            .map(str::to_owned)
            .map_err(|reason| named(&reason)),
    }
}

/// A path as a list's item has it.
pub(crate) fn path(raw: &Raw) -> Result<PathBuf, String> {
    <PathBuf as crate::value::Value>::read(raw)
}
