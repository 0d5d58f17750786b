//! The operator's queue work: look, try again, delete.

use super::request::{JsonBody, MAX_LIMIT, Page, Selection, parse_id};
use super::shapes::{Entry, Listing, Totals, Touched};
use super::{audit, body as content};
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use smtp_queue::{Filter, MessageDetail, State as RecipientState, Store, StoreError};
use std::net::IpAddr;
use std::sync::Arc;

/// `GET /api/v1/queue`: one page of messages, by id.
pub(crate) async fn list(
    State(shared): State<Shared>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Listing>, ApiError> {
    let Query(page) = page.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let (filter, after, limit) = page.parse()?;
    let found = store(&shared)?.list(filter, after, limit).await?;
    let next = match found.last() {
        Some(last) if found.len() >= limit => Some(last.message.id.to_string()),
        _ => None,
    };
    let messages = found
        .into_iter()
        .map(|one| Entry::new(one.message, one.recipients))
        .collect();
    Ok(Json(Listing { messages, next }))
}

/// `GET /api/v1/queue/{id}`: one message with all its recipients.
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Entry>, ApiError> {
    let found = find(&*store(&shared)?, &id).await?;
    Ok(Json(Entry::new(found.message, found.recipients)))
}

/// `GET /api/v1/queue/{id}/body`: the content as it is stored.
pub(crate) async fn body(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let store = store(&shared)?;
    let found = find(&*store, &id).await?;
    let stored = store.body(&found.message).await?;
    let body = content::stream(stored).await;
    let body = body.map_err(|error| ApiError::new(500, "storage_damaged", format!("no content: {error}")))?;
    let name = format!("attachment; filename=\"{}.eml\"", found.message.id);
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body).into_response())
}

/// `GET /api/v1/queue/stats`: totals, kept by the store as it goes.
pub(crate) async fn stats(State(shared): State<Shared>) -> Result<Json<Totals>, ApiError> {
    Ok(Json(store(&shared)?.stats().await?.into()))
}

/// `POST /api/v1/queue/retry`: queued and deferred recipients are due now.
pub(crate) async fn retry(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Retry, &shared, peer, selection).await
}

/// `POST /api/v1/queue/delete`: messages go without a word to their senders.
pub(crate) async fn delete(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Delete, &shared, peer, selection).await
}

/// `POST /api/v1/queue/release`: what is in quarantine is read again, and queued if it can be.
pub(crate) async fn release(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Release, &shared, peer, selection).await
}

/// What an operator does to messages.
#[derive(Clone, Copy, Debug)]
enum Change {
    Retry,
    Delete,
    Release,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Retry => "retry",
            Change::Delete => "delete",
            Change::Release => "release",
        }
    }

    /// Whether it changes a message that has a recipient in this state.
    fn touches(self, state: RecipientState) -> bool {
        match self {
            Change::Retry => matches!(state, RecipientState::Queued | RecipientState::Deferred),
            Change::Delete => true,
            Change::Release => state == RecipientState::Quarantined,
        }
    }
}

/// Changes what is selected, and tells the log who did it; or only counts it.
async fn change(
    change: Change,
    shared: &Shared,
    peer: IpAddr,
    selection: Selection,
) -> Result<Json<Touched>, ApiError> {
    let store = store(shared)?;
    let dry_run = selection.dry_run;
    let (filter, words) = selection.parse()?;
    if dry_run {
        let touched = count(&*store, filter, change).await?;
        return Ok(Json(Touched::new(touched)));
    }
    let now = Timestamp::now();
    let done = match change {
        Change::Retry => Touched::new(store.retry(filter, now).await?),
        Change::Delete => Touched::new(store.delete(filter).await?),
        Change::Release => store.release(filter, now).await?.into(),
    };
    if matches!(change, Change::Retry | Change::Release) {
        shared.rooms.retry_now();
    }
    audit(shared, peer, change.name(), &words, done.touched);
    Ok(Json(done))
}

fn store(shared: &Shared) -> Result<Arc<dyn Store>, ApiError> {
    let message = "the store is still being recovered; try again soon";
    shared
        .rooms
        .store()
        .ok_or_else(|| ApiError::new(503, "starting", message))
}

async fn find(store: &dyn Store, id: &str) -> Result<MessageDetail, ApiError> {
    let found = store.show(parse_id(id)?).await?;
    found.ok_or_else(|| {
        ApiError::not_found(format!(
            "no message {id} in the queue: it was delivered, bounced or deleted, or never taken"
        ))
    })
}

/// How many messages a change would touch, page by page.
async fn count(store: &dyn Store, filter: Filter, change: Change) -> Result<u64, StoreError> {
    let mut total = 0;
    let mut after = None;
    loop {
        let page = store.list(filter.clone(), after, MAX_LIMIT).await?;
        let touched =
            |one: &&smtp_queue::MessageSummary| one.recipients.iter().any(|r| change.touches(r.state));
        total += page.iter().filter(touched).count() as u64;
        match page.last() {
            Some(last) if page.len() >= MAX_LIMIT => after = Some(last.message.id),
            _ => return Ok(total),
        }
    }
}
