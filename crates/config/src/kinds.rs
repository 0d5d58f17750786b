//! The kinds of values that are more than a number or a text.

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
#[derive(Clone, PartialEq, Eq)]
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
        Ok(Secret(text.to_owned()))
    }
    fn show(&self) -> Json {
        Json::from("***")
    }
    fn schema() -> Json {
        json!({"type": "string", "writeOnly": true})
    }
}

/// `smtp://host[:port]`, host a name or address (IPv6 in brackets, kept without). Default port 25.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Name, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl NextHop {
    /// Reads `host[:port]`. Errors never repeat the text, which may hold a password.
    pub(crate) fn parse(text: &str) -> Result<NextHop, String> {
        if text.contains('@') {
            return Err("this version does not support a user and password for a next hop yet".into());
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest
                .split_once(']')
                .ok_or("the bracket around the address is not closed")?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 25,
            Some(digits) => match digits.parse() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(
                        "the port must be a number from 1 to 65535 (IPv6 addresses go in brackets)".into(),
                    );
                }
            },
            None => return Err("after the bracket only :port may follow".into()),
        };
        let bracketed = text.starts_with('[');
        let valid = if bracketed {
            host.parse::<Ipv6Addr>().is_ok()
        } else {
            host.parse::<Ipv4Addr>().is_ok() || is_hostname(host)
        };
        if !valid {
            return Err("the host must be a name, an IPv4 address or an IPv6 address in brackets".into());
        }
        Ok(NextHop {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Reads `smtp://host[:port]`.
    pub(crate) fn parse_url(url: &str) -> Result<NextHop, String> {
        if url.starts_with("smtps://") || url.starts_with("lmtp://") {
            return Err(
                "this version does not support smtps:// and lmtp:// next hops yet; use smtp://host:port"
                    .into(),
            );
        }
        let rest = url.strip_prefix("smtp://").ok_or("expected smtp://host:port")?;
        NextHop::parse(rest.strip_suffix('/').unwrap_or(rest))
    }
}

impl std::fmt::Display for NextHop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Value for NextHop {
    const KIND: &'static str = "smtp://host:port";
    fn read(raw: &Raw) -> Result<Self, String> {
        NextHop::parse_url(raw.text().ok_or_else(|| expected(Self::KIND, raw))?)
    }
    fn show(&self) -> Json {
        Json::from(format!("smtp://{self}"))
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^smtp://"})
    }
}

/// Where a local domain's mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDelivery {
    /// `maildir:/data/mail/{domain}/{local}`: the folder's template.
    Maildir(String),
    /// `capture`
    Capture,
    /// `smtp:host:port`
    Smtp(NextHop),
}

impl std::fmt::Display for LocalDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LocalDelivery::Maildir(template) => write!(f, "maildir:{template}"),
            LocalDelivery::Capture => f.write_str("capture"),
            LocalDelivery::Smtp(hop) => write!(f, "smtp:{hop}"),
        }
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
pub(crate) fn system_hostname() -> String {
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
