//! The operator's queue work: look, try again, hold, release, give up, delete.

use super::paging::{Asked, query};
use super::request::{JsonBody, ListQuery, Selection, ShapeQuery, parse_id};
use super::shapes::{InFull, Listing, ShapeEntry, Totals, Touched};
use super::{body as content, header as beginning, now, store, trail};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::router::Shared;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use smtp_queue::{Filter, MessageDetail, State as RecipientState, Store};
use std::time::{Duration, Instant};

/// Messages changed at a time.
const PORTION: usize = 2000;
/// How long a change goes on before it answers, with what is left to whoever asks again.
const PATIENCE: Duration = Duration::from_secs(10);

/// List messages
///
/// A page at a time, by id, so by time of arrival.
#[utoipa::path(get, path = "/queue", tag = "queue", params(ListQuery), responses((status = 200, body = Listing)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    asked: Asked<ListQuery>,
) -> Result<Json<Listing>, ApiError> {
    let (filter, after, limit) = query(asked)?.parse(now(&shared))?;
    let found = store(&shared)?.list(filter, after, limit).await?;
    Ok(Json(Listing::new(found, limit)))
}

/// Show a message
///
/// Its envelope, all its recipients with their last results, and its header.
#[utoipa::path(
    get,
    path = "/queue/{id}",
    tag = "queue",
    params(("id" = String, Path, description = "Queue id.")),
    responses((status = 200, body = InFull))
)]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<InFull>, ApiError> {
    let store = store(&shared)?;
    let found = find(&*store, &id).await?;
    // Who looks at a message with a broken content is told the rest all the same.
    let header = match store.body(&found.message).await {
        Ok(body) => beginning::of(body).await,
        Err(_) => None,
    };
    Ok(Json(InFull::new(found, header)))
}

/// Get a message's content
///
/// As it is stored, and as it will leave but for what delivery adds.
#[utoipa::path(
    get,
    path = "/queue/{id}/body",
    tag = "queue",
    params(("id" = String, Path, description = "Queue id.")),
    responses((status = 200, body = String, content_type = "message/rfc822"))
)]
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

/// Figures of the queue
///
/// Kept as it goes: asking costs nothing.
#[utoipa::path(get, path = "/queue/stats", tag = "queue", responses((status = 200, body = Totals)))]
pub(crate) async fn stats(State(shared): State<Shared>) -> Result<Json<Totals>, ApiError> {
    Ok(Json(store(&shared)?.stats().await?.into()))
}

/// The shape of the queue: recipients by domain and age
///
/// Reads the whole queue: about a second for each million recipients.
#[utoipa::path(get, path = "/queue/shape", tag = "queue", params(ShapeQuery), responses((status = 200, body = ShapeEntry)))]
pub(crate) async fn shape(
    State(shared): State<Shared>,
    asked: Asked<ShapeQuery>,
) -> Result<Json<ShapeEntry>, ApiError> {
    let (filter, by, limit) = query(asked)?.parse(now(&shared))?;
    let shape = store(&shared)?.shape(filter, by, now(&shared)).await?;
    Ok(Json(ShapeEntry::new(shape, limit)))
}

/// Try messages again now
///
/// Queued and deferred recipients are due, and the back-off of their next hops ends.
#[utoipa::path(post, path = "/queue/retry", tag = "queue", request_body = Selection, responses((status = 200, body = Touched)))]
pub(crate) async fn retry(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Retry, &shared, &caller, selection).await
}

/// Hold messages
///
/// Their queued and deferred recipients that are meant are not tried until they are released. What is being sent goes on.
#[utoipa::path(post, path = "/queue/hold", tag = "queue", request_body = Selection, responses((status = 200, body = Touched)))]
pub(crate) async fn hold(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Hold, &shared, &caller, selection).await
}

