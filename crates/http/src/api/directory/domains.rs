//! `/api/v1/domains`: the local domains.

use super::{Client, Done, Names, Page, directory, done, not_found, page, unprocessable};
use crate::api::request::JsonBody;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use serde::{Deserialize, Serialize};
use smtp_config::{LocalDelivery, Recipients};
use smtp_directory::{Change, Domain};

/// A domain.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    name: String,
    deliver: String,
    recipients: &'static str,
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

/// The body of `POST /api/v1/domains`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    deliver: String,
    recipients: Option<String>,
}

/// The body of `PATCH /api/v1/domains/{name}`: one of the two, or both at once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    deliver: Option<String>,
    recipients: Option<String>,
}

/// The body of `DELETE /api/v1/domains/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Remove {
    /// Also when it has accounts or aliases.
    force: bool,
}

/// `GET /api/v1/domains`
pub(crate) async fn list(State(shared): State<Shared>, query: Page) -> Result<Json<Names<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        query,
        |after, limit| snapshot.domains(after, limit),
        |domain| domain.name.to_string(),
        |domain| Entry::new(domain),
    )
}

/// `GET /api/v1/domains/{name}`
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    let domain = snapshot.domain(&name).ok_or_else(|| not_found("domain", &name))?;
    Ok(Json(Entry::new(domain)))
}

/// `POST /api/v1/domains`
pub(crate) async fn add(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    JsonBody(new): JsonBody<New>,
) -> Result<Json<Done>, ApiError> {
    let change = Change::AddDomain {
        name: new.name,
        deliver: LocalDelivery::parse(&new.deliver).map_err(unprocessable)?,
        recipients: new.recipients.as_deref().map(recipients).transpose()?,
    };
    done(&shared, peer, "domain.add", change).await
}

/// `PATCH /api/v1/domains/{name}`
pub(crate) async fn set(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
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
        name,
        deliver: deliver
            .as_deref()
            .map(LocalDelivery::parse)
            .transpose()
            .map_err(unprocessable)?,
        recipients: which.as_deref().map(recipients).transpose()?,
    };
    done(&shared, peer, "domain.set", change).await
}

/// `DELETE /api/v1/domains/{name}`
pub(crate) async fn remove(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path(name): Path<String>,
    JsonBody(Remove { force }): JsonBody<Remove>,
) -> Result<Json<Done>, ApiError> {
    done(
        &shared,
        peer,
        "domain.remove",
        Change::RemoveDomain { name, force },
    )
    .await
}

fn recipients(text: &str) -> Result<Recipients, ApiError> {
    Recipients::parse(text).map_err(unprocessable)
}
