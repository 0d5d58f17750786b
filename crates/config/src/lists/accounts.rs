//! `[[accounts]]` and `[[aliases]]`: who may send, and whose mail goes elsewhere.

use super::{Fields, ListKey, Listed, password_in, path};
use crate::kinds::{Secret, is_hostname};
use crate::tree::Config;
use crate::value::{Raw, Value, expected};
use serde_json::{Value as Json, json};
use std::fmt;
use std::time::Duration;

/// Who may send. One named like an address of a local domain is a mailbox too.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// `name`, as written.
    pub name: String,
    /// `password`, or the content of `password_file`: the password itself, or a hash of it that begins with `$argon2id$`.
    /// `None` for an account that has no password: it is known by its identities, or takes mail only.
    pub password: Option<Secret>,
    /// `senders`: patterns `a@example.com`, `*@example.com`, `*@*.example.com`, `*`.
    pub senders: Vec<String>,
    /// `identities`: `oauth:SUBJECT`, `cert:NAME`.
    pub identities: Vec<String>,
    /// `quota`: how much it may send.
    pub quota: Vec<Quota>,
}

/// How much an account may send in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Of what.
    pub kind: QuotaKind,
    /// How many.
    pub amount: u32,
    /// In which time.
    pub period: QuotaPeriod,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKind {
    /// Messages.
    Messages,
    /// Recipients of messages.
    Recipients,
}

/// The time that a quota is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaPeriod {
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 86,400 seconds.
    Day,
}

impl QuotaPeriod {
    /// Its length.
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            QuotaPeriod::Minute => 60,
            QuotaPeriod::Hour => 3600,
            QuotaPeriod::Day => 86_400,
        })
    }
    fn name(self) -> &'static str {
        match self {
            QuotaPeriod::Minute => "minute",
            QuotaPeriod::Hour => "hour",
            QuotaPeriod::Day => "day",
        }
    }
}

impl Quota {
    /// Its text form, in words.
    pub const KIND: &'static str = "`100/hour`, `recipients:1000/day` (minute, hour or day)";

    /// Reads the text form.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Quota, String> {
        let wrong =
            || format!("{text:?} is no quota; write 100/hour or recipients:1000/day (minute, hour or day)");
        let (kind, rest) = match text.split_once(':') {
            None => (QuotaKind::Messages, text),
            Some(("messages", rest)) => (QuotaKind::Messages, rest),
            Some(("recipients", rest)) => (QuotaKind::Recipients, rest),
            Some(_) => return Err(wrong()),
        };
        let (amount, period) = rest.split_once('/').ok_or_else(wrong)?;
        let period = match period {
            "minute" => QuotaPeriod::Minute,
            "hour" => QuotaPeriod::Hour,
            "day" => QuotaPeriod::Day,
            _ => return Err(wrong()),
        };
        match amount.parse() {
            Ok(amount) if amount > 0 => Ok(Quota { kind, amount, period }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            QuotaKind::Messages => "",
            QuotaKind::Recipients => "recipients:",
        };
        write!(f, "{kind}{}/{}", self.amount, self.period.name())
    }
}

