//! `/api/v1/domains`: the local domains.

use super::{Done, directory, done, not_found, page, shown_entry};
use crate::api::paging::{Asked, Page, PageQuery, query};
use crate::api::request::JsonBody;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp_config::{LocalDelivery, Recipients};
use smtp_directory::{Change, Domain, Snapshot};
use utoipa::{IntoParams, ToSchema};

/// A domain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Domain)]
pub(crate) struct Entry {
    name: String,
    /// Where its mail goes: `maildir:PATH`, `lmtp:HOST:PORT`, `smtp:HOST:PORT`, `capture`.
    deliver: String,
    /// Which of its addresses exist: `any`, `known` or `verify`.
    recipients: &'static str,
    /// Where the configuration declares it; null for one made at run time.
    declared: Option<String>,
}

impl Entry {
    fn new(domain: &Domain) -> Entry {
        Entry {
            name: domain.name.to_string(),
            deliver: domain.deliver.to_string(),
            recipients: domain.recipients.name(),
            declared: domain.declared.as_deref().map(str::to_owned),
        }
    }
}

/// A domain that is to be local.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDomain)]
pub(crate) struct New {
    name: String,
    /// Where its mail goes: `maildir:PATH`, `lmtp:HOST:PORT`, `smtp:HOST:PORT`, `capture`.
    deliver: String,
    /// Which of its addresses exist: `any`, `known` or `verify`.
    recipients: Option<String>,
}

/// What is to change of a domain: one of the two, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetDomain)]
pub(crate) struct Set {
    /// Where its mail goes.
    deliver: Option<String>,
    /// Which of its addresses exist.
    recipients: Option<String>,
}

/// The query of a removal.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveQuery {
    /// Also when it has accounts or aliases.
    force: bool,
}

fn look(snapshot: &Snapshot, name: &str) -> Value {
    shown_entry(snapshot.domain(name).map(|domain| Entry::new(domain)))
}

/// List local domains
#[utoipa::path(get, path = "/domains", tag = "domains", params(PageQuery), responses((status = 200, body = Page<Entry>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        asked,
        |after, limit| snapshot.domains(after, limit),
        |domain| domain.name.to_string(),
        |domain| Entry::new(&domain),
    )
}

/// Show a domain
#[utoipa::path(get, path = "/domains/{name}", tag = "domains", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = Entry)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    let domain = snapshot.domain(&name).ok_or_else(|| not_found("domain", &name))?;
    Ok(Json(Entry::new(domain)))
}

/// Make a domain local
#[utoipa::path(post, path = "/domains", tag = "domains", request_body = New, responses((status = 200, body = Done)))]
pub(crate) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(new): JsonBody<New>,
) -> Result<Json<Done>, ApiError> {
    let change = Change::AddDomain {
        name: new.name.clone(),
        deliver: LocalDelivery::parse(&new.deliver).map_err(ApiError::invalid)?,
        recipients: new.recipients.as_deref().map(recipients).transpose()?,
    };
    done(&shared, &caller, ("domain.add", &new.name, look), change).await
}

/// Change a domain
#[utoipa::path(patch, path = "/domains/{name}", tag = "domains", params(("name" = String, Path, description = "Its name.")), request_body = Set, responses((status = 200, body = Done)))]
pub(crate) async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    JsonBody(set): JsonBody<Set>,
) -> Result<Json<Done>, ApiError> {
    let Set {
        deliver,
        recipients: which,
    } = set;
    if deliver.is_none() && which.is_none() {
        return Err(ApiError::bad_request("name what to change: deliver, recipients"));
    }
    let change = Change::SetDomain {
        name: name.clone(),
        deliver: deliver
            .as_deref()
            .map(LocalDelivery::parse)
            .transpose()
            .map_err(ApiError::invalid)?,
        recipients: which.as_deref().map(recipients).transpose()?,
    };
    done(&shared, &caller, ("domain.set", &name, look), change).await
}

/// Remove a domain
#[utoipa::path(delete, path = "/domains/{name}", tag = "domains", params(("name" = String, Path, description = "Its name."), RemoveQuery), responses((status = 200, body = Done)))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked<RemoveQuery>,
) -> Result<Json<Done>, ApiError> {
    let RemoveQuery { force } = query(asked)?;
    let about = ("domain.remove", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::RemoveDomain { name, force }).await
}

fn recipients(text: &str) -> Result<Recipients, ApiError> {
    Recipients::parse(text).map_err(ApiError::invalid)
}
