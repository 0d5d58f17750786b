//! Which path goes where, and what each is guarded by.
//!
//! Health and metrics pass no guard. The API passes them in this order: credentials, time
//! limit, whether there is such a route, scope, content type, size of the body.

use crate::auth::{self, Limiter, Tokens};
use crate::console::{self, Sessions};
use crate::rates::Rates;
use crate::rooms::Rooms;
use crate::{api, health, metrics, openapi};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use smtp_config::Scope;
use smtp_observe::Observer;
use std::sync::Arc;
use std::time::Duration;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) sessions: Arc<Sessions>,
    /// Path of the metrics, where this listener has them.
    pub(crate) metrics_path: Option<Arc<str>>,
}

pub(crate) fn shared(
    rooms: Arc<dyn Rooms>,
    observer: Observer,
    rates: Arc<Rates>,
    metrics_path: Option<String>,
) -> Shared {
    Shared {
        rooms,
        observer,
        limiter: Arc::default(),
        tokens: Arc::default(),
        rates,
        sessions: Arc::default(),
        metrics_path: metrics_path.map(Into::into),
    }
}

/// Everything, the metrics where `shared` has their path.
pub(crate) fn main(shared: Shared, with_console: bool) -> Router {
    let pages = match with_console {
        true => console::router(&shared),
        false => Router::new(),
    };
    probes()
        .nest("/api/v1", api(&shared))
        .merge(pages)
        .fallback(metrics_or_nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(harmless))
        .with_state(shared)
}

/// Metrics on a listener of their own; health too, for whoever looks there.
pub(crate) fn metrics_only(shared: Shared) -> Router {
    probes()
        .fallback(metrics_or_nothing)
        .layer(middleware::map_response(harmless))
        .with_state(shared)
}

/// Health and metrics, where admin API and console are on a listener of their own. Nothing here looks at credentials.
pub(crate) fn without_admin(shared: Shared) -> Router {
    probes()
        .fallback(metrics_or_elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(harmless))
        .with_state(shared)
}

fn probes() -> Router<Shared> {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
}

/// Everything below `/api/v1`, by what it needs: whoever adds a route says who may use it, because there is no other place for one.
fn routes() -> [(Scope, OpenApiRouter<Shared>); 3] {
    use api::{
        destinations, history, queue, server, servers, sessions, statistics, suspensions, tokens, trail,
        webhooks,
    };
    let read = OpenApiRouter::new()
        .routes(routes!(server::openapi))
        .routes(routes!(server::status))
        .routes(routes!(server::config))
        .routes(routes!(server::drain_status))
        .routes(routes!(statistics::statistics))
        .routes(routes!(sessions::sessions))
        .routes(routes!(servers::list))
        .routes(routes!(destinations::destinations))
        .routes(routes!(webhooks::list))
        .routes(routes!(queue::list))
        .routes(routes!(queue::stats))
        .routes(routes!(queue::shape))
        .routes(routes!(queue::show))
        .routes(routes!(history::list))
        .routes(routes!(history::show))
        .routes(routes!(suspensions::list))
        .routes(routes!(trail::list))
        .merge(directory_reading());
    let operate = OpenApiRouter::new()
        .routes(routes!(server::reload))
        .routes(routes!(server::drain))
        .routes(routes!(webhooks::retry))
        .routes(routes!(queue::body))
        .routes(routes!(queue::retry))
        .routes(routes!(queue::hold))
        .routes(routes!(queue::release))
        .routes(routes!(queue::bounce))
        .routes(routes!(queue::delete))
        .routes(routes!(suspensions::suspend))
        .routes(routes!(suspensions::resume))
        .routes(routes!(api::directory::dkim::check));
    let admin = OpenApiRouter::new()
        .routes(routes!(tokens::list, tokens::add))
        .routes(routes!(tokens::revoke))
        .merge(directory_changes());
    [
        (Scope::Read, read),
        (Scope::Operate, operate),
        (Scope::Admin, admin),
    ]
}

fn directory_reading() -> OpenApiRouter<Shared> {
    use api::directory::{accounts, aliases, dkim, domains};
    OpenApiRouter::new()
        .routes(routes!(domains::list))
        .routes(routes!(domains::show))
        .routes(routes!(accounts::list))
        .routes(routes!(accounts::show))
        .routes(routes!(aliases::list))
        .routes(routes!(aliases::show))
        .routes(routes!(dkim::list))
}

fn directory_changes() -> OpenApiRouter<Shared> {
    use api::directory::{accounts, aliases, dkim, domains};
    OpenApiRouter::new()
        .routes(routes!(domains::add))
        .routes(routes!(domains::set, domains::remove))
        .routes(routes!(accounts::add))
        .routes(routes!(accounts::set, accounts::remove))
        .routes(routes!(accounts::add_app))
        .routes(routes!(accounts::remove_app))
        .routes(routes!(aliases::add))
        .routes(routes!(aliases::set, aliases::remove))
        .routes(routes!(dkim::add))
        .routes(routes!(dkim::rotate))
        .routes(routes!(dkim::remove))
}

/// All routes with their guards; who asks is known before any of it.
fn api_routes() -> OpenApiRouter<Shared> {
    let guarded = |(scope, mut routes): (Scope, OpenApiRouter<Shared>)| {
        openapi::guarded(routes.get_openapi_mut(), scope);
        routes
            .route_layer(middleware::from_fn(json_only))
            .route_layer(middleware::from_fn_with_state(scope, auth::permit))
    };
    routes()
        .map(guarded)
        .into_iter()
        .fold(OpenApiRouter::default(), OpenApiRouter::merge)
}

/// The description of all routes.
pub(crate) fn described() -> OpenApi {
    OpenApiRouter::<Shared>::default()
        .nest("/api/v1", api_routes())
        .into_openapi()
}

fn api(shared: &Shared) -> Router<Shared> {
    Router::from(api_routes())
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(to_its_end))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(shared.clone(), auth::authenticate))
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

/// Says which setting knows where the API is, and not where: that is for those who can read the configuration.
async fn metrics_or_elsewhere(state: State<Shared>, request: Request) -> Response {
    let path = request.uri().path();
    let within = |folder| {
        path == folder
            || path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if path == "/" || within("/api") || within("/ui") {
        let message = "admin API and console are not on this port but on one of their own: see http.admin_port in the configuration";
        return ApiError::not_found(message).into_response();
    }
    metrics_or_nothing(state, request).await
}

async fn nothing() -> ApiError {
    ApiError::not_found("there is nothing at this path")
}

async fn wrong_method() -> ApiError {
    ApiError::new(405, "method_not_allowed", "this path does not take that method")
}

/// A browser's form cannot send JSON: a page that an operator visits cannot change anything
/// with the password that the browser remembers. Other methods that change something no page can send to another site without asking.
async fn json_only(request: Request, next: Next) -> Response {
    let has_body = matches!(*request.method(), Method::POST | Method::PATCH);
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    if has_body && !essence.eq_ignore_ascii_case("application/json") {
        let message = "POST and PATCH need the header Content-Type: application/json";
        return ApiError::new(415, "unsupported_media_type", message).into_response();
    }
    next.run(request).await
}

/// A change that was begun is finished, and its record written, also when nobody waits for the answer any more.
pub(crate) async fn to_its_end(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(500, "internal", "the change broke off; the log may say why").into_response(),
    }
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
