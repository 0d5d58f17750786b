//! The kinds of values that are more than a number or a text.

mod http;
mod next_hop;
mod rate;

pub use http::{Fraction, HttpUrl, header_pairs};
pub use next_hop::{HopProtocol, LocalDelivery, Login, NextHop};
pub use rate::Rate;

use crate::value::{Raw, Value, expected, words};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value as Json, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the server is run for; decides defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Loopback, every message captured, nothing leaves the machine.
    #[default]
    Development,
    /// All interfaces; refuses to start without what production needs.
    Production,
    /// Loopback, routes as configured, no requirements: for automated tests.
    Testing,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 3] = [Profile::Development, Profile::Production, Profile::Testing];
}

/// Least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Each command and connection.
    Debug,
    /// The life of each message.
    Info,
    /// What needs a look when it repeats.
    Warn,
    /// What has to be mended.
    Error,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object a line.
    Json,
    /// Words, for people.
    Text,
}

/// TLS towards a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Never.
    None,
    /// STARTTLS when offered, any certificate; in clear when the handshake fails.
    #[default]
    Opportunistic,
    /// STARTTLS or no delivery; any certificate.
    Required,
    /// STARTTLS with a certificate that chains to a root and names the host, or no delivery.
    Verified,
}

/// Least version of TLS that clients may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Whether a proxy in front tells who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Nobody is asked: the client is who connects.
    #[default]
    Off,
    /// Every connection begins with a header of the PROXY protocol, version 2.
    V2,
}

/// To whom a message is begun together with the end of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessagePipelining {
    /// To nobody.
    Never,
    /// To the smarthost and the next hops of routes.
    #[default]
    Named,
    /// To every server that announces PIPELINING.
    Always,
}

words!(MessagePipelining { Never = "never", Named = "named", Always = "always" });
words!(ProxyProtocol { Off = "off", V2 = "v2" });
words!(TlsVersion { Tls12 = "1.2", Tls13 = "1.3" });
words!(Profile { Development = "development", Production = "production", Testing = "testing" });
words!(LogLevel { Debug = "debug", Info = "info", Warn = "warn", Error = "error" });
words!(LogFormat { Json = "json", Text = "text" });
words!(TlsPolicy {
    None = "none",
    Opportunistic = "opportunistic",
    Required = "required",
    Verified = "verified"
});

/// A value that is never shown: Debug prints `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Value for Secret {
    const KIND: &'static str = "text";
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text().ok_or_else(|| expected(Self::KIND, raw))?;
        Ok(Secret(no_placeholder(text)?.to_owned()))
    }
    fn show(&self) -> Json {
        Json::from("***")
    }
    fn schema() -> Json {
        json!({"type": "string", "writeOnly": true})
    }
}

/// What stands for a secret in manifests that are meant to be edited.
const PLACEHOLDER: &str = "CHANGE-ME";

/// A secret that was really put in. A manifest's placeholder works at no peer, or worse, is known to everybody.
pub(crate) fn no_placeholder(text: &str) -> Result<&str, String> {
    match text.contains(PLACEHOLDER) {
        true => Err(format!(
            "{PLACEHOLDER} still stands there; put the real secret in its place"
        )),
        false => Ok(text),
    }
}

/// Whether `name` is a host or domain name of letters, digits and hyphens (RFC 1123 section 2.1).
pub(crate) fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// The system's name, or `localhost` when that is no host name.
pub fn system_hostname() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| is_hostname(name))
        .unwrap_or_else(|| "localhost".into())
}

pub(crate) fn loopback_addresses() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

pub(crate) fn wildcard_address() -> Vec<IpAddr> {
    vec![Ipv6Addr::UNSPECIFIED.into()]
}

pub(crate) fn loopback_networks() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![v4.into(), Ipv6Net::from(Ipv6Addr::LOCALHOST).into()]
}
