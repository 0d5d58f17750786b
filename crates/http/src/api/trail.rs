//! The audit trail: written with every change, and read.
//!
//! A change is made first and recorded then. When its record cannot be stored, the change stands: `admin_action` is in the log, and
//! `audit_failed` says that the trail lacks it.

use super::paging::{Asked, limit, query};
use super::{now, store};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp_observe::Event;
use smtp_queue::AuditRecord;
use utoipa::{IntoParams, ToSchema};

/// A change, for the trail.
#[derive(Debug)]
pub(super) struct Change<'a> {
    action: &'a str,
    target: &'a str,
    touched: u64,
    before: Value,
    after: Value,
}

impl<'a> Change<'a> {
    /// Something was done (`queue.retry`, `account.add`) to a target; it touched so many things.
    pub(super) fn new(action: &'a str, target: &'a str, touched: u64) -> Change<'a> {
        Change {
            action,
            target,
            touched,
            before: Value::Null,
            after: Value::Null,
        }
    }

    /// With what was there before and what is there now, without secrets; null where there is nothing to say.
    pub(super) fn with(mut self, before: impl Serialize, after: impl Serialize) -> Self {
        self.before = serde_json::to_value(before).unwrap_or_default();
        self.after = serde_json::to_value(after).unwrap_or_default();
        self
    }
}

/// Tells the log and the trail who changed what.
pub(super) async fn record(shared: &Shared, caller: &Caller, change: Change<'_>) {
    let peer = caller.peer.to_string();
    shared.observer.emit(Event::AdminAction {
        who: &caller.who,
        peer: &peer,
        action: change.action,
        target: change.target,
        touched: change.touched,
    });
    let text = |value: Value| (!value.is_null()).then(|| value.to_string());
    let record = AuditRecord {
        number: 0,
        at: now(shared),
        who: caller.who.to_string(),
        peer,
        action: change.action.to_owned(),
        target: change.target.to_owned(),
        touched: change.touched,
        before: text(change.before),
        after: text(change.after),
    };
    let failed = match shared.rooms.store() {
        Some(store) => store.audit(record).await.err().map(|error| error.to_string()),
        None => Some("the store is not open yet".to_owned()),
    };
    if let Some(error) = failed {
        shared.observer.emit(Event::AuditFailed {
            who: &caller.who,
            action: change.action,
            target: change.target,
            error: &error,
        });
    }
}

/// The query.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TrailQuery {
    /// Changes with lower numbers: the `next` of the page before.
    #[param(nullable = false)]
    before: Option<i64>,
    /// At most this many; 100 unless said.
    #[param(nullable = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of the trail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trail {
    /// Newest first.
    entries: Vec<Recorded>,
    /// The `before` of the next page; null on the last.
    next: Option<i64>,
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
struct Recorded {
    /// Grows with every change.
    number: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `admin`, or the name of a token.
    who: String,
    /// The address that it came from.
    peer: String,
    /// What was done: `queue.retry`, `account.add`.
    action: String,
    /// To what.
    target: String,
    /// How many things it touched.
    touched: u64,
    /// What was there before, without secrets; null where there is nothing to say.
    before: Value,
    /// What was there then.
    after: Value,
}

impl From<AuditRecord> for Recorded {
    fn from(one: AuditRecord) -> Recorded {
        let read = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        Recorded {
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

/// Who changed what, newest first
#[utoipa::path(get, path = "/audit", tag = "audit", params(TrailQuery), responses((status = 200, body = Trail)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<TrailQuery>,
) -> Result<Json<Trail>, ApiError> {
    let asked = query(asked)?;
    let limit = limit(asked.limit)?;
    let found = store(&shared)?.audited(asked.before, limit).await?;
    let next = found
        .last()
        .filter(|_| found.len() >= limit)
        .map(|one| one.number);
    let entries = found.into_iter().map(Recorded::from).collect();
    Ok(Json(Trail { entries, next }))
}
