//! `/api/v1/aliases`: addresses whose mail goes to others.

use super::{Done, directory, done, not_found, page, shown_entry};
use crate::api::paging::{Asked, Page, PageQuery};
use crate::api::request::JsonBody;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp::Address;
use smtp_directory::{Alias, Change, Snapshot};
use utoipa::ToSchema;

/// An alias.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alias)]
pub(crate) struct Entry {
    /// An address of a local domain, or `@domain` for all others of it.
    name: String,
    /// Where its mail goes.
    to: Vec<String>,
    /// Where the configuration declares it; null for one made at run time.
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

/// An alias that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAlias)]
pub(crate) struct New {
    /// An address of a local domain, or `@domain` for all others of it.
    name: String,
    /// Where its mail goes: one address or more.
    #[schema(min_items = 1)]
    to: Vec<String>,
}

/// What an alias is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetAlias)]
pub(crate) struct Set {
    /// Where its mail goes: one address or more.
    #[schema(min_items = 1)]
    to: Vec<String>,
}

fn look(snapshot: &Snapshot, name: &str) -> Value {
    shown_entry(snapshot.alias(name).map(|alias| Entry::new(alias)))
}

/// List aliases
#[utoipa::path(get, path = "/aliases", tag = "aliases", params(PageQuery), responses((status = 200, body = Page<Entry>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<PageQuery>,
) -> Result<Json<Page<Entry>>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    page(
        asked,
        |after, limit| snapshot.aliases(after, limit),
        |alias| alias.name.to_string(),
        |alias| Entry::new(&alias),
    )
}

/// Show an alias
#[utoipa::path(get, path = "/aliases/{name}", tag = "aliases", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = Entry)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let snapshot = directory(&shared)?.snapshot();
    let alias = snapshot.alias(&name).ok_or_else(|| not_found("alias", &name))?;
    Ok(Json(Entry::new(alias)))
}

/// Make an alias
#[utoipa::path(post, path = "/aliases", tag = "aliases", request_body = New, responses((status = 200, body = Done)))]
pub(crate) async fn add(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(New { name, to }): JsonBody<New>,
) -> Result<Json<Done>, ApiError> {
    let targets = addresses(&to)?;
    let about = ("alias.add", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::AddAlias { name, targets }).await
}

/// Change where an alias leads
#[utoipa::path(patch, path = "/aliases/{name}", tag = "aliases", params(("name" = String, Path, description = "Its name.")), request_body = Set, responses((status = 200, body = Done)))]
pub(crate) async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    JsonBody(Set { to }): JsonBody<Set>,
) -> Result<Json<Done>, ApiError> {
    let targets = addresses(&to)?;
    let about = ("alias.set", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::SetAlias { name, targets }).await
}

/// Remove an alias
#[utoipa::path(delete, path = "/aliases/{name}", tag = "aliases", params(("name" = String, Path, description = "Its name.")), responses((status = 200, body = Done)))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let about = ("alias.remove", &*name.clone(), look as _);
    done(&shared, &caller, about, Change::RemoveAlias { name }).await
}

fn addresses(texts: &[String]) -> Result<Vec<Address>, ApiError> {
    let read = |text: &String| {
        Address::parse(text).map_err(|_| ApiError::invalid(format!("{text:?} is not an address")))
    };
    texts.iter().map(read).collect()
}
