//! Where mail goes: a next hop with its protocol and login, and the ways of local delivery.

use super::{Secret, TlsPolicy, is_hostname};
use crate::value::{Raw, Value, expected};
use serde_json::{Value as Json, json};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// What is spoken to a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HopProtocol {
    /// SMTP, with STARTTLS by policy.
    #[default]
    Smtp,
    /// SMTP in TLS from the first octet (RFC 8314).
    Smtps,
    /// LMTP (RFC 2033), with STARTTLS by policy.
    Lmtp,
}

impl HopProtocol {
    /// The scheme of its URLs.
    pub fn name(self) -> &'static str {
        match self {
            HopProtocol::Smtp => "smtp",
            HopProtocol::Smtps => "smtps",
            HopProtocol::Lmtp => "lmtp",
        }
    }
    fn port(self) -> u16 {
        match self {
            HopProtocol::Smtp => 25,
            HopProtocol::Smtps => 465,
            HopProtocol::Lmtp => 24,
        }
    }
    fn of(name: &str) -> Option<HopProtocol> {
        [HopProtocol::Smtp, HopProtocol::Smtps, HopProtocol::Lmtp]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }
}

/// Whom a next hop knows us as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user.
    pub user: String,
    /// Its password; empty until a `password_file` is read.
    pub password: Secret,
}

/// `smtp://[user[:password]@]host[:port]`; also `smtps://` and `lmtp://`. Host: a name or address (IPv6 in brackets, kept without).
/// User and password are percent-encoded. Default ports 25, 465, 24.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// What is spoken to it.
    pub protocol: HopProtocol,
    /// Name, or address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whom it knows us as; `None` to send without AUTH.
    pub login: Option<Login>,
}

impl NextHop {
    /// Reads what stands behind the scheme. Errors never repeat the text, which may hold a password.
    pub(crate) fn parse(protocol: HopProtocol, text: &str) -> Result<NextHop, String> {
        let (login, text) = match text.rsplit_once('@') {
            Some((login, rest)) => (Some(parse_login(login)?), rest),
            None => (None, text),
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest
                .split_once(']')
                .ok_or("the bracket around the address is not closed")?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = parse_port(port, protocol)?;
        let valid = match text.starts_with('[') {
            true => host.parse::<Ipv6Addr>().is_ok(),
            false => host.parse::<Ipv4Addr>().is_ok() || is_hostname(host),
        };
        if !valid {
            return Err("the host must be a name, an IPv4 address or an IPv6 address in brackets".into());
        }
        Ok(NextHop {
            protocol,
            host: host.to_ascii_lowercase(),
            port,
            login,
        })
    }

    /// Reads `scheme://…`.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse_url(url: &str) -> Result<NextHop, String> {
        let wrong = "expected smtp://host:port, smtps:// or lmtp://";
        let (scheme, rest) = url.split_once("://").ok_or(wrong)?;
        let protocol = HopProtocol::of(scheme).ok_or(wrong)?;
        NextHop::parse(protocol, rest.strip_suffix('/').unwrap_or(rest))
    }

    /// Takes the password from a file.
    ///
    /// # Errors
    /// When there is no user, a password already, or the file cannot be read.
    pub fn with_password_file(mut self, file: &Path) -> Result<NextHop, String> {
        match &mut self.login {
            None => Err("the next hop names no user (smtp://user@host)".into()),
            Some(login) if !login.password.expose().is_empty() => {
                Err("the next hop holds a password already; keep one of them".into())
            }
            Some(login) => {
                login.password = Secret::new(crate::lists::password_in(file)?);
                Ok(self)
            }
        }
    }

    /// The policy for it where none is set: a login is shown to nobody whose certificate was not verified.
    pub fn default_tls(&self, otherwise: TlsPolicy) -> TlsPolicy {
        match self.login {
            Some(_) if !self.is_loopback() => TlsPolicy::Verified,
            _ => otherwise,
        }
    }

    /// Whether it can be used with this policy.
    ///
    /// # Errors
    /// Says what would be unsafe, or cannot work.
    pub fn check(&self, tls: TlsPolicy) -> Result<(), String> {
        if self.protocol == HopProtocol::Smtps && tls == TlsPolicy::None {
            return Err("smtps:// is TLS; with tls = \"none\" write smtp://".into());
        }
        let Some(login) = &self.login else { return Ok(()) };
        if login.password.expose().is_empty() {
            return Err("the user has no password: write user:password@, or set password_file".into());
        }
        let secure =
            self.protocol == HopProtocol::Smtps || matches!(tls, TlsPolicy::Required | TlsPolicy::Verified);
        if !secure && !self.is_loopback() {
            return Err("the password would go in clear: set tls to \"verified\" or \"required\"".into());
        }
        Ok(())
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// With user and without password, as it is shown.
    fn shown(&self) -> String {
        let login = match &self.login {
            Some(login) if login.password.expose().is_empty() => format!("{}@", login.user),
            Some(login) => format!("{}:***@", login.user),
            None => String::new(),
        };
        format!("{login}{self}")
    }
}

fn parse_port(text: &str, protocol: HopProtocol) -> Result<u16, String> {
    match text.strip_prefix(':') {
        None if text.is_empty() => Ok(protocol.port()),
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err("the port must be a number from 1 to 65535 (IPv6 addresses go in brackets)".into()),
        },
        None => Err("after the bracket only :port may follow".into()),
    }
}

