//! The lists of tables: `[[routes]]` and `[[domains]]`. They can be set in the file only.

use crate::error::ConfigError;
use crate::file::Item;
use crate::hint::nearest;
use crate::kinds::{LocalDelivery, NextHop, TlsPolicy, is_hostname};
use crate::tree::Config;
use crate::value::{Raw, Value, expected};
use serde_json::{Value as Json, json};
use std::collections::HashSet;

/// A next hop for some domains.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `match`: `example.com`, `*.example.com` (its subdomains), `*`; lower case.
    pub pattern: String,
    /// `to`: the next hop.
    pub to: NextHop,
    /// `tls`; `delivery.tls` when not set.
    pub tls: TlsPolicy,
}

/// A local domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// `name`; lower case.
    pub name: String,
    /// `deliver`: where its mail goes.
    pub deliver: LocalDelivery,
}

/// A list, for the reference and the schema.
#[derive(Debug)]
pub struct ListDescriptor {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// The keys of an item.
    pub keys: &'static [ListKey],
}

/// A key of a list's items.
#[derive(Debug)]
pub struct ListKey {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in words.
    pub kind: &'static str,
    /// What it is when it is not set; empty when it must be.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// The lists.
pub static LISTS: &[ListDescriptor] = &[
    ListDescriptor {
        name: "routes",
        doc: "Next hops by the recipient's domain; the first match wins, and wins over `relay.smarthost`.",
        keys: &[
            ListKey {
                name: "match",
                kind: "`example.com`, `*.example.com` (its subdomains) or `*`",
                default: "",
                doc: "Domains it is for.",
            },
            ListKey {
                name: "to",
                kind: "smtp://host:port",
                default: "",
                doc: "The next hop.",
            },
            ListKey {
                name: "tls",
                kind: TlsPolicy::KIND,
                default: "`delivery.tls`",
                doc: "TLS towards it.",
            },
        ],
    },
    ListDescriptor {
        name: "domains",
        doc: "Local domains: mail for them is accepted from everybody.",
        keys: &[
            ListKey {
                name: "name",
                kind: "domain",
                default: "",
                doc: "The domain.",
            },
            ListKey {
                name: "deliver",
                kind: "`maildir:/path/{domain}/{local}`, `capture` or `smtp:host:port`",
                default: "",
                doc: "Where its mail goes.",
            },
            ListKey {
                name: "recipients",
                kind: "`any`",
                default: "`any`",
                doc: "Which of its addresses exist. More choices follow with accounts.",
            },
        ],
    },
];

/// Reads the items of a list into `config`, and adds what is wrong to `errors`.
pub(crate) fn read_list(
    config: &mut Config,
    list: &ListDescriptor,
    items: &[Item],
    file: &str,
    errors: &mut Vec<ConfigError>,
) {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let mut fields = Fields {
            list,
            index,
            item,
            file,
            errors: Vec::new(),
        };
        fields.refuse_unknown();
        let duplicate = match list.name {
            "routes" => fields.route(config.delivery.tls).and_then(|route| {
                let new = seen.insert(route.pattern.clone());
                config.routes.push(route);
                (!new).then_some("match")
            }),
            _ => fields.domain().and_then(|domain| {
                let new = seen.insert(domain.name.clone());
                config.domains.push(domain);
                (!new).then_some("name")
            }),
        };
        if let Some(key) = duplicate {
            fields.error(key, "there is one with the same before".into());
        }
        errors.append(&mut fields.errors);
    }
}

/// One item while it is read.
struct Fields<'a> {
    list: &'a ListDescriptor,
    index: usize,
    item: &'a Item,
    file: &'a str,
    errors: Vec<ConfigError>,
}

