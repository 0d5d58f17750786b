//! Settings from environment variables, which the caller hands in.
//!
//! Every setting has `SMTP_<SECTION>__<KEY>`, some a short name too, and each of these with `_FILE` names a file that
//! holds the value. Kubernetes puts `SMTP_*` variables into a pod for every Service whose name begins
//! with `smtp`; those are ignored with one warning. An unknown `SMTP_X__Y` is an error: it was meant as a setting.

use crate::error::ConfigError;
use crate::hint::nearest;
use crate::later;
use crate::lists::LISTS;
use crate::tree::SETTINGS;
use std::collections::BTreeMap;
use std::path::Path;

/// The longest content of a `_FILE`.
const LONGEST_VALUE: usize = 64 * 1024;
/// Variables of the command line's own, not of the server's settings.
const FOR_COMMANDS: &[&str] = &[
    "SMTP_URL",
    "SMTP_ADMIN_URL",
    "SMTP_SENDMAIL_URL",
    "SMTP_SENDMAIL_PASSWORD",
    "SMTP_SENDMAIL_TLS",
    "SMTP_SENDMAIL_CA",
];

/// A value that a variable gives.
#[derive(Debug)]
pub(crate) struct Variable {
    /// The variable.
    pub(crate) name: String,
    /// `section.key`, `profile` or `config`.
    pub(crate) key: &'static str,
    /// Its value.
    pub(crate) value: String,
}

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) values: Vec<Variable>,
    pub(crate) warnings: Vec<String>,
    pub(crate) errors: Vec<ConfigError>,
}

/// Reads the `SMTP_*` variables.
pub(crate) fn read(variables: &BTreeMap<String, String>) -> Environment {
    let names = known_names();
    let mut result = Environment::default();
    let mut links = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("SMTP_")) {
        if is_service_link(name, value) {
            links.push(name.as_str());
            continue;
        }
        result.take(name, value, &names);
    }
    if !links.is_empty() {
        result.warnings.push(format!(
            "ignored variables that Kubernetes made for a Service: {} (enableServiceLinks: false in the pod leaves them out)",
            links.join(", ")
        ));
    }
    result.refuse_contradictions();
    result
}

/// Every variable's name and its key.
fn known_names() -> BTreeMap<String, &'static str> {
    let long = SETTINGS.iter().map(|setting| (setting.variable(), setting.name));
    let short = SETTINGS
        .iter()
        .filter(|s| !s.env.is_empty())
        .map(|s| (s.env.to_owned(), s.name));
    let others = [
        ("SMTP_PROFILE".to_owned(), "profile"),
        ("SMTP_CONFIG".to_owned(), "config"),
    ];
    long.chain(short).chain(others).collect()
}

impl Environment {
    fn take(&mut self, name: &str, value: &str, names: &BTreeMap<String, &'static str>) {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        if let Some(key) = names.get(name) {
            self.values.push(Variable {
                name: name.into(),
                key,
                value: value.into(),
            });
        } else if let Some(key) = names.get(base) {
            match read_value(Path::new(value)) {
                Ok(value) => self.values.push(Variable {
                    name: name.into(),
                    key,
                    value,
                }),
                Err(reason) => self
                    .errors
                    .push(ConfigError::new(name, *key, format!("{value}: {reason}"))),
            }
        } else if FOR_COMMANDS.contains(&base) {
        } else if later::VARIABLES.contains(&base) || is_later_key(base) {
            self.errors.push(ConfigError::new(name, "", later::REASON));
        } else if base.contains("__") {
            let hint = nearest(name, names.keys().map(String::as_str));
            self.errors.push(ConfigError::new(name, "", unknown(base, hint)));
        } else {
            let hint = nearest(name, names.keys().map(String::as_str));
            let hint = hint
                .map(|near| format!("; did you mean {near}?"))
                .unwrap_or_default();
            self.warnings
                .push(format!("ignored {name}: there is no such variable{hint}"));
        }
    }

    /// Two variables for one setting are an error, even when they agree: nobody could tell which one counts.
    fn refuse_contradictions(&mut self) {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for variable in &self.values {
            match first.get(variable.key) {
                None => {
                    first.insert(variable.key, &variable.name);
                }
                Some(other) => {
                    let reason = format!("{other} sets it too; keep one of them");
                    self.errors
                        .push(ConfigError::new(&variable.name, variable.key, reason));
                }
            }
        }
    }

    /// The value of a key, and its variable.
    pub(crate) fn get(&self, key: &str) -> Option<&Variable> {
        self.values.iter().find(|variable| variable.key == key)
    }
}

fn unknown(name: &str, hint: Option<&str>) -> String {
    let section = name
        .trim_start_matches("SMTP_")
        .split("__")
        .next()
        .unwrap_or_default();
    if LISTS.iter().any(|list| list.name.eq_ignore_ascii_case(section)) {
        return format!(
            "{} can be set in the configuration file only",
            section.to_ascii_lowercase()
        );
    }
    match hint {
        Some(near) => format!("there is no such setting; did you mean {near}?"),
        None => "there is no such setting".into(),
    }
}

fn is_later_key(name: &str) -> bool {
    let key = name.trim_start_matches("SMTP_").to_ascii_lowercase();
    key.contains("__") && later::is_later(&key.replacen("__", ".", 1))
}

/// The content of a file without the line end that editors put at its end.
fn read_value(path: &Path) -> Result<String, String> {
    let text = crate::file::read_text(path)?;
    if text.len() > LONGEST_VALUE {
        return Err("it is too long for a value".into());
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Whether Kubernetes makes such a variable for a Service: `X_SERVICE_HOST`, `X_SERVICE_PORT[_NAME]`,
/// `X_PORT=tcp://…`, `X_PORT_25_TCP[_PROTO|_PORT|_ADDR]`.
fn is_service_link(name: &str, value: &str) -> bool {
    let url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    if url && name.contains("_PORT") {
        return true;
    }
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    let details = ["_PROTO", "_PORT", "_ADDR"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix));
    let base = details.unwrap_or(name);
    base.rsplit_once("_PORT_")
        .is_some_and(|(_, rest)| digits_and_protocol(rest))
}

/// `25_TCP`
fn digits_and_protocol(text: &str) -> bool {
    text.split_once('_').is_some_and(|(port, protocol)| {
        port.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP")
    })
}
