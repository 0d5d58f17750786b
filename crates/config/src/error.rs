//! What is wrong with a configuration, all of it at once.

use std::fmt;

/// Errors shown at most; a file of nonsense does not flood the terminal.
const SHOWN: usize = 50;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `/etc/smtp-server/config.toml:12`, `SMTP_PORT`, `--port`; empty when no source is to blame.
    pub source: String,
    /// The key; empty when it is about the source itself.
    pub key: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl ConfigError {
    pub(crate) fn new(source: impl fmt::Display, key: impl Into<String>, reason: impl Into<String>) -> Self {
        ConfigError {
            source: source.to_string(),
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.source, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.reason)
    }
}

/// Everything that is wrong with a configuration; one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    /// What is wrong.
    pub errors: Vec<ConfigError>,
    /// What was ignored besides; often the reason why something is missing.
    pub warnings: Vec<String>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.errors.iter().take(SHOWN).map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        match self.errors.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
