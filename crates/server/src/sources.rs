//! What the command line and the environment say about the configuration.

use crate::cli::SourceArgs;
use crate::exit::{Exit, Failure};
use crate::output::warn;
use smtp_config::{Config, ConfigErrors, DEFAULT_FILE, Flag, Loaded, Sources};
use std::collections::BTreeMap;

impl SourceArgs {
    /// All sources of the configuration.
    pub(crate) fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            default_file: Some(DEFAULT_FILE.into()),
            environment: environment(),
            flags: self.flags(),
            resolve_files: true,
        }
    }

    fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let mut add = |name: &str, key: &str, value: Option<String>| {
            flags.extend(value.map(|value| Flag {
                name: name.into(),
                key: key.into(),
                value,
            }));
        };
        for (key, value) in &self.set {
            add("--set", key, Some(value.clone()));
        }
        let hosts: Vec<String> = self.host.iter().map(ToString::to_string).collect();
        add("--profile", "profile", self.profile.clone());
        add("--port", "server.port", self.port.map(|port| port.to_string()));
        add(
            "--host",
            "server.host",
            (!hosts.is_empty()).then(|| hosts.join(",")),
        );
        add(
            "--http-port",
            "http.port",
            self.http_port.map(|port| port.to_string()),
        );
        add(
            "--db",
            "storage.path",
            self.db.as_ref().map(|path| path.to_string_lossy().into_owned()),
        );
        flags
    }
}

/// Reads the configuration; what is wrong with it ends the process with 78.
pub(crate) fn load(sources: &Sources) -> Result<Loaded, Failure> {
    Config::load(sources).map_err(wrong)
}

/// How a wrong configuration ends the process.
pub(crate) fn wrong(errors: ConfigErrors) -> Failure {
    warn(&errors.warnings);
    Failure::new(
        Exit::Config,
        format_args!(
            "the configuration is wrong (`smtp-server check` reads it without starting anything)\n{errors}"
        ),
    )
}

/// The variables of the process; one that is not UTF-8 cannot be a setting and is shown as well as it can be.
fn environment() -> BTreeMap<String, String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
