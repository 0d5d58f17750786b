//! `/api/v1/accounts`: who may send.

use super::{
    Client, Done, Names, Page, directory, done, not_found, only, page, parsed, shown, unprocessable,
};
use crate::api::request::JsonBody;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use smtp_config::Quota;
use smtp_directory::{Account, AppPassword, Change, NewLogin};
use smtp_sasl::Secret;

/// An account.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    name: String,
    enabled: bool,
    /// Whether it has a password of its own.
    password: bool,
    senders: Vec<String>,
    identities: Vec<String>,
    quota: Vec<String>,
    apps: Vec<App>,
    created: Option<Timestamp>,
    declared: Option<String>,
}

/// The secret of a program, without the secret.
#[derive(Debug, Serialize)]
struct App {
    id: String,
    label: String,
    created: Timestamp,
}

impl Entry {
    fn new(account: &Account) -> Entry {
        let app = |app: &AppPassword| App {
            id: app.id.to_string(),
            label: app.label.to_string(),
            created: app.created,
        };
        Entry {
            name: account.name.to_string(),
            enabled: account.enabled,
            password: account.has_password(),
            senders: shown(&account.senders),
            identities: shown(&account.identities),
            quota: shown(&account.quotas),
            apps: account.app_passwords().iter().map(app).collect(),
            created: account.created,
            declared: account.declared.as_deref().map(str::to_owned),
        }
    }
}

/// The body of `POST /api/v1/accounts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    /// A password, or a hash of one.
    password: Option<String>,
    /// Make a secret for a program instead; it is in the answer.
    #[serde(default)]
    app: bool,
    #[serde(default)]
    senders: Vec<String>,
    #[serde(default)]
    identities: Vec<String>,
    #[serde(default)]
    quota: Vec<String>,
}

/// The body of `PATCH /api/v1/accounts/{name}`: one of these.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    enabled: Option<bool>,
    /// The new password, or a hash of one; `""` takes it away.
    password: Option<String>,
    senders: Option<Vec<String>>,
    identities: Option<Vec<String>>,
    quota: Option<Vec<String>>,
}

/// The body of `POST /api/v1/accounts/{name}/apps`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApp {
    label: String,
}

/// `GET /api/v1/accounts`
pub(crate) async fn list(State(shared): State<Shared>, query: Page) -> Result<Json<Names<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        query,
        |after, limit| snapshot.accounts(after, limit),
        |account| account.name.to_string(),
        |account| Entry::new(account),
    )
}

/// `GET /api/v1/accounts/{name}`
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    let account = snapshot
        .account(&name)
        .ok_or_else(|| not_found("account", &name))?;
    Ok(Json(Entry::new(account)))
}

/// `POST /api/v1/accounts`
pub(crate) async fn add(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    JsonBody(new): JsonBody<New>,
) -> Result<Json<Done>, ApiError> {
    let login = match (new.password, new.app) {
        (Some(_), true) => {
            return Err(ApiError::bad_request("password and app contradict each other"));
        }
        (Some(password), false) => NewLogin::Password(Secret::new(password)),
        (None, true) => NewLogin::App,
        (None, false) => NewLogin::None,
    };
    let change = Change::AddAccount {
        name: new.name,
        login,
        senders: parsed(&new.senders)?,
        identities: parsed(&new.identities)?,
        quotas: quotas(&new.quota)?,
    };
    done(&shared, peer, "account.add", change).await
}

/// `PATCH /api/v1/accounts/{name}`
pub(crate) async fn set(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path(name): Path<String>,
    JsonBody(set): JsonBody<Set>,
) -> Result<Json<Done>, ApiError> {
    let (action, change) = set.change(name)?;
    done(&shared, peer, action, change).await
}

impl Set {
    fn change(self, name: String) -> Result<(&'static str, Change), ApiError> {
        let mut changes = Vec::new();
        if let Some(enabled) = self.enabled {
            let action = if enabled {
                "account.enable"
            } else {
                "account.disable"
            };
            changes.push((
                action,
                Change::SetEnabled {
                    name: name.clone(),
                    enabled,
                },
            ));
        }
        if let Some(password) = self.password {
            let password = (!password.is_empty()).then(|| Secret::new(password));
            changes.push((
                "account.password",
                Change::SetPassword {
                    name: name.clone(),
                    password,
                },
            ));
        }
        if let Some(senders) = self.senders {
            let senders = parsed(&senders)?;
            changes.push((
                "account.senders",
                Change::SetSenders {
                    name: name.clone(),
                    senders,
                },
            ));
        }
        if let Some(identities) = self.identities {
            let identities = parsed(&identities)?;
            changes.push((
                "account.identities",
                Change::SetIdentities {
                    name: name.clone(),
                    identities,
                },
            ));
        }
        if let Some(quota) = self.quota {
            let quotas = quotas(&quota)?;
            changes.push(("account.quota", Change::SetQuotas { name, quotas }));
        }
        only(changes, "enabled, password, senders, identities or quota")
    }
}

/// `DELETE /api/v1/accounts/{name}`
pub(crate) async fn remove(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path(name): Path<String>,
) -> Result<Json<Done>, ApiError> {
    done(&shared, peer, "account.remove", Change::RemoveAccount { name }).await
}

/// `POST /api/v1/accounts/{name}/apps`: a secret for a program.
pub(crate) async fn add_app(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path(name): Path<String>,
    JsonBody(NewApp { label }): JsonBody<NewApp>,
) -> Result<Json<Done>, ApiError> {
    done(
        &shared,
        peer,
        "account.app.add",
        Change::AddAppPassword { name, label },
    )
    .await
}

/// `DELETE /api/v1/accounts/{name}/apps/{label}`
pub(crate) async fn remove_app(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path((name, label)): Path<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    done(
        &shared,
        peer,
        "account.app.remove",
        Change::RemoveAppPassword { name, label },
    )
    .await
}

fn quotas(texts: &[String]) -> Result<Vec<Quota>, ApiError> {
    texts
        .iter()
        .map(|text| Quota::parse(text).map_err(unprocessable))
        .collect()
}
