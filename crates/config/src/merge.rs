//! The merge itself: one source after the other is laid over the defaults.

use crate::check;
use crate::environment::Environment;
use crate::error::{ConfigError, ConfigErrors};
use crate::file::FileContents;
use crate::hint::nearest;
use crate::kinds::Profile;
use crate::later;
use crate::lists::{LISTS, ListDescriptor, Reading, list};
use crate::load::{Flag, Loaded, Origin, Sources};
use crate::tree::{Config, Http, SECTIONS, SETTINGS, setting};
use crate::value::{Raw, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A configuration while it is made.
pub(crate) struct Merge {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
    path: Option<PathBuf>,
    contents: FileContents,
    errors: Vec<ConfigError>,
    /// Settings whose given value is wrong: what is said about their default would mislead.
    broken: BTreeSet<&'static str>,
}

impl Merge {
    pub(crate) fn new(path: Option<PathBuf>, contents: FileContents, errors: Vec<ConfigError>) -> Self {
        let config = Config::defaults(Profile::default());
        let broken = BTreeSet::new();
        Merge {
            config,
            origins: BTreeMap::new(),
            path,
            contents,
            errors,
            broken,
        }
    }

    fn line(&self, line: usize) -> Origin {
        Origin::File(self.path.clone().unwrap_or_default(), line)
    }

    /// The profile comes first, because it decides the defaults: flag, else variable, else file.
    pub(crate) fn profile(&mut self, sources: &Sources, environment: &Environment) {
        let flag = sources.flags.iter().rev().find(|flag| flag.key == "profile");
        let flag = flag.map(|flag| (Raw::Text(flag.value.clone()), Origin::Flag(flag.name.clone())));
        let variable = environment.get("profile");
        let variable = variable.map(|v| (Raw::Text(v.value.clone()), Origin::Environment(v.name.clone())));
        let line = self.contents.values.iter().find(|(key, _, _)| key == "profile");
        let line = line.map(|(_, line, raw)| (raw.clone(), self.line(*line)));
        let mut profile = Profile::default();
        let mut origin = Origin::Default;
        if let Some((raw, from)) = flag.or(variable).or(line) {
            match Profile::read(&raw) {
                Ok(read) => profile = read,
                Err(reason) => self
                    .errors
                    .push(ConfigError::new(from.blamed(), "profile", reason)),
            }
            origin = from;
        }
        self.config = Config::defaults(profile);
        self.origins = SETTINGS
            .iter()
            .map(|s| (s.name, default_origin(s.name, profile)))
            .collect();
        self.origins.insert("profile", origin);
        self.origins
            .extend(LISTS.iter().map(|list| (list.name, Origin::Default)));
    }

    pub(crate) fn file_values(&mut self) {
        for (section, line) in std::mem::take(&mut self.contents.sections) {
            let known = SECTIONS.iter().any(|(name, _)| *name == section);
            let has_values = self
                .contents
                .values
                .iter()
                .any(|(key, ..)| key.split('.').next() == Some(&section));
            if !known && !has_values {
                let origin = self.line(line);
                self.set(&section, &Raw::Other("a table"), origin);
            }
        }
        for (key, line, raw) in std::mem::take(&mut self.contents.values) {
            if key != "profile" {
                let origin = self.line(line);
                self.set(&key, &raw, origin);
            }
        }
    }

    pub(crate) fn variables(&mut self, environment: &Environment) {
        for variable in &environment.values {
            if !matches!(variable.key, "profile" | "config") {
                let raw = Raw::Text(variable.value.clone());
                self.set(variable.key, &raw, Origin::Environment(variable.name.clone()));
            }
        }
    }

    pub(crate) fn flags(&mut self, flags: &[Flag]) {
        for flag in flags.iter().filter(|flag| flag.key != "profile") {
            self.set(
                &flag.key,
                &Raw::Text(flag.value.clone()),
                Origin::Flag(flag.name.clone()),
            );
        }
    }

    fn set(&mut self, key: &str, raw: &Raw, origin: Origin) {
        let Some(setting) = setting(key) else {
            self.errors
                .push(ConfigError::new(origin.blamed(), key, unknown_key(key)));
            return;
        };
        if let Err(reason) = (setting.set)(&mut self.config, raw) {
            self.errors.push(ConfigError::new(origin.blamed(), key, reason));
            self.broken.insert(setting.name);
        }
        self.origins.insert(setting.name, origin);
    }

    /// The smarthost's password, where a file holds it.
    pub(crate) fn password_file(&mut self) {
        const KEY: &str = "relay.password_file";
        let relay = &mut self.config.relay;
        let (Some(file), Some(hop)) = (&relay.password_file, &relay.smarthost) else {
            return;
        };
        match hop.clone().with_password_file(file) {
            Ok(hop) => relay.smarthost = Some(hop),
            Err(reason) => {
                let source = self.origins.get(KEY).map(Origin::blamed).unwrap_or_default();
                self.errors.push(ConfigError::new(source, KEY, reason));
                self.broken.insert("relay.smarthost");
            }
        }
    }

    /// Settings that nobody set take the value of the one they follow.
    pub(crate) fn followers(&mut self) {
        for setting in SETTINGS.iter().filter(|setting| !setting.follows.is_empty()) {
            let unset = matches!(
                self.origins.get(setting.name),
                Some(Origin::Default | Origin::Profile(_))
            );
            if unset {
                (setting.follow)(&mut self.config);
                if let Some(origin) = self.origins.get(setting.follows).cloned() {
                    self.origins.insert(setting.name, origin);
                }
            }
        }
    }

    pub(crate) fn lists(&mut self) {
        let file = self
            .path
            .as_deref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        for (name, items) in std::mem::take(&mut self.contents.lists) {
            let Some(list) = list(&name) else {
                continue;
            };
            if let Some(first) = items.first() {
                let origin = self.line(first.line);
                self.origins.insert(list.name, origin);
            }
            let mut reading = Reading {
                file: &file,
                errors: &mut self.errors,
            };
            (list.read)(&mut self.config, &mut reading, &items);
        }
    }

    pub(crate) fn check(&mut self, resolve_files: bool) {
        let mut found = check::values(&self.config, &self.origins);
        if resolve_files {
            found.extend(check::files(&self.config));
        }
        for (key, reason) in found {
            if !self.broken.contains(key) {
                let source = self.origins.get(key).map(Origin::blamed).unwrap_or_default();
                self.errors.push(ConfigError::new(source, key, reason));
            }
        }
    }

    /// `[http]`, and what is wrong so far.
    pub(crate) fn http(self) -> (Http, ConfigErrors) {
        let errors = ConfigErrors {
            errors: self.errors,
            warnings: Vec::new(),
        };
        (self.config.http, errors)
    }

    pub(crate) fn finish(self, warnings: Vec<String>) -> Result<Loaded, ConfigErrors> {
        match self.errors.is_empty() {
            true => Ok(Loaded {
                config: self.config,
                origins: self.origins,
                warnings,
                file: self.path,
            }),
            false => Err(ConfigErrors {
                errors: self.errors,
                warnings,
            }),
        }
    }
}

/// A default belongs to the profile when another profile has another one.
fn default_origin(name: &str, profile: Profile) -> Origin {
    let Some(setting) = setting(name) else {
        return Origin::Default;
    };
    let here = Config::defaults(profile);
    match Profile::ALL
        .iter()
        .all(|other| (setting.same)(&here, &Config::defaults(*other)))
    {
        true => Origin::Default,
        false => Origin::Profile(profile),
    }
}

fn unknown_key(key: &str) -> String {
    if later::is_later(key) {
        return later::REASON.into();
    }
    if SECTIONS.iter().any(|(section, _)| *section == key) {
        return format!("it is a section: write [{key}] above its settings");
    }
    let within = |list: &&ListDescriptor| {
        let rest = key.strip_prefix(list.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some(list) = LISTS.iter().find(within) {
        return format!(
            "it is a list that only the file can hold: write [[{}]]",
            list.name
        );
    }
    let names = SETTINGS.iter().map(|setting| setting.name);
    let names = names
        .chain(SECTIONS.iter().map(|(section, _)| *section))
        .chain(LISTS.iter().map(|list| list.name));
    match nearest(key, names) {
        Some(near) => format!("there is no such setting; did you mean {near}?"),
        None => "there is no such setting".into(),
    }
}
