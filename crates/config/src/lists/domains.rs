//! `[[domains]]`: the local domains.

use super::{Fields, ListKey, Listed, domain_name};
use crate::kinds::LocalDelivery;
use crate::tree::Config;
use crate::value::{Raw, Value, words};
use serde_json::{Value as Json, json};

/// A local domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// `name`; lower case.
    pub name: String,
    /// `deliver`: where its mail goes.
    pub deliver: LocalDelivery,
    /// `recipients`: which of its addresses exist.
    pub recipients: Recipients,
}

/// Which addresses of a domain exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Every one.
    Any,
    /// Those of accounts and aliases.
    Known,
    /// Those of aliases, and what the next hop says it takes.
    Verify,
}

words!(Recipients { Any = "any", Known = "known", Verify = "verify" });

impl Recipients {
    /// Reads its word.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Recipients, String> {
        Recipients::read(&Raw::Text(text.to_owned()))
    }

    /// What a domain has that does not say: who keeps mailboxes here knows them.
    pub fn default_for(deliver: &LocalDelivery) -> Recipients {
        match deliver {
            LocalDelivery::Maildir(_) => Recipients::Known,
            LocalDelivery::Capture | LocalDelivery::Hop(_) => Recipients::Any,
        }
    }
}

impl Listed for Domain {
    const DOC: &'static str = "Local domains: mail for them is accepted from everybody.";
    const UNIQUE: &'static str = "name";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "name",
            kind: "domain",
            doc: "The domain.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "deliver",
            kind: LocalDelivery::KIND,
            doc: "Where its mail goes.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "recipients",
            kind: Recipients::KIND,
            default: "`known` for a maildir, else `any`",
            doc: "Which of its addresses exist: every one, those of accounts and aliases, or those that the next hop says it takes (asked at RCPT, and remembered). \
                  Others get `550 5.1.1` at RCPT. `postmaster@` and `abuse@` always exist.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let name = fields.read("name", |raw| domain_name(&String::read(raw)?));
        let deliver = fields.read("deliver", LocalDelivery::read)?;
        let recipients = fields.read_or("recipients", Recipients::default_for(&deliver), |raw: &Raw| {
            Recipients::read(raw)
        })?;
        if recipients == Recipients::Verify && !matches!(deliver, LocalDelivery::Hop(_)) {
            let reason = "only a next hop (smtp: or lmtp:) can be asked; use \"known\" or \"any\"";
            fields.error("recipients", reason.into());
        }
        Some(Domain {
            name: name?,
            deliver,
            recipients,
        })
    }

    fn unique(&self) -> String {
        self.name.clone()
    }

    fn show(&self) -> Json {
        json!({"name": self.name, "deliver": self.deliver.to_string(), "recipients": self.recipients.name()})
    }
}
