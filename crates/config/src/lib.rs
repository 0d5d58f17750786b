//! One tree of settings: for each its type, default, unit, documentation, and
//! whether a reload applies it.
//!
//! * [`tree`](crate::SETTINGS) declares every setting once; field, key, variable, documentation and schema follow from it.
//! * [`Config::load`] merges the sources: built-in defaults < profile < `config.toml` < environment < flags.
//!   Every value knows where it came from, and all errors are reported together.
//! * [`show_table`], [`show_json`], [`reference_markdown`] and [`json_schema`] are views of the same declarations.
//!
//! This crate does not know what the settings do, and reads no variable of the process by itself.

mod check;
mod descriptor;
mod diff;
mod environment;
mod error;
mod file;
mod hint;
mod kinds;
mod later;
mod lists;
mod load;
mod merge;
mod reference;
mod schema;
mod show;
mod tree;
mod value;
mod watch;

#[cfg(test)]
mod tests;

pub use check::kubernetes::{is_label, ordinal};
pub use descriptor::{Descriptor, Reload};
pub use diff::Difference;
pub use error::{ConfigError, ConfigErrors};
pub use kinds::{
    Fraction, HopProtocol, HttpUrl, LocalDelivery, LogFormat, LogLevel, Login, MessagePipelining, NextHop,
    Profile, ProxyProtocol, Rate, Secret, TlsPolicy, TlsVersion, header_pairs, system_hostname,
};
pub use lists::{
    Account, Alias, CertificateFiles, DkimKeyFile, Domain, LISTS, ListDescriptor, ListKey, Quota, QuotaKind,
};
pub use lists::{AdminToken, QuotaPeriod, Recipients, Route, Scope, check_token_name};
pub use lists::{MessageEvent, SigningKey, Webhook};
pub use load::{DEFAULT_FILE, Flag, Loaded, Origin, Sources};
pub use reference::reference_markdown;
pub use schema::json_schema;
pub use show::{Shown, show_json, show_table, show_values};
pub use tree::*;
pub use watch::Watched;
