//! The admin API: status, configuration, reload; the queue is in [`queue`], who is who in [`directory`].

mod body;
pub(crate) mod directory;
pub(crate) mod queue;
mod request;
mod shapes;
pub(crate) mod suspensions;
pub(crate) mod trail;

use crate::connection::Peer;
use crate::error::ApiError;
use crate::rooms::Reloaded;
use crate::router::Shared;
use axum::Json;
use axum::extract::{ConnectInfo, State};
use jiff::Timestamp;
use serde_json::Value;
use smtp_observe::Event;
use smtp_queue::AuditRecord;
use std::net::IpAddr;

/// `GET /api/v1/status`.
pub(crate) async fn status(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.rooms.status())
}

/// `GET /api/v1/config`.
pub(crate) async fn config(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.rooms.config())
}

/// `POST /api/v1/reload`: 200 with what changed, or 422 with what is wrong.
pub(crate) async fn reload(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
) -> Result<Json<Reloaded>, ApiError> {
    let result = shared.rooms.reload().await;
    let after = result
        .as_ref()
        .ok()
        .and_then(|done| serde_json::to_string(done).ok());
    audit(
        &shared,
        peer,
        "reload",
        "config",
        u64::from(result.is_ok()),
        after,
    )
    .await;
    result
        .map(Json)
        .map_err(|error| ApiError::new(422, "config_refused", error))
}

/// Tells the log and the audit trail who changed what; `after` is JSON without secrets. The change is made: a trail that cannot be
/// written now (the store says so in the log) leaves the log's line.
async fn audit(
    shared: &Shared,
    peer: IpAddr,
    action: &str,
    target: &str,
    touched: u64,
    after: Option<String>,
) {
    let (who, peer) = ("admin", peer.to_string());
    shared.observer.emit(Event::AdminAction {
        who,
        peer: &peer,
        action,
        target,
        touched,
    });
    let Some(store) = shared.rooms.store() else { return };
    let record = AuditRecord {
        number: 0,
        at: Timestamp::now(),
        who: who.to_owned(),
        peer,
        action: action.to_owned(),
        target: target.to_owned(),
        touched,
        before: None,
        after,
    };
    let _ = store.audit(record).await;
}