/// Release messages
///
/// Held recipients are due. What is in quarantine is read again, and queued if it can be.
#[utoipa::path(post, path = "/queue/release", tag = "queue", request_body = Selection, responses((status = 200, body = Touched)))]
pub(crate) async fn release(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Release, &shared, &caller, selection).await
}

/// Give messages up
///
/// Queued, deferred and held recipients that are meant bounce, and senders are told, with `text` if there is one.
#[utoipa::path(post, path = "/queue/bounce", tag = "queue", request_body = Selection, responses((status = 200, body = Touched)))]
pub(crate) async fn bounce(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(mut selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    let text = selection.take_text()?;
    change(Change::Bounce(text), &shared, &caller, selection).await
}

/// Delete messages
///
/// Whole, whoever of their recipients is meant, and without a word to their senders.
#[utoipa::path(post, path = "/queue/delete", tag = "queue", request_body = Selection, responses((status = 200, body = Touched)))]
pub(crate) async fn delete(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(selection): JsonBody<Selection>,
) -> Result<Json<Touched>, ApiError> {
    change(Change::Delete, &shared, &caller, selection).await
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

    /// Works through what is meant, a portion at a time, until it is done or [`PATIENCE`] ends. `done` is right whatever happens.
    async fn make(&self, shared: &Shared, mut filter: Filter, done: &mut Touched) -> Result<(), ApiError> {
        let (store, began) = (store(shared)?, Instant::now());
        while let Some(last) = store.portion(filter.clone(), PORTION).await? {
            filter.up_to = Some(last);
            if self.make_portion(shared, &*store, &filter, done).await? {
                filter.behind = Some(last);
            }
            filter.up_to = None;
            if began.elapsed() >= PATIENCE {
                done.next = Some(filter.behind.unwrap_or_default().to_string());
                break;
            }
        }
        Ok(())
    }

    /// Whether all of the portion was done.
    async fn make_portion(
        &self,
        shared: &Shared,
        store: &dyn Store,
        filter: &Filter,
        done: &mut Touched,
    ) -> Result<bool, ApiError> {
        let (meant, now) = (filter.clone(), store.now());
        match self {
            Change::Retry => done.touched += store.retry(meant, now).await?,
            Change::Hold => done.touched += store.hold(meant).await?,
            Change::Delete => done.touched += store.delete(meant).await?,
            Change::Release => {
                done.touched += store.unhold(meant.clone(), now).await?;
                done.released(store.release(meant, now).await?);
            }
            Change::Bounce(text) => {
                let (touched, more) = shared.rooms.bounce(filter, text.as_deref()).await?;
                done.touched += touched;
                return Ok(!more);
            }
        }
        Ok(true)
    }
}

/// Changes what is selected, and tells the trail who did it; or only counts it.
async fn change(
    change: Change,
    shared: &Shared,
    caller: &Caller,
    selection: Selection,
) -> Result<Json<Touched>, ApiError> {
    let dry_run = selection.dry_run();
    let (filter, words) = selection.parse(now(shared))?;
    if dry_run {
        let touched = store(shared)?.count(filter, change.states()).await?;
        return Ok(Json(Touched::all(touched)));
    }
    let mut done = Touched::default();
    let result = change.make(shared, filter, &mut done).await;
    if result.is_ok() || done.touched > 0 {
        if matches!(change, Change::Retry | Change::Release) {
            shared.rooms.retry_now();
        }
        let made = trail::Change::new(change.name(), &words, done.touched);
        let text = match &change {
            Change::Bounce(Some(text)) => json!({"text": text}),
            _ => json!(null),
        };
        trail::record(shared, caller, made.with((), text)).await;
    }
    result.map(|()| Json(done))
}

async fn find(store: &dyn Store, id: &str) -> Result<MessageDetail, ApiError> {
    let found = store.show(parse_id(id)?).await?;
    found.ok_or_else(|| {
        ApiError::not_found(format!(
            "no message {id} in the queue: it was delivered, bounced or deleted, or never taken (`history show` knows)"
        ))
    })
}
