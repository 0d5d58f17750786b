//! Whether the files that a configuration is made of have changed.
//!
//! They are compared by content: a watch of the file system misses what Kubernetes does to a mounted ConfigMap or Secret (a
//! `..data` link that is swapped), bind mounts, and volumes of the network; times of files miss two changes within one tick of
//! their clock. Reading some small files every few seconds costs microseconds. What is kept of them is a hash, no secret.

use crate::environment;
use crate::file::{self, FileContents, LARGEST};
use crate::load::{Sources, choose_file};
use crate::value::Raw;
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// Files that whoever uses them looks at by themselves, again and again.
const FOLLOWED: &[&str] = &[
    "tls.cert_file",
    "tls.key_file",
    "tls.client_ca_file",
    "certificates.cert_file",
    "certificates.key_file",
    "oauth.jwks_file",
    "oauth.jwks_token_file",
];

/// The files that a configuration is made of, and what was in them.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Read when the configuration is loaded.
    read: BTreeSet<PathBuf>,
    /// Followed by who uses them. They matter here only while the configuration is refused, perhaps for want of one.
    followed: BTreeSet<PathBuf>,
    seen: Seen,
    refused: bool,
    /// Different, and perhaps half written.
    suspect: Option<Seen>,
}

/// Contents, told apart by their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    read: u64,
    followed: u64,
}

impl Watched {
    /// Looks at the configuration file, every file that it, a variable or a flag names, and what is in them now. Blocking.
    /// To be taken before the configuration is loaded: what changes in between is then noticed later.
    pub fn look(sources: &Sources) -> Watched {
        let variables = environment::read(&sources.environment);
        let mut read = BTreeSet::new();
        let mut followed = BTreeSet::new();
        let mut name = |key: &str, path: PathBuf| match FOLLOWED.contains(&key) {
            true => followed.insert(path),
            false => read.insert(path),
        };
        if let Some(path) = choose_file(sources, &variables).or_else(|| sources.default_file.clone()) {
            each_in_file(&path, &mut name);
            name("config", path);
        }
        for (variable, path) in &sources.environment {
            if let Some(key) = variable
                .strip_prefix("SMTP_")
                .filter(|key| key.ends_with("_FILE"))
            {
                name(&key.to_ascii_lowercase().replacen("__", ".", 1), path.into());
            }
        }
        for flag in sources.flags.iter().filter(|flag| flag.key.ends_with("_file")) {
            name(&flag.key, (&flag.value).into());
        }
        let seen = Seen::in_files(&read, &followed);
        Watched {
            read,
            followed,
            seen,
            refused: false,
            suspect: None,
        }
    }

    /// Whether the configuration of these contents was refused.
    #[must_use]
    pub fn refused(mut self, refused: bool) -> Watched {
        self.refused = refused;
        self
    }

    /// Whether there is something new: true once it was found twice, the same both times. Blocking.
    pub fn has_changed(&mut self) -> bool {
        let found = Seen::in_files(&self.read, &self.followed);
        if found.read == self.seen.read && !(self.refused && found.followed != self.seen.followed) {
            self.suspect = None;
            return false;
        }
        self.suspect.replace(found) == Some(found)
    }
}

impl Seen {
    fn in_files(read: &BTreeSet<PathBuf>, followed: &BTreeSet<PathBuf>) -> Seen {
        Seen {
            read: fingerprint(read),
            followed: fingerprint(followed),
        }
    }
}

/// Every file that the keys of a configuration file name.
fn each_in_file(path: &Path, name: &mut impl FnMut(&str, PathBuf) -> bool) {
    // One that cannot be read or parsed names nothing; it is looked at itself.
    let contents = file::read_text(path)
        .ok()
        .and_then(|text| file::parse(&text, "").ok());
    let FileContents { values, lists, .. } = contents.unwrap_or_default();
    let in_lists = lists.into_iter().flat_map(|(list, items)| {
        let fields = items.into_iter().flat_map(|item| item.fields);
        fields.map(move |(key, line, raw)| (format!("{list}.{key}"), line, raw))
    });
    for (key, _, raw) in values.into_iter().chain(in_lists) {
        if let (true, Raw::String(path)) = (key.ends_with("_file"), raw) {
            name(&key, path.into());
        }
    }
}

fn fingerprint(files: &BTreeSet<PathBuf>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        path.hash(&mut hasher);
        content(path).hash(&mut hasher);
    }
    hasher.finish()
}

/// What is in a file, or why that cannot be said: that can change, too. Only of regular files, since a pipe would be waited for.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(format!("{} octets", about.len()));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn sources(folder: &Path, config: &str) -> Sources {
        let file = folder.join("config.toml");
        std::fs::write(&file, config).unwrap();
        Sources {
            file: Some(file),
            ..Sources::default()
        }
    }

    /// It has to be found twice.
    fn settles(watched: &mut Watched) -> bool {
        !watched.has_changed() && watched.has_changed()
    }

    #[test]
    fn every_file_that_is_named_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let config = format!(
            "[relay]\nsmarthost = \"smtp://u@h.example\"\npassword_file = {:?}\n[[accounts]]\nname = \"a\"\npassword_file = {:?}\n",
            path("relay"),
            path("account")
        );
        let mut sources = sources(folder.path(), &config);
        let variable = path("variable").display().to_string();
        sources
            .environment
            .insert("SMTP_ADMIN_PASSWORD_FILE".into(), variable);
        for name in ["relay", "account", "variable", "config.toml"] {
            let mut watched = Watched::look(&sources);
            assert!(!settles(&mut watched));
            let text = std::fs::read_to_string(path(name)).unwrap_or_default();
            std::fs::write(path(name), format!("{text}\n")).unwrap();
            assert!(settles(&mut watched), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_still_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path(), "");
        let mut watched = Watched::look(&sources);
        for half in ["[lim", "[limits]\nmax_rec", "[limits]\nmax_recipients = 5"] {
            std::fs::write(sources.file.as_ref().unwrap(), half).unwrap();
            assert!(!watched.has_changed());
        }
        assert!(watched.has_changed());
        // Back to what it was: nothing to do.
        std::fs::write(sources.file.as_ref().unwrap(), "").unwrap();
        assert!(!settles(&mut watched));
    }

    #[test]
    fn certificates_count_while_a_configuration_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cert = folder.path().join("tls.crt");
        let sources = sources(folder.path(), &format!("[tls]\ncert_file = {cert:?}\n"));
        let (mut good, mut bad) = (
            Watched::look(&sources).refused(false),
            Watched::look(&sources).refused(true),
        );
        std::fs::write(&cert, "PEM").unwrap();
        assert!(!settles(&mut good));
        assert!(settles(&mut bad));
    }

    #[test]
    fn every_setting_that_names_a_file_is_called_so() {
        // A `path` is where the server keeps or finds mail, or what is read anew for each use.
        let paths = crate::SETTINGS.iter().filter(|s| s.kind == "path");
        for setting in paths.filter(|s| !s.name.ends_with("path")) {
            assert!(setting.name.ends_with("_file"), "{}", setting.name);
        }
        for followed in FOLLOWED.iter().filter(|key| !key.starts_with("certificates.")) {
            assert!(crate::setting(followed).is_some(), "{followed}");
        }
        assert!(Config::load(&Sources::default()).is_ok());
    }
}
