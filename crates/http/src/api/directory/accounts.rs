//! `/api/v1/accounts`: who may send.

use super::{Done, directory, done, not_found, only, page, parsed, shown, shown_entry};
use crate::api::paging::{Asked, Page, PageQuery};
use crate::api::request::JsonBody;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp_config::Quota;
use smtp_directory::{Account, AppPassword, Change, NewLogin, Snapshot};
use smtp_sasl::Secret;
use utoipa::ToSchema;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct Entry {
    name: String,
    /// Whether it may log in.
    enabled: bool,
    /// Whether it has a password of its own.
    password: bool,
    /// Addresses that it may send as, besides its own.
    senders: Vec<String>,
    /// Names by which tokens and certificates mean it.
    identities: Vec<String>,
    /// How much it may send.
    quota: Vec<String>,
    /// Secrets of programs.
    apps: Vec<App>,
    /// When it was made; null for one that the configuration declares.
    #[schema(value_type = Option<String>, format = DateTime)]
    created: Option<Timestamp>,
    /// Where the configuration declares it; null for one made at run time.
    declared: Option<String>,
}

/// The secret of a program, without the secret.
#[derive(Debug, Serialize, ToSchema)]
struct App {
    id: String,
    label: String,
    #[schema(value_type = String, format = DateTime)]
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

/// An account that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAccount)]
pub(crate) struct New {
    /// What it logs in as; one named like an address of a local domain is a mailbox too.
    name: String,
    /// A password, or a hash of one (`$argon2id$…`).
    password: Option<String>,
    /// Make a secret for a program instead; it is in the answer.
    #[serde(default)]
    app: bool,
    /// Addresses that it may send as: `a@example.com`, `*@example.com`, `*@*.example.com` or `*`.
    #[serde(default)]
    senders: Vec<String>,
    /// Names by which tokens and certificates mean it: `oauth:SUBJECT`, `cert:NAME`.
    #[serde(default)]
    identities: Vec<String>,
    /// How much it may send: `100/hour`, `recipients:1000/day`.
    #[serde(default)]
    quota: Vec<String>,
}

/// What is to change of an account: one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetAccount)]
pub(crate) struct Set {
    /// Whether it may log in.
    enabled: Option<bool>,
    /// The new password, or a hash of one; `""` takes it away.
    password: Option<String>,
    /// All addresses that it may send as.
    senders: Option<Vec<String>>,
    /// All names by which tokens and certificates mean it.
    identities: Option<Vec<String>>,
    /// How much it may send.
    quota: Option<Vec<String>>,
}

/// A program that is to get a secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApp {
    /// Which program, for people.
    label: String,
}

fn look(snapshot: &Snapshot, name: &str) -> Value {
    shown_entry(snapshot.account(name).map(|account| Entry::new(account)))
}

/// List accounts
#[utoipa::path(get, path = "/accounts", tag = "accounts", params(PageQuery), responses((status = 200, body = Page<Entry>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        asked,
        |after, limit| snapshot.accounts(after, limit),
        |account| account.name.to_string(),
        |account| Entry::new(&account),
    )
}

/// Show an account
#[utoipa::path(get, path = "/accounts/{name}", tag = "accounts", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = Entry)))]
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

/// Make an account
#[utoipa::path(post, path = "/accounts", tag = "accounts", request_body = New, responses((status = 200, body = Done)))]
pub(crate) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
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
        name: new.name.clone(),
        login,
        senders: parsed(&new.senders)?,
        identities: parsed(&new.identities)?,
        quotas: quotas(&new.quota)?,
    };
    done(&shared, &caller, ("account.add", &new.name, look), change).await
}

/// Change an account
#[utoipa::path(patch, path = "/accounts/{name}", tag = "accounts", params(("name" = String, Path, description = "Its name.")), request_body = Set, responses((status = 200, body = Done)))]
pub(crate) async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    JsonBody(set): JsonBody<Set>,
) -> Result<Json<Done>, ApiError> {
    let (action, change) = set.change(name.clone())?;
    done(&shared, &caller, (action, &name, look), change).await
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

/// Remove an account
#[utoipa::path(delete, path = "/accounts/{name}", tag = "accounts", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = Done)))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let about = ("account.remove", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::RemoveAccount { name }).await
}

/// Make a secret for a program
///
/// It is in the answer, and nowhere else.
#[utoipa::path(post, path = "/accounts/{name}/apps", tag = "accounts", params(("name" = String, Path, description = "Its name.")), request_body = NewApp, responses((status = 200, body = Done)))]
pub(crate) async fn add_app(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    JsonBody(NewApp { label }): JsonBody<NewApp>,
) -> Result<Json<Done>, ApiError> {
    let about = ("account.app.add", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::AddAppPassword { name, label }).await
}

/// Take a program's secret away
#[utoipa::path(
    delete,
    path = "/accounts/{name}/apps/{label}",
    tag = "accounts",
    params(
        ("name" = String, Path, description = "The account's name."),
        ("label" = String, Path, description = "Which program."),
    ),
    responses((status = 200, body = Done))
)]
pub(crate) async fn remove_app(
    State(shared): State<Shared>,
    caller: Caller,
    Path((name, label)): Path<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    let about = ("account.app.remove", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::RemoveAppPassword { name, label }).await
}

fn quotas(texts: &[String]) -> Result<Vec<Quota>, ApiError> {
    texts
        .iter()
        .map(|text| Quota::parse(text).map_err(ApiError::invalid))
        .collect()
}
