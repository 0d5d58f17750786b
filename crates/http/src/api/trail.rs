//! The audit trail, read.

use super::queue::store;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp_queue::AuditRecord;

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Records with lower numbers.
    before: Option<i64>,
    limit: Option<usize>,
}

/// One page.
#[derive(Debug, Serialize)]
pub(crate) struct Trail {
    /// Newest first.
    entries: Vec<Entry>,
    /// The `before` of the next page; null on the last.
    next: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Entry {
    number: i64,
    at: Timestamp,
    who: String,
    peer: String,
    action: String,
    target: String,
    touched: u64,
    before: Value,
    after: Value,
}

impl From<AuditRecord> for Entry {
    fn from(one: AuditRecord) -> Entry {
        let read = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        Entry {
            number: one.number,
            at: one.at,
            who: one.who,
            peer: one.peer,
            action: one.action,
            target: one.target,
            touched: one.touched,
            before: read(one.before).unwrap_or_default(),
            after: read(one.after).unwrap_or_default(),
        }
    }
}

/// `GET /api/v1/audit`: who changed what, newest first.
pub(crate) async fn page(
    State(shared): State<Shared>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Trail>, ApiError> {
    let Query(page) = page.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let limit = page.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::bad_request("limit must be from 1 to 1000"));
    }
    let found = store(&shared)?.audited(page.before, limit).await?;
    let next = found
        .last()
        .filter(|_| found.len() >= limit)
        .map(|one| one.number);
    let entries = found.into_iter().map(Entry::from).collect();
    Ok(Json(Trail { entries, next }))
}
