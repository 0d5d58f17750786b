//! The directory: domains, accounts, aliases, DKIM keys; looked at and changed at run time.
//!
//! What is declared in the configuration is listed with the key where it stands (`declared`), and cannot be changed here (409). A
//! password or key comes in and never goes out; a secret that was made is in the one answer to the request that made it.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod dkim;
pub(crate) mod domains;

use super::paging::{Asked, Page, PageQuery, query};
use super::trail::{self, record};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use serde::Serialize;
use serde_json::Value;
use smtp_directory::{Applied, Change, Directory, DirectoryError, Snapshot};
use std::str::FromStr;
use std::sync::Arc;
use utoipa::ToSchema;

/// The answer to a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// What was changed.
    name: String,
    /// The secret that was made, if one was. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A page: `entries` gives at most so many after a name, `name` an entry's name.
fn page<S, T>(
    asked: Asked<PageQuery>,
    entries: impl Fn(&str, usize) -> Vec<S>,
    name: impl Fn(&S) -> String,
    show: impl Fn(S) -> T,
) -> Result<Json<Page<T>>, ApiError> {
    let (after, limit) = query(asked)?.parse()?;
    let found = entries(after.as_deref().unwrap_or(""), limit);
    Ok(Json(Page::new(found, limit, name, show)))
}

fn directory(shared: &Shared) -> Result<Arc<Directory>, ApiError> {
    shared.rooms.directory().ok_or_else(ApiError::starting)
}

/// How the trail shows what a change is about: what a snapshot has of that name, without secrets.
type Look = fn(&Snapshot, &str) -> Value;

/// Makes a change of what `name` is, and tells the trail who made it. `action` is `account.add` and the like.
async fn apply(
    shared: &Shared,
    caller: &Caller,
    (action, name, look): (&str, &str, Look),
    change: Change,
) -> Result<Applied, ApiError> {
    let directory = directory(shared)?;
    let before = look(&directory.snapshot(), name);
    let applied = directory.apply(change).await?;
    let after = look(&directory.snapshot(), name);
    let made = trail::Change::new(action, &applied.name, 1);
    record(shared, caller, made.with(before, after)).await;
    Ok(applied)
}

/// As [`apply`], for a change whose answer is all there is to say.
async fn done(
    shared: &Shared,
    caller: &Caller,
    about: (&str, &str, Look),
    change: Change,
) -> Result<Json<Done>, ApiError> {
    let applied = apply(shared, caller, about, change).await?;
    Ok(Json(Done {
        name: applied.name,
        secret: applied.secret.map(|secret| secret.expose().to_owned()),
    }))
}

/// What the trail shows of an entry; null when there is none.
fn shown_entry(entry: Option<impl Serialize>) -> Value {
    serde_json::to_value(entry).unwrap_or_default()
}

/// Reads texts of one kind; the first that is wrong is said.
fn parsed<T>(texts: &[String]) -> Result<Vec<T>, ApiError>
where
    T: FromStr,
    T::Err: ToString,
{
    let read = |text: &String| {
        text.parse()
            .map_err(|error: T::Err| ApiError::invalid(error.to_string()))
    };
    texts.iter().map(read).collect()
}

/// Texts as they are shown.
fn shown<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
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
