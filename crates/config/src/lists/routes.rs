//! `[[routes]]`: next hops by the recipient's domain.

use super::{Fields, ListKey, Listed, domain_name, path};
use crate::kinds::{NextHop, TlsPolicy};
use crate::tree::Config;
use crate::value::Value;
use serde_json::{Value as Json, json};

/// A next hop for some domains.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `match`: `example.com`, `*.example.com` (its subdomains), `*`; lower case.
    pub pattern: String,
    /// `to`: the next hop, with the password of `password_file`.
    pub to: NextHop,
    /// `tls`; when not set, `verified` where a login is sent, else `delivery.tls`.
    pub tls: TlsPolicy,
}

impl Listed for Route {
    const DOC: &'static str =
        "Next hops by the recipient's domain; the first match wins, and wins over `relay.smarthost`.";
    const UNIQUE: &'static str = "match";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "match",
            kind: "`example.com`, `*.example.com` (its subdomains) or `*`",
            doc: "Domains it is for.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "to",
            kind: NextHop::KIND,
            doc: "The next hop.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "password_file",
            kind: "path",
            default: "none",
            doc: "File with the password for the user in `to`.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "tls",
            kind: TlsPolicy::KIND,
            default: "`verified` for a next hop with a user, else `delivery.tls`",
            doc: "TLS towards it.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, config: &Config) -> Option<Self> {
        let pattern = fields.read("match", |raw| domain_pattern(&String::read(raw)?));
        let mut to = fields.read("to", NextHop::read)?;
        if fields.has("password_file") {
            let file = fields.read("password_file", path)?;
            to = fields.read("password_file", |_| to.clone().with_password_file(&file))?;
        }
        let tls = to.default_tls(config.delivery.tls);
        let tls = fields.read_or("tls", tls, TlsPolicy::read)?;
        if let Err(reason) = to.check(tls) {
            fields.error("to", reason);
        }
        Some(Route {
            pattern: pattern?,
            to,
            tls,
        })
    }

    fn unique(&self) -> String {
        self.pattern.clone()
    }

    fn show(&self) -> Json {
        json!({"match": self.pattern, "to": self.to.show(), "tls": self.tls.name()})
    }
}

fn domain_pattern(text: &str) -> Result<String, String> {
    match text.strip_prefix("*.") {
        _ if text == "*" => Ok(text.into()),
        Some(domain) => domain_name(domain).map(|domain| format!("*.{domain}")),
        None => domain_name(text),
    }
}
