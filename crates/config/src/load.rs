//! Merging the sources into one configuration.

use crate::environment::{self, Environment};
use crate::error::{ConfigError, ConfigErrors};
use crate::file::{self, FileContents};
use crate::kinds::Profile;
use crate::merge::Merge;
use crate::tree::{Config, Http};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "/etc/smtp-server/config.toml";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in, the same in every profile.
    Default,
    /// Built into the profile.
    Profile(Profile),
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Profile(profile) => write!(f, "profile {}", profile.name()),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "env {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Origin {
    /// The source that an error blames: as [`Display`](fmt::Display), without words for what nobody set.
    pub(crate) fn blamed(&self) -> String {
        match self {
            Origin::Default | Origin::Profile(_) => String::new(),
            Origin::Environment(name) | Origin::Flag(name) => name.clone(),
            Origin::File(..) => self.to_string(),
        }
    }
}

/// A value from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As the operator wrote it: `--port`, `--set`.
    pub name: String,
    /// `section.key`, or `profile`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// Everything a configuration is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`. Before `SMTP_CONFIG`, which is before `default_file`.
    pub file: Option<PathBuf>,
    /// Read when it exists and no other file is named; [`DEFAULT_FILE`] outside of tests.
    pub default_file: Option<PathBuf>,
    /// The variables of the process.
    pub environment: BTreeMap<String, String>,
    /// Flags; the last one for a key counts.
    pub flags: Vec<Flag>,
    /// Whether every file that the configuration names is looked at.
    pub resolve_files: bool,
}

/// A configuration, and how it came to be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where the value of each setting came from; also of `profile`, `routes` and `domains`.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What was ignored.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Merges the sources and checks the result. Reads the file and the `_FILE`s, but no variable of the process.
    ///
    /// # Errors
    /// Everything that is wrong, in every source.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let mut environment = environment::read(&sources.environment);
        let mut errors = std::mem::take(&mut environment.errors);
        let path = choose_file(sources, &environment);
        let contents = match &path {
            Some(path) => read_file(path).unwrap_or_else(|mut reasons| {
                errors.append(&mut reasons);
                None
            }),
            None => Some(FileContents::default()),
        };
        let unreadable = contents.is_none();
        let mut merge = Merge::new(path, contents.unwrap_or_default(), errors);
        merge.profile(sources, &environment);
        merge.file_values();
        merge.variables(&environment);
        merge.flags(&sources.flags);
        merge.password_file();
        merge.followers();
        merge.lists();
        if !unreadable {
            // Checks on the half of a configuration would only mislead.
            merge.check(sources.resolve_files);
        }
        merge.finish(environment.warnings)
    }

    /// `[http]` alone, as well as it can be known, and what is found wrong on the way: whoever asks for a server's health asks for the
    /// one that runs, and that goes on with the configuration before when a new one is refused. No file is read but the configuration's
    /// own and those of `_FILE` variables.
    pub fn http(sources: &Sources) -> (Http, ConfigErrors) {
        let mut environment = environment::read(&sources.environment);
        let mut errors = std::mem::take(&mut environment.errors);
        let path = choose_file(sources, &environment);
        let contents = path.as_deref().and_then(|path| {
            let contents = read_file(path);
            contents.unwrap_or_else(|mut reasons| {
                errors.append(&mut reasons);
                None
            })
        });
        let mut merge = Merge::new(path, contents.unwrap_or_default(), errors);
        merge.profile(sources, &environment);
        merge.file_values();
        merge.variables(&environment);
        merge.flags(&sources.flags);
        merge.followers();
        merge.http()
    }
}

impl Loaded {
    /// The built-in defaults of the profile that the sources choose; nothing else in them counts.
    ///
    /// # Errors
    /// When the profile is unknown.
    pub fn defaults(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let environment = environment::read(&sources.environment);
        let path = choose_file(sources, &environment);
        let contents = path.as_deref().and_then(|path| read_file(path).ok().flatten());
        let mut merge = Merge::new(path, contents.unwrap_or_default(), Vec::new());
        merge.profile(sources, &environment);
        merge.finish(Vec::new())
    }
}

pub(crate) fn choose_file(sources: &Sources, environment: &Environment) -> Option<PathBuf> {
    let variable = || {
        environment
            .get("config")
            .filter(|v| !v.value.is_empty())
            .map(|v| PathBuf::from(&v.value))
    };
    let default = || sources.default_file.clone().filter(|path| path.exists());
    sources.file.clone().or_else(variable).or_else(default)
}

fn read_file(path: &Path) -> Result<Option<FileContents>, Vec<ConfigError>> {
    let name = path.display().to_string();
    let text = file::read_text(path)
        .map_err(|reason| vec![ConfigError::new(&name, "", format!("cannot be read: {reason}"))])?;
    file::parse(&text, &name).map(Some)
}
