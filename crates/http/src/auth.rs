//! Who asks, and what that may do: `admin` with the admin password (Basic, or as a bearer token), or a token with its scope.
//!
//! Promises: comparing takes the same time whatever is wrong; a client that failed ten times within a minute
//! gets 429 until the minute ends, right credentials or not, also when its guesses come all at once, and whatever the store does; memory for
//! this is bounded, and however many clients fail, nobody is kept out by that who comes from this machine or from where somebody was let in; each
//! failure is an event.

mod limiter;
mod tokens;

pub(crate) use limiter::{Limiter, counted_as};
pub(crate) use tokens::{Tokens, generate, hash, is_hidden};

use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use smtp_config::Scope;
use smtp_observe::Event;
use smtp_queue::StoreError;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokens::Found;

/// Longest password that can be right.
const MAX_PASSWORD: usize = 1024;
/// Who has the admin password.
pub(crate) const ADMIN: &str = "admin";

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `admin`, or the name of a token.
    pub(crate) who: Arc<str>,
    pub(crate) scope: Scope,
    pub(crate) peer: IpAddr,
}

/// Why somebody is not let in.
enum Denied {
    /// Nothing was shown.
    Nothing,
    /// It is not right.
    Wrong,
    /// It was right until then.
    Expired(String, Timestamp),
    /// Whether it is right cannot be said now.
    Unknown(Option<StoreError>),
}

/// Lets a request pass that proves who sends it.
pub(crate) async fn authenticate(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(password) = shared.rooms.admin_password() else {
        let message = "the API is closed: no admin password is set (SMTP_ADMIN_PASSWORD)";
        return ApiError::new(403, "admin_disabled", message).into_response();
    };
    if let Some(wait) = shared.limiter.blocked(peer, Instant::now()) {
        return too_many(wait);
    }
    let found = identify(&shared, request.headers(), &password).await;
    // What is neither right nor wrong tells a guesser nothing.
    let right = match &found {
        Ok(_) | Err(Denied::Expired(..)) => Some(true),
        Err(Denied::Wrong) => Some(false),
        Err(Denied::Nothing | Denied::Unknown(_)) => None,
    };
    // It may have failed too often while it was looked up.
    if let Some(right) = right
        && let Err(wait) = shared.limiter.tell(peer, right, Instant::now())
    {
        return too_many(wait);
    }
    match found {
        Ok((who, scope)) => {
            shared.limiter.let_in(peer, Instant::now());
            let who = who.into();
            request.extensions_mut().insert(Caller { who, scope, peer });
            next.run(request).await
        }
        Err(denied) => deny(&shared, peer, request.uri().path(), denied),
    }
}

/// The ways in. A browser's session would be the third: its cookie comes with whatever page sent the request, so a change
/// that is let in by it needs a look at `Origin` besides.
async fn identify(shared: &Shared, headers: &HeaderMap, password: &str) -> Result<(String, Scope), Denied> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Denied::Nothing)?;
    let (scheme, rest) = scheme(value).ok_or(Denied::Wrong)?;
    let admin = || Ok((ADMIN.to_owned(), Scope::Admin));
    if scheme.eq_ignore_ascii_case(b"basic") {
        let expected = format!("{ADMIN}:{password}");
        let given = STANDARD.decode(rest).map_err(|_| Denied::Wrong)?;
        return match !password.is_empty() && same(&given, expected.as_bytes()) {
            true => admin(),
            false => Err(Denied::Wrong),
        };
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Denied::Wrong);
    }
    if same(rest, password.as_bytes()) {
        return admin();
    }
    match shared.tokens.find(&*shared.rooms, rest).await {
        Ok(Found::Good(name, scope)) => Ok((name, scope)),
        Ok(Found::Expired(name, at)) => Err(Denied::Expired(name, at)),
        Ok(Found::Unknown) => Err(Denied::Wrong),
        Err(error) => Err(Denied::Unknown(error)),
    }
}

fn scheme(value: &HeaderValue) -> Option<(&[u8], &[u8])> {
    let value = value.as_bytes();
    let space = value.iter().position(|&b| b == b' ')?;
    let (scheme, rest) = value.split_at(space);
    Some((scheme, rest.trim_ascii()))
}

fn deny(shared: &Shared, peer: IpAddr, path: &str, denied: Denied) -> Response {
    let tell = || {
        // Below its prefix the router has taken it off.
        let path = &format!("/api/v1{path}");
        let peer = &peer.to_string();
        shared.observer.emit(Event::AdminDenied { peer, path });
    };
    match denied {
        Denied::Nothing => unauthorized("this needs the admin password or a token"),
        Denied::Wrong => {
            tell();
            unauthorized("wrong user, password or token")
        }
        // Nobody guessed: whoever forgot to renew a token must not lock out others behind the same address.
        Denied::Expired(name, at) => {
            tell();
            unauthorized(format!("the token {name} expired at {at}"))
        }
        Denied::Unknown(Some(error)) => ApiError::from(error).into_response(),
        Denied::Unknown(None) => ApiError::starting().into_response(),
    }
}

fn unauthorized(message: impl Into<String>) -> Response {
    let mut response = ApiError::new(401, "unauthorized", message.into()).into_response();
    for challenge in [
        "Basic realm=\"smtp-server\", charset=\"UTF-8\"",
        "Bearer realm=\"smtp-server\"",
    ] {
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn too_many(wait: Duration) -> Response {
    let message = "too many wrong credentials from this address; wait a minute";
    let mut response = ApiError::new(429, "too_many_failures", message).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    response
}

/// Lets a request pass whose sender has the scope that its route needs.
pub(crate) async fn permit(
    State(needed): State<Scope>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    if caller.scope >= needed {
        return next.run(request).await;
    }
    let needed = needed.name();
    let message = format!(
        "this needs the scope {needed}; the token {} has {}",
        caller.who,
        caller.scope.name()
    );
    let mut response = ApiError::new(403, "scope", message).into_response();
    // RFC 6750 section 3.1.
    let challenge = format!("Bearer realm=\"smtp-server\", error=\"insufficient_scope\", scope=\"{needed}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| ApiError::new(401, "unauthorized", "nobody said who asks"))
    }
}

/// Compares without telling by its time where, or whether in length, the two differ.
pub(crate) fn same(given: &[u8], expected: &[u8]) -> bool {
    let padded = |text: &[u8]| {
        let mut field = [0u8; MAX_PASSWORD];
        field.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        field
    };
    let fits = given.len() <= MAX_PASSWORD && !expected.is_empty();
    let equal = padded(given).ct_eq(&padded(expected)) & given.len().ct_eq(&expected.len());
    fits && bool::from(equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_equal_or_not() {
        assert!(same(b"s3cret", b"s3cret"));
        for wrong in [&b""[..], b"s3cre", b"s3cret\0", b"S3cret", b"s3cretx"] {
            assert!(!same(wrong, b"s3cret"), "{wrong:?}");
        }
        assert!(!same(b"", b""), "an empty password opens nothing");
        assert!(!same(&[b'a'; MAX_PASSWORD + 1], &[b'a'; MAX_PASSWORD + 1]));
    }

    #[test]
    fn a_scheme_is_a_word_before_a_blank() {
        let of = |text| scheme(&HeaderValue::from_static(text)).map(|(a, b)| (a.to_vec(), b.to_vec()));
        assert_eq!(of("Bearer  x "), Some((b"Bearer".to_vec(), b"x".to_vec())));
        assert_eq!(of("Bearer"), None);
        assert_eq!(of(""), None);
    }
}
