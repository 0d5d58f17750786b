//! The server at a glance, its configuration, and the description of this API.

use super::request::{JsonBody, Nothing};
use super::trail::{Change, record};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::openapi;
use crate::rooms::{DrainStatus, Reloaded, Setting, Status};
use crate::router::Shared;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::LazyLock;
use utoipa::ToSchema;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // Written of plain data, so it cannot fail.
    openapi::document().to_json().unwrap_or_default()
});

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, description = "OpenAPI 3.1.", body = Value)))]
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// The server at a glance
#[utoipa::path(get, path = "/status", tag = "server", responses((status = 200, body = Status)))]
pub(crate) async fn status(State(shared): State<Shared>) -> Json<Status> {
    Json(shared.rooms.status())
}

/// Every setting in force
///
/// With where its value came from, and when a change of it takes effect.
#[utoipa::path(get, path = "/config", tag = "server", responses((status = 200, body = Vec<Setting>)))]
pub(crate) async fn config(State(shared): State<Shared>) -> Json<Vec<Setting>> {
    Json(shared.rooms.config())
}

/// Read the configuration again
///
/// Taken whole or not at all.
#[utoipa::path(
    post,
    path = "/reload",
    tag = "server",
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "What changed.", body = Reloaded),
        (status = 422, description = "What is wrong with it; the old one stays in force.", body = crate::error::ErrorBody),
    )
)]
pub(crate) async fn reload(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Result<Json<Reloaded>, ApiError> {
    let before = shared.rooms.config();
    let result = shared.rooms.reload().await;
    let change = Change::new("reload", "config", u64::from(result.is_ok()));
    let (old, new) = match &result {
        Ok(done) => (
            values(&before, &done.changed),
            values(&shared.rooms.config(), &done.changed),
        ),
        Err(refused) => (Value::Null, json!({"refused": refused})),
    };
    record(&shared, &caller, change.with(old, new)).await;
    result
        .map(Json)
        .map_err(|error| ApiError::new(422, "config_refused", error))
}

/// The values of some settings.
fn values(settings: &[Setting], keys: &[String]) -> Value {
    let meant = settings.iter().filter(|setting| keys.contains(&setting.key));
    meant
        .map(|setting| (setting.key.clone(), setting.value.clone()))
        .collect()
}

/// How a drain is asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DrainRequest {
    /// Wait for nothing: what is under way breaks off, and mail after its final dot may be delivered twice.
    now: bool,
}

/// How far the server's end is
///
/// And what holds it up, with ages; while the server runs, what would.
#[utoipa::path(get, path = "/drain", tag = "server", responses((status = 200, body = DrainStatus)))]
pub(crate) async fn drain_status(State(shared): State<Shared>) -> Json<DrainStatus> {
    Json(shared.rooms.drain_status())
}

/// End the server in good order
///
/// As SIGTERM does: nothing new is begun, what was begun may finish, then the process ends. A supervisor may start it again. Asked again
/// with `now`, it waits for nothing.
#[utoipa::path(
    post,
    path = "/drain",
    tag = "server",
    request_body = Option<DrainRequest>,
    responses((status = 200, body = DrainStatus))
)]
pub(crate) async fn drain(
    State(shared): State<Shared>,
    caller: Caller,
    JsonBody(DrainRequest { now }): JsonBody<DrainRequest>,
) -> Json<DrainStatus> {
    // Before the store closes.
    let change = Change::new("drain", "server", 1);
    record(&shared, &caller, change.with((), json!({"now": now}))).await;
    shared.rooms.drain(&caller.who, now);
    Json(shared.rooms.drain_status())
}
