//! Who is logged in. A session is 256 random bits in a cookie that no script sees and no other site's page sends; the server keeps its hash.

use super::fields::Fields;
use super::{Base, shown};
use crate::auth::{generate, hash, same};
use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use smtp_observe::Event;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const COOKIE: &str = "smtp_console";
/// A session ends when it was not used for so long…
const IDLE: Duration = Duration::from_secs(3600);
/// … and at this age in any case.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Most sessions; beyond, the one that was not used for longest goes.
const MOST: usize = 256;

/// Who is logged in.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

#[derive(Debug)]
struct Session {
    csrf: String,
    /// Hash of the password that opened it: with another one it ends.
    opened_by: [u8; 32],
    began: Instant,
    used: Instant,
}

impl Sessions {
    /// A new session's secret. `None` when the system has no randomness.
    fn begin(&self, password: &str, now: Instant) -> Option<String> {
        let (secret, csrf) = (generate()?, generate()?);
        let mut sessions = self.valid(now);
        if sessions.len() >= MOST
            && let Some(oldest) = sessions
                .iter()
                .min_by_key(|(_, one)| one.used)
                .map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        let session = Session {
            csrf,
            opened_by: hash(password.as_bytes()),
            began: now,
            used: now,
        };
        sessions.insert(hash(secret.as_bytes()), session);
        Some(secret)
    }

    /// The token of the session with this secret, unless it was opened by another password than this.
    fn find(&self, secret: &str, password: &str, now: Instant) -> Option<String> {
        let mut sessions = self.valid(now);
        let opened_by = hash(password.as_bytes());
        sessions.retain(|_, one| one.opened_by == opened_by);
        let session = sessions.get_mut(&hash(secret.as_bytes()))?;
        session.used = now;
        Some(session.csrf.clone())
    }

    fn end(&self, secret: &str) {
        self.lock().remove(&hash(secret.as_bytes()));
    }

    fn valid(&self, now: Instant) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        let mut sessions = self.lock();
        sessions.retain(|_, one| {
            now.saturating_duration_since(one.used) < IDLE
                && now.saturating_duration_since(one.began) < LONGEST
        });
        sessions
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asked for a page.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// The session's token, which every form carries.
    pub(super) csrf: String,
    pub(super) peer: IpAddr,
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<User, ApiError> {
        let user = parts.extensions.get::<User>().cloned();
        user.ok_or_else(|| ApiError::new(401, "unauthorized", "log in first"))
    }
}

/// Lets pass who is logged in; a change must come from a page of ours.
pub(super) async fn required(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let secret = cookie(request.headers());
    let password = shared.rooms.admin_password();
    let found = secret
        .zip(password)
        .and_then(|(secret, password)| shared.sessions.find(&secret, &password, Instant::now()));
    let Some(csrf) = found else {
        return Redirect::to("/ui/login").into_response();
    };
    if request.method() == Method::POST && !is_ours(request.headers()) {
        return (
            StatusCode::FORBIDDEN,
            "this request does not come from the console",
        )
            .into_response();
    }
    request.extensions_mut().insert(User { csrf, peer });
    next.run(request).await
}

/// Whether a browser says that the request comes from the page's own site. One that says neither is old; the form's token decides for it.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then(|| value.to_owned())
    })
}

/// The login.
#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    base: Base,
    message: &'static str,
}

fn page(shared: &Shared, status: StatusCode, message: &'static str) -> Response {
    let status_of = shared.rooms.status();
    let base = Base {
        title: "Log in",
        csrf: String::new(),
        hostname: status_of.hostname,
        draining: status_of.draining,
    };
    (status, shown(&Login { base, message })).into_response()
}

pub(super) async fn form(State(shared): State<Shared>) -> Response {
    page(&shared, StatusCode::OK, "")
}

