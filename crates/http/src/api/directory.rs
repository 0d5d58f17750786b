//! The directory: domains, accounts, aliases, DKIM keys; looked at and changed at run time.
//!
//! What is declared in the configuration is listed with the key where it stands (`declared`), and cannot be changed here (409). A
//! password or key comes in and never goes out; a secret that was made is in the one answer to the request that made it.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod dkim;
pub(crate) mod domains;

use super::audit;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query};
use serde::{Deserialize, Serialize};
use smtp_directory::{Applied, Change, Directory, DirectoryError};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Entries on a page, unless asked for otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Most entries on a page.
const MAX_LIMIT: usize = 1000;

/// The query of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// One page of a listing, in the order of the names.
#[derive(Debug, Serialize)]
pub(crate) struct Names<T> {
    entries: Vec<T>,
    /// The `after` of the next page; null on the last.
    next: Option<String>,
}

/// The answer to a change.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    /// What was changed.
    name: String,
    /// The secret that was made, if one was. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

type Page = Result<Query<PageQuery>, QueryRejection>;
type Client = ConnectInfo<Peer>;

/// A page: `entries` gives at most so many after a name, `name` an entry's name.
fn page<S, T>(
    page: Page,
    entries: impl Fn(&str, usize) -> Vec<S>,
    name: impl Fn(&S) -> String,
    show: impl Fn(&S) -> T,
) -> Result<Json<Names<T>>, ApiError> {
    let Query(page) = page.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::bad_request("limit must be from 1 to 1000"));
    }
    let found = entries(page.after.as_deref().unwrap_or(""), limit);
    let next = found.last().filter(|_| found.len() >= limit).map(name);
    let entries = found.iter().map(show).collect();
    Ok(Json(Names { entries, next }))
}

fn directory(shared: &Shared) -> Result<Arc<Directory>, ApiError> {
    let message = "the directory is still being opened; try again soon";
    shared
        .rooms
        .directory()
        .ok_or_else(|| ApiError::new(503, "starting", message))
}

/// Makes a change, and tells the log who made it. `action` is `account.add` and the like.
async fn apply(shared: &Shared, peer: IpAddr, action: &str, change: Change) -> Result<Applied, ApiError> {
    let applied = directory(shared)?.apply(change).await?;
    audit(shared, peer, action, &applied.name, 1, None).await;
    Ok(applied)
}

/// As [`apply`], for a change whose answer is all there is to say.
async fn done(shared: &Shared, peer: IpAddr, action: &str, change: Change) -> Result<Json<Done>, ApiError> {
    let applied = apply(shared, peer, action, change).await?;
    Ok(Json(Done {
        name: applied.name,
        secret: applied.secret.map(|secret| secret.expose().to_owned()),
    }))
}

/// Reads texts of one kind; the first that is wrong is said.
fn parsed<T>(texts: &[String]) -> Result<Vec<T>, ApiError>
where
    T: FromStr,
    T::Err: ToString,
{
    let read = |text: &String| {
        text.parse()
            .map_err(|error: T::Err| unprocessable(error.to_string()))
    };
    texts.iter().map(read).collect()
}

/// Texts as they are shown.
fn shown<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// 422: understood, and wrong.
fn unprocessable(message: impl Into<String>) -> ApiError {
    ApiError::new(422, "invalid", message.into())
}

fn not_found(what: &str, name: &str) -> ApiError {
    ApiError::not_found(format!("there is no {what} {name}"))
}

/// The one thing that a change names.
///
/// # Errors
/// 400 when it names none, or several: each change is made whole or not at all.
fn only<T>(given: Vec<T>, names: &str) -> Result<T, ApiError> {
    let mut given = given.into_iter();
    match (given.next(), given.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(ApiError::bad_request(format!(
            "name one thing to change: {names}"
        ))),
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        let (status, code) = match error {
            DirectoryError::Declarations(_) | DirectoryError::Invalid(_) => (422, "invalid"),
            DirectoryError::Declared { .. } => (409, "declared"),
            DirectoryError::Exists { .. } => (409, "exists"),
            DirectoryError::InUse(_) => (409, "in_use"),
            DirectoryError::NotFound { .. } => (404, "not_found"),
            DirectoryError::Unreadable { .. } => (500, "storage_damaged"),
            DirectoryError::Unavailable(_) => (503, "storage_unavailable"),
        };
        ApiError::new(status, code, error.to_string())
    }
}
