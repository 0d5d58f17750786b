//! Probes. `live` asks memory only; `ready` asks every room whether mail can be taken.

use crate::rooms::Check;
use crate::router::Shared;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Longest time that the rooms may take to say whether they are ready.
const MAX_TIME: Duration = Duration::from_secs(5);

/// `GET /health/live`: 200 while the server makes progress, else 503.
pub(crate) async fn live(State(shared): State<Shared>) -> Response {
    let (ok, detail) = match shared.rooms.alive() {
        Ok(()) => (true, String::new()),
        Err(stuck) => (false, stuck),
    };
    answer(vec![Check {
        name: "progress",
        ok,
        detail,
    }])
}

/// `GET /health/ready`: 200 when the server can take mail, else 503.
pub(crate) async fn ready(State(shared): State<Shared>) -> Response {
    let checks = tokio::time::timeout(MAX_TIME, shared.rooms.ready()).await;
    answer(checks.unwrap_or_else(|_| {
        let detail = "no room answered within 5 seconds".to_owned();
        vec![Check {
            name: "answer",
            ok: false,
            detail,
        }]
    }))
}

fn answer(checks: Vec<Check>) -> Response {
    let (status, word) = match checks.iter().all(|check| check.ok) {
        true if checks.iter().all(|check| check.detail.is_empty()) => (StatusCode::OK, "ok"),
        true => (StatusCode::OK, "degraded"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let checks: Map<String, Value> = checks.into_iter().map(entry).collect();
    (status, Json(json!({"status": word, "checks": checks}))).into_response()
}

fn entry(check: Check) -> (String, Value) {
    let mut value = json!({"ok": check.ok});
    if !check.detail.is_empty() {
        value["detail"] = check.detail.into();
    }
    (check.name.to_owned(), value)
}
