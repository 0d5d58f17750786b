//! What happened to messages.

use super::paging::{Asked, Page, limit, query};
use super::request::{ago, parse_id};
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smtp_history::{Entry, Query, Search};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A message's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// Its queue id.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// When it left the queue; null as long as that was not seen.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Empty for the null sender; null when its beginning was not seen.
    sender: Option<String>,
    /// Who sent it; null without AUTH.
    account: Option<String>,
    message_id: Option<String>,
    /// What became of each recipient last, by address, as far as it was tried.
    recipients: BTreeMap<String, Fate>,
    /// Every step, in order: the lines of the log about it, with `ts`, `event` and that event's fields (docs/reference/events.md). In a
    /// listing it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Vec<Object>)]
    steps: Option<Vec<Value>>,
    /// Attempts that are only counted, because there were very many.
    omitted: u64,
}

/// What became of a recipient.
#[derive(Debug, Serialize, ToSchema)]
struct Fate {
    /// `sent`, `deferred`, `bounced` or `expired`.
    status: String,
    /// What the next hop said.
    text: String,
}

impl History {
    fn new(entry: Entry, with_steps: bool) -> History {
        let fate = |fate: smtp_history::Fate| Fate {
            status: fate.status,
            text: fate.text,
        };
        let recipients = entry.recipients.into_iter();
        History {
            id: entry.id,
            received_at: entry.received_at,
            ended_at: entry.ended_at,
            sender: entry.sender,
            account: entry.account,
            message_id: entry.message_id,
            recipients: recipients.map(|(address, last)| (address, fate(last))).collect(),
            steps: with_steps.then_some(entry.steps),
            omitted: entry.omitted,
        }
    }
}

/// The query of a search. What is given must all apply.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// The `Message-ID`, with or without its angles.
    #[param(nullable = false)]
    message_id: Option<String>,
    /// The sender's address; `<>` is the null sender.
    #[param(nullable = false)]
    sender: Option<String>,
    /// A recipient's address, as it was sent or as an alias made it.
    #[param(nullable = false)]
    recipient: Option<String>,
    /// The account that sent it.
    #[param(nullable = false)]
    account: Option<String>,
    /// Received so many seconds ago, at least.
    #[param(nullable = false)]
    older_than: Option<u64>,
    /// Received so many seconds ago, at most.
    #[param(nullable = false)]
    newer_than: Option<u64>,
    /// Messages with ids below this one: the `next` of the page before.
    #[param(nullable = false)]
    before: Option<String>,
    /// At most this many; 100 unless said.
    #[param(nullable = false, minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl HistoryQuery {
    fn parse(self) -> Result<(Query, usize), ApiError> {
        let limit = limit(self.limit)?;
        // Its entries are of the clock of the server that wrote them.
        let now = Timestamp::now();
        let then = |name, seconds: Option<u64>| seconds.map(|seconds| ago(name, seconds, now)).transpose();
        let query = Query {
            message_id: self.message_id,
            sender: self.sender.map(|sender| match sender.as_str() {
                "<>" => String::new(),
                _ => sender,
            }),
            recipient: self.recipient,
            account: self.account,
            since: then("newer_than", self.newer_than)?,
            until: then("older_than", self.older_than)?,
            before: self
                .before
                .as_deref()
                .map(parse_id)
                .transpose()?
                .map(|id| id.to_string()),
        };
        Ok((query, limit))
    }
}

/// Search messages
///
/// Newest first, those that left the queue too, as long as they are kept (`history.retention`). A page may have fewer than `limit`, even none, and
/// still not be the last: `next` says.
#[utoipa::path(get, path = "/history", tag = "history", params(HistoryQuery), responses((status = 200, body = Page<History>)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<HistoryQuery>,
) -> Result<Json<Page<History>>, ApiError> {
    let (query, limit) = query(asked)?.parse()?;
    let found = ask(&shared, move |search| search.list(&query, limit)).await?;
    Ok(Json(Page {
        entries: found
            .entries
            .into_iter()
            .map(|entry| History::new(entry, false))
            .collect(),
        next: found.next,
    }))
}

/// Show every step of a message
#[utoipa::path(
    get,
    path = "/history/{id}",
    tag = "history",
    params(("id" = String, Path, description = "Queue id.")),
    responses((status = 200, body = History))
)]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<History>, ApiError> {
    let wanted = parse_id(&id)?.to_string();
    let found = ask(&shared, move |search| search.show(&wanted)).await?;
    let nothing = || {
        ApiError::not_found(format!(
            "nothing is known of a message {id}: it ended longer ago than history.retention, or never came"
        ))
    };
    Ok(Json(History::new(found.ok_or_else(nothing)?, true)))
}

/// Asks off the reactor.
pub(crate) async fn ask<T: Send + 'static>(
    shared: &Shared,
    question: impl FnOnce(&Search) -> Result<T, String> + Send + 'static,
) -> Result<T, ApiError> {
    let history = shared.rooms.history().ok_or_else(|| {
        let message = "no history is kept: history.enabled is false, the server is starting, or the log says why (history_failed)";
        ApiError::new(503, "no_history", message)
    })?;
    let answer = tokio::task::spawn_blocking(move || history.ask(question)).await;
    let answer = answer.unwrap_or_else(|broken| Err(broken.to_string()));
    answer.map_err(|error| ApiError::new(500, "history", format!("the history cannot be read: {error}")))
}
