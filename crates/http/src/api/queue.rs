//! The operator's queue work: look, try again, hold, release, give up, delete.

use super::request::{JsonBody, Page, Selection, parse_id};
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
use smtp_queue::{Filter, MessageDetail, State as RecipientState, Store};
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

/// `POST /api/v1/queue/hold`: queued and deferred recipients are not tried any more.
pub(crate) async fn hold(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Hold, &shared, peer, selection).await
}

/// `POST /api/v1/queue/bounce`: what waits is given up, and its senders are told, with `text` if there is one.
pub(crate) async fn bounce(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    JsonBody(mut selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    let text = selection.take_text()?;
    change(Change::Bounce(text), &shared, peer, selection).await
}

/// What an operator does to messages.
#[derive(Clone, Debug)]
enum Change {
    Retry,
    Hold,
    Release,
    /// With what senders are told.
    Bounce(Option<String>),
    Delete,
}

impl Change {
    /// As the audit trail has it.
    fn name(&self) -> &'static str {
        match self {
            Change::Retry => "queue.retry",
            Change::Hold => "queue.hold",
            Change::Release => "queue.release",
            Change::Bounce(_) => "queue.bounce",
            Change::Delete => "queue.delete",
        }
    }

    /// It changes messages that have a recipient in one of these states.
    fn states(&self) -> Vec<RecipientState> {
        use RecipientState::{Deferred, Held, Quarantined, Queued};
        match self {
            Change::Retry | Change::Hold => vec![Queued, Deferred],
            Change::Release => vec![Held, Quarantined],
            Change::Bounce(_) => vec![Queued, Deferred, Held],
            Change::Delete => RecipientState::ALL.to_vec(),
        }
    }

    async fn make(&self, shared: &Shared, filter: Filter) -> Result<Touched, ApiError> {
        let (store, now) = (store(shared)?, Timestamp::now());
        Ok(match self {
            Change::Retry => Touched::new(store.retry(filter, now).await?),
            Change::Hold => Touched::new(store.hold(filter).await?),
            Change::Release => {
                let held = store.unhold(filter.clone(), now).await?;
                Touched::released(held, store.release(filter, now).await?)
            }
            Change::Bounce(text) => {
                let (touched, more) = shared.rooms.bounce(&filter, text.as_deref()).await?;
                Touched::bounced(touched, more)
            }
            Change::Delete => Touched::new(store.delete(filter).await?),
        })
    }
}

/// Changes what is selected, and tells the trail who did it; or only counts it.
async fn change(
    change: Change,
    shared: &Shared,
    peer: IpAddr,
    selection: Selection,
) -> Result<Json<Touched>, ApiError> {
    let dry_run = selection.dry_run();
    let (filter, words) = selection.parse()?;
    if dry_run {
        let touched = store(shared)?.count(filter, change.states()).await?;
        return Ok(Json(Touched::new(touched)));
    }
    let done = change.make(shared, filter).await?;
    if matches!(change, Change::Retry | Change::Release) {
        shared.rooms.retry_now();
    }
    audit(shared, peer, change.name(), &words, done.touched, None).await;
    Ok(Json(done))
}

pub(super) fn store(shared: &Shared) -> Result<Arc<dyn Store>, ApiError> {
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