fn parse_login(text: &str) -> Result<Login, String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let (user, password) = (percent_decoded(user)?, percent_decoded(password)?);
    if user.is_empty() {
        return Err("the user before @ is empty".into());
    }
    if user.contains('\0') || password.contains('\0') {
        return Err("user and password cannot hold NUL".into());
    }
    Ok(Login {
        user,
        password: Secret::new(super::no_placeholder(&password)?),
    })
}

/// RFC 3986 2.1.
fn percent_decoded(text: &str) -> Result<String, String> {
    const WRONG: &str = "in user and password, % must begin a %XX of UTF-8 (write % itself as %25)";
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or(WRONG)?, digit().ok_or(WRONG)?);
        octets.push(u8::try_from(high * 16 + low).map_err(|_| WRONG)?);
    }
    String::from_utf8(octets).map_err(|_| WRONG.into())
}

/// `host:port`, IPv6 addresses in brackets.
impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Value for NextHop {
    const KIND: &'static str = "`smtp://[user:password@]host[:port]`, `smtps://…` or `lmtp://…`";
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw
            .text()
            .ok_or_else(|| expected("a next hop such as smtp://host:port", raw))?;
        NextHop::parse_url(text)
    }
    fn show(&self) -> Json {
        Json::from(format!("{}://{}", self.protocol.name(), self.shown()))
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^(smtps?|lmtp)://"})
    }
}

/// Where a local domain's mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDelivery {
    /// `maildir:/data/mail/{domain}/{local}`: the folder's template.
    Maildir(String),
    /// `capture`
    Capture,
    /// `smtp:host:port`, `lmtp:host:port`
    Hop(NextHop),
}

impl LocalDelivery {
    /// Its text form, in words.
    pub const KIND: &'static str =
        "`maildir:/path/{domain}/{local}`, `lmtp:host[:port]`, `smtp:host[:port]` or `capture`";

    /// Reads the text form.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<LocalDelivery, String> {
        match text.split_once(':') {
            None if text == "capture" => Ok(LocalDelivery::Capture),
            Some(("maildir", template)) => maildir_template(template).map(LocalDelivery::Maildir),
            Some((scheme @ ("smtp" | "lmtp"), hop)) => local_hop(scheme, hop).map(LocalDelivery::Hop),
            Some(("webhook", _)) => Err("this version does not support webhook: yet".into()),
            _ => Err(format!(
                "expected maildir:/path, lmtp:host:port, smtp:host:port or capture, found {text:?}"
            )),
        }
    }

    pub(crate) fn read(raw: &Raw) -> Result<Self, String> {
        LocalDelivery::parse(raw.text().ok_or_else(|| expected(Self::KIND, raw))?)
    }
}

fn local_hop(scheme: &str, hop: &str) -> Result<NextHop, String> {
    let protocol = HopProtocol::of(scheme).unwrap_or_default();
    let hop = NextHop::parse(protocol, hop.trim_start_matches("//"))?;
    match hop.login {
        Some(_) => Err("a domain's next hop takes no user; use [[routes]]".into()),
        None => Ok(hop),
    }
}

/// An absolute path in which only `{domain}` and `{local}` stand in braces.
fn maildir_template(template: &str) -> Result<String, String> {
    if !template.starts_with('/') {
        return Err("the folder of a maildir must be an absolute path".into());
    }
    if template.split('/').any(|part| part == "..") {
        return Err("the folder of a maildir must not hold \"..\"".into());
    }
    let bare = template.replace("{domain}", "").replace("{local}", "");
    if bare.contains(['{', '}']) {
        return Err("in the folder of a maildir only {domain} and {local} may stand in braces".into());
    }
    Ok(template.into())
}

impl fmt::Display for LocalDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalDelivery::Maildir(template) => write!(f, "maildir:{template}"),
            LocalDelivery::Capture => f.write_str("capture"),
            LocalDelivery::Hop(hop) => write!(f, "{}:{hop}", hop.protocol.name()),
        }
    }
}