/// Lets in who knows the admin password. The limiter is asked when everything is there: a client that begins many requests and ends them together
/// is one that guesses as often.
pub(super) async fn login(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !is_ours(&headers) {
        return page(
            &shared,
            StatusCode::FORBIDDEN,
            "This form was sent by another site.",
        );
    }
    let given = match Fields::read(request).await {
        Ok(fields) => fields.value("password").to_owned(),
        Err(_) => String::new(),
    };
    let Some(password) = shared.rooms.admin_password() else {
        let message = "The console is closed: no admin password is set (SMTP_ADMIN_PASSWORD).";
        return page(&shared, StatusCode::FORBIDDEN, message);
    };
    let now = Instant::now();
    let right = !password.is_empty() && same(given.as_bytes(), password.as_bytes());
    if shared.limiter.tell(peer, right, now).is_err() {
        let message = "Too many wrong passwords from your address. Wait a minute.";
        return page(&shared, StatusCode::TOO_MANY_REQUESTS, message);
    }
    if !right {
        shared.observer.emit(Event::AdminDenied {
            peer: &peer.to_string(),
            path: "/ui/login",
        });
        return page(
            &shared,
            StatusCode::UNAUTHORIZED,
            "That is not the admin password.",
        );
    }
    shared.limiter.let_in(peer, now);
    let Some(secret) = shared.sessions.begin(&password, now) else {
        return page(
            &shared,
            StatusCode::INTERNAL_SERVER_ERROR,
            "The system has no randomness.",
        );
    };
    let secure = match headers.get("x-forwarded-proto") {
        Some(proto) if proto == "https" => "; Secure",
        _ => "",
    };
    // A header of letters, digits and signs.
    let value = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}");
    with_cookie(Redirect::to("/").into_response(), &value)
}

pub(super) async fn logout(
    State(shared): State<Shared>,
    user: User,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if Fields::checked(request, &user).await.is_ok()
        && let Some(secret) = cookie(&headers)
    {
        shared.sessions.end(&secret);
    }
    let gone = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    with_cookie(Redirect::to("/ui/login").into_response(), &gone)
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_and_are_few() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let secret = sessions.begin("word", now).unwrap();
        let csrf = sessions.find(&secret, "word", now).unwrap();
        assert_eq!(sessions.find(&secret, "word", now + IDLE / 2), Some(csrf.clone()));
        assert_eq!(
            sessions.find(&secret, "word", now + IDLE),
            Some(csrf),
            "it was used meanwhile"
        );
        assert_eq!(sessions.find(&secret, "word", now + IDLE * 3), None);
        assert_eq!(sessions.find("guess", "word", now), None);
        let secret = sessions.begin("word", now).unwrap();
        assert_eq!(sessions.find(&secret, "another word", now), None);
        assert_eq!(sessions.find(&secret, "word", now), None, "it has ended");
        let secrets: Vec<_> = (0..=MOST).map(|_| sessions.begin("word", now).unwrap()).collect();
        assert_eq!(sessions.lock().len(), MOST);
        sessions.end(secrets.last().unwrap());
        assert_eq!(sessions.lock().len(), MOST - 1);
        assert_eq!(sessions.find(secrets.last().unwrap(), "word", now), None);
    }

    #[test]
    fn another_sites_page_changes_nothing() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            pairs.collect()
        };
        assert!(is_ours(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(is_ours(&headers(&[
            ("origin", "http://h:8080"),
            ("host", "h:8080")
        ])));
        assert!(is_ours(&headers(&[("host", "h")])));
        for others in [
            &[("sec-fetch-site", "cross-site")][..],
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "http://h"),
                ("host", "h"),
            ],
            &[("origin", "http://evil"), ("host", "h")],
            &[("origin", "null"), ("host", "h")],
            &[("origin", "http://h")],
        ] {
            assert!(!is_ours(&headers(others)), "{others:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static("a=b; smtp_console=xyz; c=d"),
        );
        assert_eq!(cookie(&headers).as_deref(), Some("xyz"));
        headers.insert(header::COOKIE, HeaderValue::from_static("xsmtp_console=xyz"));
        assert_eq!(cookie(&headers), None);
    }
}
