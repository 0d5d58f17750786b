//! Which path goes where, and what each is guarded by.
//!
//! Health and metrics pass no guard. The API passes them in this order: credentials, time
//! limit, content type, size of the body.

use crate::auth::{self, Limiter};
use crate::rooms::Rooms;
use crate::{api, health, metrics};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use smtp_observe::Observer;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ApiError;

/// Most octets of a request's body.
const MAX_BODY: usize = 64 << 10;
/// Longest time until an answer begins; less than a connection may be quiet.
const MAX_TIME: Duration = Duration::from_secs(25);

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) rooms: Arc<dyn Rooms>,
    pub(crate) observer: Observer,
    pub(crate) limiter: Arc<Limiter>,
    /// Path of the metrics, where this listener has them.
    pub(crate) metrics_path: Option<Arc<str>>,
}

fn shared(rooms: Arc<dyn Rooms>, observer: Observer, metrics_path: Option<String>) -> Shared {
    Shared {
        rooms,
        observer,
        limiter: Arc::default(),
        metrics_path: metrics_path.map(Into::into),
    }
}

/// Everything.
pub(crate) fn main(rooms: Arc<dyn Rooms>, observer: Observer, metrics_path: Option<String>) -> Router {
    let shared = shared(rooms, observer, metrics_path);
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .nest("/api/v1", api_routes(&shared))
        .fallback(metrics_or_nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(harmless))
        .with_state(shared)
}

/// Metrics on a listener of their own; health too, for whoever looks there.
pub(crate) fn metrics_only(rooms: Arc<dyn Rooms>, observer: Observer, path: Option<String>) -> Router {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(metrics_or_nothing)
        .layer(middleware::map_response(harmless))
        .with_state(shared(rooms, observer, path))
}

fn api_routes(shared: &Shared) -> Router<Shared> {
    Router::new()
        .route("/status", get(api::status))
        .route("/config", get(api::config))
        .route("/reload", post(api::reload))
        .route("/queue", get(api::queue::list))
        .route("/queue/stats", get(api::queue::stats))
        .route("/queue/retry", post(api::queue::retry))
        .route("/queue/delete", post(api::queue::delete))
        .route("/queue/hold", post(api::queue::hold))
        .route("/queue/release", post(api::queue::release))
        .route("/queue/bounce", post(api::queue::bounce))
        .route("/queue/{id}", get(api::queue::show))
        .route("/queue/{id}/body", get(api::queue::body))
        .route(
            "/suspensions",
            get(api::suspensions::list).post(api::suspensions::suspend),
        )
        .route("/suspensions/{kind}/{name}", delete(api::suspensions::resume))
        .route("/audit", get(api::trail::page))
        .merge(directory_routes())
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(json_only))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(shared.clone(), auth::guard))
}

fn directory_routes() -> Router<Shared> {
    use api::directory::{accounts, aliases, dkim, domains};
    Router::new()
        .route("/domains", get(domains::list).post(domains::add))
        .route(
            "/domains/{name}",
            get(domains::show).patch(domains::set).delete(domains::remove),
        )
        .route("/accounts", get(accounts::list).post(accounts::add))
        .route(
            "/accounts/{name}",
            get(accounts::show).patch(accounts::set).delete(accounts::remove),
        )
        .route("/accounts/{name}/apps", post(accounts::add_app))
        .route("/accounts/{name}/apps/{label}", delete(accounts::remove_app))
        .route("/aliases", get(aliases::list).post(aliases::add))
        .route(
            "/aliases/{name}",
            get(aliases::show).patch(aliases::set).delete(aliases::remove),
        )
        .route("/dkim", get(dkim::list).post(dkim::add))
        .route("/dkim/check", post(dkim::check))
        .route("/dkim/rotate", post(dkim::rotate))
        .route("/dkim/{domain}/{selector}", delete(dkim::remove))
}

/// The metrics' path is the operator's choice, so it is compared here rather than routed.
async fn metrics_or_nothing(State(shared): State<Shared>, request: Request) -> Response {
    match &shared.metrics_path {
        Some(path) if **path == *request.uri().path() => {
            metrics::answer(&shared, &request.into_parts().0).await
        }
        _ => nothing().await.into_response(),
    }
}

async fn nothing() -> ApiError {
    ApiError::not_found("there is nothing at this path")
}

async fn wrong_method() -> ApiError {
    ApiError::new(405, "method_not_allowed", "this path does not take that method")
}

/// A browser's form cannot send JSON: a page that an operator visits cannot change anything
/// with the password that the browser remembers.
async fn json_only(request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe();
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    if changes && !essence.eq_ignore_ascii_case("application/json") {
        let message = "changes need the header Content-Type: application/json";
        return ApiError::new(415, "unsupported_media_type", message).into_response();
    }
    next.run(request).await
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(MAX_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(503, "timeout", "no answer within 25 seconds; try again").into_response(),
    }
}

/// Answers are never cached, and never taken for something else than they say.
async fn harmless(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
