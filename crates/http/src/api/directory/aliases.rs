//! `/api/v1/aliases`: addresses whose mail goes to others.

use super::{Client, Done, Names, Page, directory, done, not_found, page, unprocessable};
use crate::api::request::JsonBody;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use serde::{Deserialize, Serialize};
use smtp::Address;
use smtp_directory::{Alias, Change};

/// An alias.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    name: String,
    to: Vec<String>,
    declared: Option<String>,
}

impl Entry {
    fn new(alias: &Alias) -> Entry {
        Entry {
            name: alias.name.to_string(),
            to: alias.targets.iter().map(|to| to.as_str().to_owned()).collect(),
            declared: alias.declared.as_deref().map(str::to_owned),
        }
    }
}

/// The body of `POST /api/v1/aliases`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: String,
    to: Vec<String>,
}

/// The body of `PATCH /api/v1/aliases/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    to: Vec<String>,
}

/// `GET /api/v1/aliases`
pub(crate) async fn list(State(shared): State<Shared>, query: Page) -> Result<Json<Names<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        query,
        |after, limit| snapshot.aliases(after, limit),
        |alias| alias.name.to_string(),
        |alias| Entry::new(alias),
    )
}

/// `GET /api/v1/aliases/{name}`
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    let alias = snapshot.alias(&name).ok_or_else(|| not_found("alias", &name))?;
    Ok(Json(Entry::new(alias)))
}

/// `POST /api/v1/aliases`
pub(crate) async fn add(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    JsonBody(New { name, to }): JsonBody<New>,
) -> Result<Json<Done>, ApiError> {
    let targets = addresses(&to)?;
    done(&shared, peer, "alias.add", Change::AddAlias { name, targets }).await
}

/// `PATCH /api/v1/aliases/{name}`
pub(crate) async fn set(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path(name): Path<String>,
    JsonBody(Set { to }): JsonBody<Set>,
) -> Result<Json<Done>, ApiError> {
    let targets = addresses(&to)?;
    done(&shared, peer, "alias.set", Change::SetAlias { name, targets }).await
}

/// `DELETE /api/v1/aliases/{name}`
pub(crate) async fn remove(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): Client,
    Path(name): Path<String>,
) -> Result<Json<Done>, ApiError> {
    done(&shared, peer, "alias.remove", Change::RemoveAlias { name }).await
}

fn addresses(texts: &[String]) -> Result<Vec<Address>, ApiError> {
    let read = |text: &String| {
        Address::parse(text).map_err(|_| unprocessable(format!("{text:?} is not an address")))
    };
    texts.iter().map(read).collect()
}
