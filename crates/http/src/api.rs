//! The admin API: status, configuration, reload; the queue is in [`queue`], who is who in [`directory`].

mod body;
pub(crate) mod directory;
pub(crate) mod queue;
mod request;
mod shapes;

use crate::connection::Peer;
use crate::error::ApiError;
use crate::rooms::Reloaded;
use crate::router::Shared;
use axum::Json;
use axum::extract::{ConnectInfo, State};
use serde_json::Value;
use smtp_observe::Event;
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
    audit(&shared, peer, "reload", "config", u64::from(result.is_ok()));
    result
        .map(Json)
        .map_err(|error| ApiError::new(422, "config_refused", error))
}

/// Tells who changed what.
fn audit(shared: &Shared, peer: IpAddr, action: &str, target: &str, touched: u64) {
    let peer = peer.to_string();
    shared.observer.emit(Event::AdminAction {
        who: "admin",
        peer: &peer,
        action,
        target,
        touched,
    });
}