impl Listed for Account {
    const DOC: &'static str = "Accounts: who may send after AUTH. One named like an address of a local domain is a mailbox too. An account that is \
                               declared here cannot be changed at run time.";
    const UNIQUE: &'static str = "name";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "name",
            doc: "What it logs in as: a name, or an address.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "password_file",
            kind: "path",
            default: "none",
            doc: "File with its password, or with a hash `$argon2id$…` of it.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "password",
            default: "none",
            doc: "The same, in this file. Never shown.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "senders",
            kind: "`a@example.com`, `*@example.com`, `*@*.example.com` (its subdomains) or `*`",
            many: true,
            default: "its own address",
            doc: "Addresses that it may send as, in MAIL and in `From:`.",
        },
        ListKey {
            name: "identities",
            kind: "`oauth:SUBJECT` or `cert:NAME`",
            many: true,
            default: "none",
            doc: "Names by which tokens and client certificates mean it. A token or certificate that names the account itself needs none.",
        },
        ListKey {
            name: "quota",
            kind: Quota::KIND,
            many: true,
            default: "none",
            doc: "How much it may send; over it, MAIL or RCPT gets `450 4.7.1` with the time to wait.",
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let name = fields.read("name", |raw| account_name(&String::read(raw)?));
        let password = read_password(fields);
        let senders = fields.read_or("senders", Vec::new(), |raw| each(raw, sender_pattern));
        let identities = fields.read_or("identities", Vec::new(), |raw| each(raw, identity));
        let quota = fields.read_or("quota", Vec::new(), |raw| each(raw, Quota::parse));
        Some(Account {
            name: name?,
            password: password?,
            senders: senders?,
            identities: identities?,
            quota: quota?,
        })
    }

    fn unique(&self) -> String {
        self.name.to_lowercase()
    }

    fn show(&self) -> Json {
        json!({
            "name": self.name,
            "password": self.password.as_ref().map(|_| "***"),
            "senders": self.senders,
            "identities": self.identities,
            "quota": self.quota.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

fn read_password(fields: &mut Fields<'_>) -> Option<Option<Secret>> {
    match (fields.has("password_file"), fields.has("password")) {
        (true, true) => {
            fields.error("password", "password_file is set too; keep one of them".into());
            None
        }
        (true, false) => fields.read("password_file", |raw| {
            path(raw)
                .and_then(|path| password_in(&path))
                .map(|password| Some(Secret::new(password)))
        }),
        (false, true) => fields.read("password", |raw| match Secret::read(raw)? {
            password if password.expose().is_empty() => Err("it is empty".into()),
            password => Ok(Some(password)),
        }),
        (false, false) => Some(None),
    }
}

/// One text or a list of texts, each read by `read`.
pub(super) fn each<T>(raw: &Raw, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    match raw {
        Raw::List(members) => members
            .iter()
            .map(|member| read(member.text().ok_or_else(|| expected("text", member))?))
            .collect(),
        other => Ok(vec![read(
            other.text().ok_or_else(|| expected("a list of texts", other))?,
        )?]),
    }
}

fn account_name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".into()),
        text if text.len() > 255 || text.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            Err("it must be at most 255 octets without blanks".into())
        }
        text => Ok(text.to_owned()),
    }
}

fn identity(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some(("oauth" | "cert", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} must be oauth:SUBJECT or cert:NAME")),
    }
}

/// Reads a pattern of senders; domains in lower case.
fn sender_pattern(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.into());
    }
    let wrong =
        || format!("{text:?} is no pattern; write a@example.com, *@example.com, *@*.example.com or *");
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let plain = domain.strip_prefix("*.").unwrap_or(domain);
    let starred = local != "*" && (local.contains('*') || domain.starts_with("*."));
    if local.is_empty()
        || starred
        || !is_hostname(plain)
        || local.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(wrong());
    }
    Ok(format!("{local}@{}", domain.to_ascii_lowercase()))
}

/// An address whose mail goes to others.
#[derive(Clone, Debug, PartialEq)]
pub struct Alias {
    /// `name`: an address of a local domain, or `@example.com` for every address that is not known; domain in lower case.
    pub name: String,
    /// `to`: one or more addresses, local or not.
    pub to: Vec<String>,
}

impl Listed for Alias {
    const DOC: &'static str = "Aliases: addresses of local domains whose mail goes to others.";
    const UNIQUE: &'static str = "name";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "name",
            kind: "`sales@example.com`, or `@example.com` for every address that nothing else knows",
            doc: "The address.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "to",
            kind: "address",
            many: true,
            doc: "Where its mail goes: addresses, local or not, other aliases too.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let name = fields.read("name", |raw| address(&String::read(raw)?, true));
        let to = fields.read("to", |raw| match each(raw, |text| address(text, false))? {
            none if none.is_empty() => Err("it must name at least one address".into()),
            some => Ok(some),
        });
        Some(Alias { name: name?, to: to? })
    }

    fn unique(&self) -> String {
        self.name.to_lowercase()
    }

    fn show(&self) -> Json {
        json!({"name": self.name, "to": self.to})
    }
}

/// An address in its usual form; what else RFC 5321 allows is for the directory to judge.
fn address(text: &str, catch_all: bool) -> Result<String, String> {
    let wrong = || format!("{text:?} is not an address");
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let blank = local.chars().any(|c| c.is_control() || c.is_whitespace());
    if blank || local.is_empty() && !catch_all || !is_hostname(domain) {
        return Err(wrong());
    }
    Ok(format!("{local}@{}", domain.to_ascii_lowercase()))
}