impl Fields<'_> {
    fn route(&mut self, default_tls: TlsPolicy) -> Option<Route> {
        let pattern = self.read("match", |raw| domain_pattern(&String::read(raw)?));
        let to = self.read("to", NextHop::read);
        let tls = match self.has("tls") {
            true => self.read("tls", TlsPolicy::read),
            false => Some(default_tls),
        };
        Some(Route {
            pattern: pattern?,
            to: to?,
            tls: tls?,
        })
    }

    fn domain(&mut self) -> Option<Domain> {
        let name = self.read("name", |raw| domain_name(&String::read(raw)?));
        let deliver = self.read("deliver", |raw| local_delivery(&String::read(raw)?));
        if self.has("recipients") {
            self.read("recipients", recipients)?;
        }
        Some(Domain {
            name: name?,
            deliver: deliver?,
        })
    }

    fn has(&self, key: &str) -> bool {
        self.item.fields.iter().any(|(name, _, _)| name == key)
    }

    /// Reads one key; what is wrong, a missing key too, is noted.
    fn read<T>(&mut self, key: &str, read: impl Fn(&Raw) -> Result<T, String>) -> Option<T> {
        let result = match self.item.fields.iter().find(|(name, _, _)| name == key) {
            Some((_, _, raw)) => read(raw),
            None => Err("it has to be set".into()),
        };
        result.map_err(|reason| self.error(key, reason)).ok()
    }

    fn refuse_unknown(&mut self) {
        let known = self.list.keys;
        for (name, _, _) in &self.item.fields {
            if known.iter().all(|key| key.name != name) {
                let hint = nearest(name, known.iter().map(|key| key.name));
                let hint = hint
                    .map(|key| format!("; did you mean {key}?"))
                    .unwrap_or_default();
                self.error(name, format!("there is no such setting{hint}"));
            }
        }
    }

    fn error(&mut self, key: &str, reason: String) {
        let field = self.item.fields.iter().find(|(name, _, _)| name == key);
        let line = field.map_or(self.item.line, |(_, line, _)| *line);
        let name = format!("{}[{}].{key}", self.list.name, self.index);
        self.errors.push(ConfigError::new(
            format_args!("{}:{line}", self.file),
            name,
            reason,
        ));
    }
}

fn domain_name(text: &str) -> Result<String, String> {
    match is_hostname(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "{text:?} is not a domain (write international ones in their xn-- form)"
        )),
    }
}

fn domain_pattern(text: &str) -> Result<String, String> {
    match text.strip_prefix("*.") {
        _ if text == "*" => Ok(text.into()),
        Some(domain) => domain_name(domain).map(|domain| format!("*.{domain}")),
        None => domain_name(text),
    }
}

fn recipients(raw: &Raw) -> Result<(), String> {
    match raw.text() {
        Some("any") => Ok(()),
        Some("known" | "verify") => Err("this version supports \"any\" only".into()),
        _ => Err(expected("\"any\"", raw)),
    }
}

fn local_delivery(text: &str) -> Result<LocalDelivery, String> {
    match text.split_once(':') {
        None if text == "capture" => Ok(LocalDelivery::Capture),
        Some(("maildir", template)) => maildir_template(template).map(LocalDelivery::Maildir),
        Some(("smtp", hop)) => NextHop::parse(hop.trim_start_matches("//")).map(LocalDelivery::Smtp),
        Some(("lmtp" | "webhook", _)) => Err("this version does not support lmtp: and webhook: yet".into()),
        _ => Err(format!(
            "expected maildir:/path, capture or smtp:host:port, found {text:?}"
        )),
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

/// A list as it is shown: the same shape as in the file.
pub(crate) fn shown(config: &Config, list: &str) -> Json {
    match list {
        "routes" => config.routes.iter().map(shown_route).collect(),
        _ => config.domains.iter().map(shown_domain).collect(),
    }
}

fn shown_route(route: &Route) -> Json {
    json!({"match": route.pattern, "to": route.to.show(), "tls": route.tls.name()})
}

fn shown_domain(domain: &Domain) -> Json {
    json!({"name": domain.name, "deliver": domain.deliver.to_string(), "recipients": "any"})
}
