//! Names that are reserved for what is not there yet. They are refused, never ignored:
//! a server that silently leaves out a database or a filter is worse than one that does not start.

/// Sections, or keys `section.key`.
pub(crate) const KEYS: &[&str] = &["cluster", "filters", "redis", "listeners"];

/// Variables.
pub(crate) const VARIABLES: &[&str] = &["SMTP_REDIS_URL"];

/// The reason given for all of them.
pub(crate) const REASON: &str = "this version does not support it yet";

/// Whether a key, or its section, is for a later version.
pub(crate) fn is_later(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or(key);
    KEYS.iter().any(|later| *later == key || *later == section)
}
