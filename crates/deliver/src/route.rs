//! Where the mail of one address goes: captured, into a Maildir, or to a next hop.
//!
//! The order, first match wins: `delivery.capture`; a local domain of that exact name (declared or made at run time); the first
//! `[[routes]]` entry that matches; `relay.smarthost`; the address itself when its domain is an IP address;
//! the MX records of its domain. Domains are compared as A-labels (RFC 5890) in lower case, so every
//! spelling of a domain finds the same entry.

use smtp::{Address, Enhanced, Reply};
use smtp_config::{Config, HopProtocol, LocalDelivery, Login, NextHop, TlsPolicy};
use smtp_directory::Directory;
use std::fmt;
use std::sync::Arc;

/// Longest domain that DNS can hold, in octets (RFC 1035 2.3.4), without the final dot.
const DOMAIN_LENGTH: usize = 253;

/// Where the mail of one address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into a Maildir; the template of its folder, as configured.
    Maildir(Arc<str>),
    /// Into the capture folder.
    Capture,
    /// Over the network.
    Hop(Arc<Hop>),
}

/// A next hop, and how its connection is protected. Equal hops can share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    /// How the servers are found.
    pub kind: HopKind,
    /// TLS towards them.
    pub tls: TlsPolicy,
}

/// How the servers of a next hop are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HopKind {
    /// By the MX records of this domain: ASCII, lower case (an A-label where it is international).
    Mx(String),
    /// This host, a name or an address, with its port.
    Host(NextHop),
}

/// As in logs: `example.com` for an MX domain, `[10.0.0.1]:25` or `mailhub:25` for a host.
impl fmt::Display for HopKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HopKind::Mx(domain) => f.write_str(domain),
            HopKind::Host(host) => host.fmt(f),
        }
    }
}

impl Hop {
    /// What is spoken to it.
    pub(crate) fn protocol(&self) -> HopProtocol {
        match &self.kind {
            HopKind::Mx(_) => HopProtocol::Smtp,
            HopKind::Host(host) => host.protocol,
        }
    }

    /// Whom it knows us as.
    pub(crate) fn login(&self) -> Option<&Login> {
        match &self.kind {
            HopKind::Mx(_) => None,
            HopKind::Host(host) => host.login.as_ref(),
        }
    }

    /// Whether mail may go in clear when TLS fails: only where TLS was our own wish, and no password is at stake.
    pub(crate) fn may_fall_back(&self) -> bool {
        self.tls == TlsPolicy::Opportunistic
            && self.login().is_none()
            && self.protocol() != HopProtocol::Smtps
    }

