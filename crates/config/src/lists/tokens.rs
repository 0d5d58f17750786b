//! `[[admin.tokens]]`: tokens for the admin API, as a Secret of Kubernetes can hold them.

use super::{Fields, ListKey, Listed, password_in, path};
use crate::kinds::Secret;
use crate::tree::Config;
use crate::value::{Raw, Value};
use serde_json::{Value as Json, json};

/// Longest name, in octets.
const LONGEST_NAME: usize = 64;
/// Length of a token, in octets: enough to be random, and at most what a credential may have.
const LENGTH: std::ops::RangeInclusive<usize> = 32..=512;

/// What somebody may do through the admin API. Each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at everything but the content of messages and the names of tokens.
    Read,
    /// Read messages; change what becomes of mail; reload.
    Operate,
    /// Change who may send and who may administer.
    Admin,
}

impl Scope {
    /// Every scope, the least first.
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Operate, Scope::Admin];

    /// Its name in the configuration and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// A token for the admin API.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminToken {
    /// `name`: who the log and the audit trail say it was.
    pub name: String,
    /// `scope`: what it may do.
    pub scope: Scope,
    /// `token`, or the content of `token_file`.
    pub token: Secret,
}

/// Whether a token may have that name: it is said in logs and paths, and must not be taken for the administrator.
///
/// # Errors
/// What is wrong with it.
pub fn check_token_name(name: &str) -> Result<(), &'static str> {
    match name {
        "admin" => Err("admin is who logs in with the admin password"),
        name => check_plain_name(name),
    }
}

/// Whether something that is said in logs and paths may have that name.
pub(super) fn check_plain_name(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        name if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) => {
            Err("it must be 1 to 64 letters, digits and ._-")
        }
        _ => Ok(()),
    }
}

impl Listed for AdminToken {
    const DOC: &'static str = "Tokens for the admin API, beside the admin password and the tokens that are made at run time; they do not expire. A \
                               file that is replaced is noticed by itself.";
    const UNIQUE: &'static str = "name";
    const KEYS: &'static [ListKey] = &[
        ListKey {
            name: "name",
            doc: "Who the log and the audit trail say it was.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "scope",
            kind: "`read`, `operate` or `admin`",
            doc: "What it may do; each includes the ones before. `read` looks, `operate` changes what becomes of mail, `admin` changes who may do what.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "token_file",
            kind: "path",
            default: "none",
            doc: "File with the token: 32 octets or more that nobody can guess.",
            ..ListKey::BLANK
        },
        ListKey {
            name: "token",
            default: "none",
            doc: "The same, in this file. Never shown.",
            ..ListKey::BLANK
        },
    ];

    fn read(fields: &mut Fields<'_>, _config: &Config) -> Option<Self> {
        let name = fields.read("name", |raw| {
            let name = String::read(raw)?;
            check_token_name(&name).map(|()| name).map_err(str::to_owned)
        });
        let scope = fields.read("scope", |raw| {
            let scope = Scope::parse(&String::read(raw)?);
            scope.ok_or_else(|| "it must be read, operate or admin".to_owned())
        });
        let token = match (fields.has("token_file"), fields.has("token")) {
            (true, true) => {
                fields.error("token", "token_file is set too; keep one of them".into());
                None
            }
            (true, false) => fields.read("token_file", |raw| {
                let path = path(raw)?;
                let token = password_in(&path)?;
                check_token(&token).map_err(|reason| format!("{}: {reason}", path.display()))?;
                Ok(Secret::new(token))
            }),
            (false, _) => fields.read("token", |raw: &Raw| {
                let token = Secret::read(raw)?;
                check_token(token.expose()).map(|()| token)
            }),
        };
        Some(AdminToken {
            name: name?,
            scope: scope?,
            token: token?,
        })
    }

    fn unique(&self) -> String {
        self.name.clone()
    }

    fn show(&self) -> Json {
        json!({"name": self.name, "scope": self.scope.name(), "token": "***"})
    }
}

fn check_token(token: &str) -> Result<(), String> {
    match LENGTH.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err("a token has 32 to 512 printable ASCII characters without blanks; `openssl rand -base64 48` makes one".into()),
    }
}
