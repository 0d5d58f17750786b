//! The console: pages for people, made on the server. They show what the API says and do what it does, through the same functions.
//!
//! * [`session`] is who is logged in, [`fields`] what forms send, [`view`] how the API's JSON looks in a page.
//! * One file for each subject: [`overview`], [`queue`], [`history`], [`destinations`], [`directory`], [`captured`], [`lists`].
//!
//! Promises: a page needs no script, and none is in it: one file of ours only brings news; nothing is fetched from elsewhere; what
//! strangers wrote is escaped, and their HTML is shown in a frame that can do nothing; a change needs the session's own token and comes from our own pages,
//! and one that was begun is finished and recorded, also when the browser has gone.

mod captured;
mod chart;
mod destinations;
mod directory;
mod fields;
mod history;
mod lists;
mod overview;
mod queue;
mod session;
mod view;

pub(crate) use session::Sessions;

use crate::auth::{ADMIN, Caller};
use crate::error::ApiError;
use crate::router::{Shared, to_its_end};
use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::Value;
use session::User;
use smtp_config::Scope;

/// What a page may load and do.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All pages; those that need a session send who has none to the login.
pub(crate) fn router(shared: &Shared) -> Router<Shared> {
    let inside = Router::new()
        .route("/", get(overview::page))
        .route("/ui/live", get(overview::live))
        .route("/ui/queue", get(queue::list).post(queue::act))
        .route("/ui/queue/{id}", get(queue::message))
        .route("/ui/history", get(history::list))
        .route(
            "/ui/destinations",
            get(destinations::page).post(destinations::act),
        )
        .route("/ui/captured", get(captured::list).post(captured::act))
        .route("/ui/captured/live", get(captured::live))
        .route("/ui/captured/{name}", get(captured::message))
        .route("/ui/captured/{name}/html", get(captured::html))
        .route("/ui/captured/{name}/source", get(captured::source))
        .route("/ui/captured/{name}/part/{number}", get(captured::part))
        .route("/ui/directory", get(directory::page).post(directory::act))
        .route("/ui/directory/entry", get(directory::entry))
        .route("/ui/sessions", get(lists::sessions))
        .route("/ui/config", get(lists::config))
        .route("/ui/audit", get(lists::audit))
        .route("/ui/tokens", get(lists::tokens))
        .route("/ui/logout", post(session::logout))
        .route_layer(middleware::from_fn(to_its_end))
        .route_layer(middleware::from_fn_with_state(shared.clone(), session::required));
    Router::new()
        .route("/ui/login", get(session::form).post(session::login))
        .route(
            "/ui/style.css",
            get(|| asset("text/css", include_str!("../assets/style.css"))),
        )
        .route(
            "/ui/live.js",
            get(|| asset("text/javascript", include_str!("../assets/live.js"))),
        )
        .route(
            "/ui/icon.svg",
            get(|| asset("image/svg+xml", include_str!("../assets/icon.svg"))),
        )
        .merge(inside)
        .layer(middleware::map_response(confined))
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text)
}

/// Says what the page may do, unless it says so itself.
async fn confined(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What every page has.
struct Base {
    title: &'static str,
    /// The session's token; empty on the page that has no session.
    csrf: String,
    hostname: String,
    draining: bool,
}

impl Base {
    fn new(shared: &Shared, user: &User, title: &'static str) -> Base {
        let status = shared.rooms.status();
        Base {
            title,
            csrf: user.csrf.clone(),
            hostname: status.hostname,
            draining: status.draining,
        }
    }
}

/// A page that went wrong.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    base: Base,
    message: String,
}

/// A page, or the reason why there is none.
type Page = Result<Response, Failed>;

/// What went wrong, with what a page needs to say so.
struct Failed {
    base: Base,
    error: ApiError,
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (status, message) = (self.error.status(), self.error.message().to_owned());
        let page = ErrorPage {
            base: self.base,
            message,
        };
        (status, shown(&page)).into_response()
    }
}

/// A template as a page. Ours do not fail.
fn shown(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be shown").into_response(),
    }
}

/// What the API says, as JSON.
fn said(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap_or_default()
}

/// Who does what is done here.
fn caller(user: &User) -> Caller {
    Caller {
        who: ADMIN.into(),
        scope: Scope::Admin,
        peer: user.peer,
    }
}

/// The query of a request, fields that were left empty taken out.
fn pairs(request: &Request) -> Vec<(String, String)> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Pairs as a query.
fn query(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Pairs as the API's handlers want them.
fn asked<T: serde::de::DeserializeOwned>(pairs: &[(String, String)]) -> crate::api::Asked<T> {
    let uri = format!("/?{}", query(pairs)).parse().unwrap_or_default();
    axum::extract::Query::try_from_uri(&uri)
}

/// The value of a name, or nothing.
fn value<'p>(pairs: &'p [(String, String)], name: &str) -> &'p str {
    let found = pairs.iter().find(|(key, _)| key == name);
    found.map_or("", |(_, value)| value)
}