    /// The setting that names its user and password.
    pub(crate) fn setting(&self, config: &Config) -> String {
        let names = |to: &NextHop| matches!(&self.kind, HopKind::Host(host) if host == to);
        if let Some(place) = config.routes.iter().position(|route| names(&route.to)) {
            return format!("routes[{place}].to (or its password_file)");
        }
        "relay.smarthost (or relay.password_file)".to_owned()
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// The routing table: made of the configuration once, local domains looked up in the directory each time.
#[derive(Debug)]
pub(crate) struct Router {
    capture: bool,
    /// Local domains, which come and go at run time.
    directory: Arc<Directory>,
    routes: Vec<(Pattern, Arc<Hop>)>,
    smarthost: Option<Arc<Hop>>,
    /// Port of an address literal.
    port: u16,
    /// Policy where no route says otherwise.
    tls: TlsPolicy,
}

/// The `match` of a route.
#[derive(Debug)]
enum Pattern {
    Everything,
    /// Its subdomains at any depth, without itself; held with the leading dot.
    Subdomains(String),
    Domain(String),
}

impl Pattern {
    fn parse(text: &str) -> Self {
        match text.strip_prefix("*.") {
            _ if text == "*" => Pattern::Everything,
            Some(parent) => Pattern::Subdomains(format!(".{}", key_of(parent))),
            None => Pattern::Domain(key_of(text)),
        }
    }

    fn matches(&self, domain: &str) -> bool {
        match self {
            Pattern::Everything => true,
            Pattern::Subdomains(suffix) => domain.len() > suffix.len() && domain.ends_with(suffix.as_str()),
            Pattern::Domain(name) => name == domain,
        }
    }
}

impl Router {
    /// The table of this configuration, with the directory's domains.
    pub(crate) fn new(config: &Config, directory: Arc<Directory>) -> Self {
        let tls = config.delivery.tls;
        let routes = config
            .routes
            .iter()
            .map(|route| (Pattern::parse(&route.pattern), host(&route.to, route.tls)));
        Router {
            capture: config.delivery.capture,
            directory,
            routes: routes.collect(),
            smarthost: config
                .relay
                .smarthost
                .as_ref()
                .map(|to| host(to, config.relay.tls)),
            port: config.delivery.port,
            tls,
        }
    }

    /// Where mail for `address` goes, or why it can go nowhere (a permanent reply).
    pub(crate) fn target(&self, address: &Address) -> Result<Target, Reply> {
        if self.capture {
            return Ok(Target::Capture);
        }
        let domain = domain_key(address.domain()).ok_or_else(|| bad_domain(address.domain()))?;
        if let Some(local) = self.directory.snapshot().domain(&domain) {
            return Ok(self.local(&local.deliver));
        }
        let route = self.routes.iter().find(|(pattern, _)| pattern.matches(&domain));
        if let Some(hop) = route.map(|(_, hop)| hop).or(self.smarthost.as_ref()) {
            return Ok(Target::Hop(hop.clone()));
        }
        let kind = match address.literal() {
            Some(ip) => HopKind::Host(NextHop {
                protocol: HopProtocol::Smtp,
                login: None,
                host: ip.to_string(),
                port: self.port,
            }),
            None if domain.starts_with('[') => return Err(bad_domain(address.domain())),
            None => HopKind::Mx(domain),
        };
        Ok(Target::Hop(Arc::new(Hop { kind, tls: self.tls })))
    }

    fn local(&self, deliver: &LocalDelivery) -> Target {
        match deliver {
            LocalDelivery::Maildir(template) => Target::Maildir(template.as_str().into()),
            LocalDelivery::Capture => Target::Capture,
            LocalDelivery::Hop(to) => Target::Hop(host(to, self.tls)),
        }
    }
}

fn host(to: &NextHop, tls: TlsPolicy) -> Arc<Hop> {
    Arc::new(Hop {
        kind: HopKind::Host(to.clone()),
        tls,
    })
}

fn bad_domain(domain: &str) -> Reply {
    Reply::with(
        550,
        Enhanced(5, 1, 2),
        format!("{domain} is not a domain name that mail can be sent to"),
    )
}

/// What domains are compared by: lower-case ASCII, A-labels, no final dot. Address literals stay as they
/// are but for their case. `None` for what cannot be a domain.
pub(crate) fn domain_key(domain: &str) -> Option<String> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let key = if domain.is_ascii() {
        domain.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(domain).ok()?
    };
    (!key.is_empty() && key.len() <= DOMAIN_LENGTH).then_some(key)
}

/// As [`domain_key`] for a configured name: one that is no domain is kept, and matches nothing else.
fn key_of(name: &str) -> String {
    domain_key(name).unwrap_or_else(|| name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, config, directory, hop};
    use smtp_config::{Domain, Recipients, Route};

    fn route(pattern: &str, to: &str, tls: TlsPolicy) -> Route {
        Route {
            pattern: pattern.into(),
            to: hop(to, 25),
            tls,
        }
    }

    fn domain(name: &str, deliver: LocalDelivery) -> Domain {
        Domain {
            name: name.into(),
            recipients: Recipients::Any,
            deliver,
        }
    }

    /// The target as a line: `capture`, `maildir TEMPLATE`, `mx DOMAIN POLICY`, `host HOST:PORT POLICY`.
    fn target(config: &Config, to: &str) -> String {
        match Router::new(config, directory(config)).target(&address(to)) {
            Ok(Target::Capture) => "capture".into(),
            Ok(Target::Maildir(template)) => format!("maildir {template}"),
            Ok(Target::Hop(hop)) => match &hop.kind {
                HopKind::Mx(_) => format!("mx {hop} {:?}", hop.tls),
                HopKind::Host(_) => format!("host {hop} {:?}", hop.tls),
            },
            Err(reply) => format!("{} {}", reply.code, reply.text),
        }
    }

    #[test]
    fn without_settings_mail_goes_by_mx() {
        let config = config();
        assert_eq!(target(&config, "a@Example.COM"), "mx example.com Opportunistic");
        assert_eq!(
            target(&config, "a@b\u{fc}cher.example"),
            "mx xn--bcher-kva.example Opportunistic"
        );
        assert_eq!(
            target(&config, "a@[192.0.2.7]"),
            "host 192.0.2.7:25 Opportunistic"
        );
        assert_eq!(
            target(&config, "a@[IPv6:2001:db8::7]"),
            "host [2001:db8::7]:25 Opportunistic"
        );
    }

    #[test]
    fn a_local_domain_is_matched_exactly_and_before_routes() {
        let mut config = config();
        config.routes = vec![route("*", "relay.test", TlsPolicy::None)];
        config.domains = vec![
            domain("example.com", LocalDelivery::Maildir("/m/{local}".into())),
            domain("xn--bcher-kva.example", LocalDelivery::Capture),
            domain("lists.example", LocalDelivery::Hop(hop("10.0.0.9", 2424))),
        ];
        assert_eq!(target(&config, "a@EXAMPLE.com"), "maildir /m/{local}");
        assert_eq!(target(&config, "a@B\u{dc}CHER.example"), "capture");
        assert_eq!(
            target(&config, "a@lists.example"),
            "host 10.0.0.9:2424 Opportunistic"
        );
        assert_eq!(target(&config, "a@sub.example.com"), "host relay.test:25 None");
        assert_eq!(target(&config, "a@notexample.com"), "host relay.test:25 None");
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let mut config = config();
        config.routes = vec![
            route("*.internal.example", "in.test", TlsPolicy::Required),
            route("internal.example", "top.test", TlsPolicy::Verified),
            route("b\u{fc}cher.example", "idn.test", TlsPolicy::None),
            route("deep.internal.example", "never.test", TlsPolicy::None),
        ];
        config.relay.smarthost = Some(hop("hub", 587));
        assert_eq!(
            target(&config, "a@deep.internal.example"),
            "host in.test:25 Required"
        );
        assert_eq!(
            target(&config, "a@a.b.internal.example"),
            "host in.test:25 Required"
        );
        assert_eq!(target(&config, "a@internal.example"), "host top.test:25 Verified");
        assert_eq!(
            target(&config, "a@xn--bcher-kva.example"),
            "host idn.test:25 None"
        );
        assert_eq!(
            target(&config, "a@xinternal.example"),
            "host hub:587 Opportunistic"
        );
        assert_eq!(target(&config, "a@[192.0.2.7]"), "host hub:587 Opportunistic");
    }

    #[test]
    fn capture_takes_everything() {
        let mut config = config();
        config.delivery.capture = true;
        config.domains = vec![domain("example.com", LocalDelivery::Maildir("/m".into()))];
        assert_eq!(target(&config, "a@example.com"), "capture");
        assert_eq!(target(&config, "a@elsewhere.test"), "capture");
    }

    #[test]
    fn what_cannot_be_a_domain_is_refused_for_good() {
        assert_eq!(domain_key(&"a.".repeat(200)), None);
        assert_eq!(domain_key("xn--\u{fc}.example"), None);
        assert_eq!(domain_key("a.example."), Some("a.example".into()));
    }
}
