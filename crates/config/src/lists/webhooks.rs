//! `[[webhooks]]`: programs that are told by HTTP what becomes of mail.

use super::accounts::each;
use super::tokens::check_plain_name;
use super::{Fields, ListKey, Listed, path};
use crate::kinds::{HttpUrl, Secret};
use crate::tree::Config;
use crate::value::{Raw, Value};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a secret begins with, as Standard Webhooks has it.
const PREFIX: &str = "whsec_";
/// Octets of a secret.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;
/// Most secrets at once: the one before beside the new one.
const MOST_SECRETS: usize = 4;

/// What a webhook can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEvent {
    /// The next hop or the mailbox has it.
    Delivered,
    /// An attempt failed; there will be another.
    Deferred,
    /// It was refused for good.
    Bounced,
    /// It was tried for `delivery.expire_after`.
    Expired,
    /// It is in the capture folder.
    Captured,
}

impl MessageEvent {
    /// Every event.
    pub const ALL: [MessageEvent; 5] = [
        MessageEvent::Delivered,
        MessageEvent::Deferred,
        MessageEvent::Bounced,
        MessageEvent::Expired,
        MessageEvent::Captured,
    ];

    /// Its name in the configuration; `message.` and this is its type.
    pub fn name(self) -> &'static str {
        match self {
            MessageEvent::Delivered => "delivered",
            MessageEvent::Deferred => "deferred",
            MessageEvent::Bounced => "bounced",
            MessageEvent::Expired => "expired",
            MessageEvent::Captured => "captured",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        let found = MessageEvent::ALL.into_iter().find(|event| event.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of delivered, deferred, bounced, expired and captured"))
    }
}

/// What calls are signed with. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Its octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The key of a secret as people write it.
    ///
    /// # Errors
    /// What a secret is, without the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let octets = text
            .strip_prefix(PREFIX)
            .and_then(|rest| BASE64_STANDARD.decode(rest).ok());
        octets
            .filter(|octets| SECRET.contains(&octets.len()))
            .map(SigningKey)
            .ok_or_else(|| {
                format!("a secret is {PREFIX} and 24 to 64 octets in base64; `echo {PREFIX}$(openssl rand -base64 32)` makes one")
            })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A program that is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// `name`: by which it is known in metrics, logs and the API.
    pub name: String,
    /// `url`: where calls go.
    pub url: HttpUrl,
    /// `secret`, or those of `secret_file`: each call has a signature by each.
    pub secrets: Vec<SigningKey>,
    /// `events`: what it is told of.
    pub events: Vec<MessageEvent>,
    /// `accounts`: whose mail; empty for everybody's.
    pub accounts: Vec<String>,
    /// `ca_file`: the authorities of its certificate.
    pub ca_file: Option<PathBuf>,
}

impl Webhook {
    /// Whether it is told of this event of a message that this account sent.
    pub fn wants(&self, event: MessageEvent, account: Option<&str>) -> bool {
        let of_account = || account.is_some_and(|account| self.accounts.iter().any(|name| name == account));
        self.events.contains(&event) && (self.accounts.is_empty() || of_account())
    }
}

impl Listed for Webhook {
    const DOC: &'static str = "Programs that are told by HTTP what becomes of mail, in the form of Standard Webhooks; see docs/webhooks.md. What \
                               waits for one that is taken out of the configuration is kept for 3 days.";
    const UNIQUE: &'static str = "name";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "name",
            doc: "By which it is known in logs and the API; what waits for it waits under this name.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "url",
            kind: HttpUrl::KIND,
            doc: "Where calls go, by POST. Redirects are not followed.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "secret_file",
            kind: "path",
            default: "none",
            doc: "File with the secret that calls are signed with: `whsec_` and 24 to 64 octets in base64. While it is being changed, both, a line each: \
                  every call has a signature by each. At most 4.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "secret",
            default: "none",
            doc: "One secret, in this file. Never shown.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "events",
            kind: "`delivered`, `deferred`, `bounced`, `expired`, `captured`",
            many: true,
            default: "all",
            doc: "What it is told of.",
        },
        ListKey {
            name: "accounts",
            many: true,
            default: "all mail",
            doc: "Names of accounts: it is told of mail that they sent.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "ca_file",
            kind: "path",
            default: "none",
            doc: "PEM: authorities that its certificate is checked by, in place of the built-in ones.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let name = fields.read("name", |raw| {
            let name = String::read(raw)?;
            check_plain_name(&name).map(|()| name).map_err(str::to_owned)
        });
        let url = fields.read("url", HttpUrl::read);
        let secrets = read_secrets(fields);
        let all = MessageEvent::ALL.to_vec();
        let events = fields.read_or("events", all, |raw| match each(raw, MessageEvent::parse)? {
            events if events.is_empty() => {
                Err("it has to name one; without this setting it is told of all".into())
            }
            events => Ok(events),
        });
        let accounts = fields.read_or("accounts", Vec::new(), |raw| {
            each(raw, |name| Ok(name.to_owned()))
        });
        let ca_file = fields.read_or("ca_file", None, |raw| path(raw).map(Some));
        Some(Webhook {
            name: name?,
            url: url?,
            secrets: secrets?,
            events: events?,
            accounts: accounts?,
            ca_file: ca_file?,
        })
    }

    fn unique(&self) -> String {
        self.name.clone()
    }

    fn show(&self) -> Json {
        json!({
            "name": self.name,
            "url": self.url.show(),
            "secret": "***",
            "events": self.events.iter().map(|event| event.name()).collect::<Vec<_>>(),
            "accounts": self.accounts,
            "ca_file": self.ca_file,
        })
    }
}

fn read_secrets(fields: &mut Fields<'_>) -> Option<Vec<SigningKey>> {
    match (fields.has("secret_file"), fields.has("secret")) {
        (true, true) => {
            fields.error("secret", "secret_file is set too; keep one of them".into());
            None
        }
        (true, false) => fields.read("secret_file", |raw| {
            let path = path(raw)?;
            secrets_in(&path).map_err(|reason| format!("{}: {reason}", path.display()))
        }),
        (false, _) => fields.read("secret", |raw: &Raw| {
            Ok(vec![SigningKey::parse(Secret::read(raw)?.expose())?])
        }),
    }
}

/// The secrets of a file, a line each. What is wrong is said without its content.
fn secrets_in(path: &Path) -> Result<Vec<SigningKey>, String> {
    let text = crate::file::read_text(path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<SigningKey> = lines.map(SigningKey::parse).collect::<Result<_, _>>()?;
    match secrets.len() {
        0 => Err("it is empty".into()),
        count if count > MOST_SECRETS => Err(format!("it holds more than {MOST_SECRETS} secrets")),
        _ => Ok(secrets),
    }
}
