//! Who may use the API: `admin` with the admin password, as Basic or as a bearer token.
//!
//! Promises: comparing takes the same time whatever is wrong; a client that failed
//! [`MAX_FAILURES`] times within [`WINDOW`] gets 429 until the window ends, right password or not;
//! memory for this is bounded; each failure is an event.

use crate::connection::Peer;
use crate::error::ApiError;
use crate::router::Shared;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smtp_observe::Event;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Failures that a client may have in a window.
const MAX_FAILURES: u32 = 10;
/// How long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Clients remembered; further ones share one count.
const MAX_CLIENTS: usize = 4096;
/// Longest password that can be right.
const MAX_PASSWORD: usize = 1024;

/// Lets a request with the right password pass.
pub(crate) async fn guard(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(password) = shared.rooms.admin_password() else {
        let message = "the API is closed: no admin password is set (SMTP_ADMIN_PASSWORD)";
        return ApiError::new(403, "admin_disabled", message).into_response();
    };
    if let Some(wait) = shared.limiter.blocked(peer, Instant::now()) {
        return too_many(wait);
    }
    match request.headers().get(header::AUTHORIZATION) {
        None => unauthorized("this needs the admin password"),
        Some(value) if is_right(value, &password) => next.run(request).await,
        Some(_) => {
            shared.limiter.failed(peer, Instant::now());
            // Below its prefix the router has taken it off.
            let path = &format!("/api/v1{}", request.uri().path());
            shared.observer.emit(Event::AdminDenied {
                peer: &peer.to_string(),
                path,
            });
            unauthorized("wrong user or password")
        }
    }
}

fn unauthorized(message: &'static str) -> Response {
    let mut response = ApiError::new(401, "unauthorized", message).into_response();
    let challenge = HeaderValue::from_static("Basic realm=\"smtp-server\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn too_many(wait: Duration) -> Response {
    let message = "too many wrong passwords from this address; wait a minute";
    let mut response = ApiError::new(429, "too_many_failures", message).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    response
}

/// Whether an `Authorization` header holds the password.
fn is_right(value: &HeaderValue, password: &str) -> bool {
    let value = value.as_bytes();
    let Some(space) = value.iter().position(|&b| b == b' ') else {
        return false;
    };
    let (scheme, rest) = value.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return same(rest, password.as_bytes());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return false;
    }
    let expected = [b"admin:", password.as_bytes()].concat();
    !password.is_empty() && STANDARD.decode(rest).is_ok_and(|given| same(&given, &expected))
}

/// Compares without telling by its time where, or whether in length, the two differ.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let padded = |text: &[u8]| {
        let mut field = [0u8; MAX_PASSWORD];
        field.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        field
    };
    let fits = given.len() <= MAX_PASSWORD && !expected.is_empty();
    let equal = padded(given).ct_eq(&padded(expected)) & given.len().ct_eq(&expected.len());
    fits && bool::from(equal)
}

/// Counts failures by client.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    clients: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Failures {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }
}

impl Limiter {
    /// How long `client` is not listened to any more, if it is not.
    fn blocked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = counted_as(client);
        let failures = clients.get(&key).or_else(|| match clients.len() > MAX_CLIENTS {
            true => clients.get(&SHARED),
            false => None,
        })?;
        let left = failures.left(now);
        (failures.count >= MAX_FAILURES && !left.is_zero()).then_some(left)
    }

    /// Counts a failure.
    fn failed(&self, client: IpAddr, now: Instant) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS {
            clients.retain(|_, failures| !failures.left(now).is_zero());
        }
        let mut key = counted_as(client);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&key) {
            key = SHARED;
        }
        let failures = clients.entry(key).or_insert(Failures { since: now, count: 0 });
        if failures.left(now).is_zero() {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count += 1;
    }
}

/// Stands for all clients that there is no room for: a network that no client is in (not `::`, which is that of `::1`).
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0));

/// An IPv6 client owns a /64.
pub(crate) fn counted_as(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn right(value: &str, password: &str) -> bool {
        is_right(&HeaderValue::from_str(value).unwrap(), password)
    }

    #[test]
    fn only_the_password_passes() {
        assert!(right("Bearer s3cret", "s3cret"));
        assert!(right("bearer  s3cret ", "s3cret"));
        assert!(right(
            &format!("Basic {}", STANDARD.encode("admin:s3:cret")),
            "s3:cret"
        ));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cret\0",
            "Basic s3cret",
            "Digest s3cret",
        ] {
            if let Ok(value) = HeaderValue::from_str(wrong) {
                assert!(!is_right(&value, "s3cret"), "{wrong:?}");
            }
        }
        for pair in ["root:s3cret", "admin:", "admin", "admin:s3cret\0", ":s3cret"] {
            assert!(
                !right(&format!("Basic {}", STANDARD.encode(pair)), "s3cret"),
                "{pair}"
            );
        }
        for value in [
            "Bearer ".to_owned(),
            format!("Basic {}", STANDARD.encode("admin:")),
        ] {
            assert!(!right(&value, ""), "an empty password opens nothing");
        }
        assert!(!same(&[b'a'; MAX_PASSWORD + 1], &[b'a'; MAX_PASSWORD + 1]));
    }

    #[test]
    fn ten_failures_block_for_a_minute() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..MAX_FAILURES {
            assert_eq!(limiter.blocked(client, start), None);
            limiter.failed(client, start);
        }
        assert_eq!(limiter.blocked(client, start), Some(WINDOW));
        assert_eq!(
            limiter.blocked(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), start),
            None
        );
        assert_eq!(limiter.blocked(client, start + WINDOW), None);
        limiter.failed(client, start + WINDOW);
        assert_eq!(limiter.blocked(client, start + WINDOW), None);
    }

    #[test]
    fn memory_for_failures_is_bounded() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let client = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        for n in 0..3 * MAX_CLIENTS as u32 {
            limiter.failed(client(n), start);
        }
        assert_eq!(limiter.clients.lock().unwrap().len(), MAX_CLIENTS + 1);
        assert!(
            limiter.blocked(client(u32::MAX >> 9), start).is_some(),
            "newcomers share a count"
        );
        assert_eq!(limiter.blocked(client(1), start), None);
        assert_eq!(counted_as(SHARED), SHARED);
        assert_ne!(counted_as(Ipv6Addr::LOCALHOST.into()), SHARED);
        limiter.failed(client(1), start + WINDOW);
        assert_eq!(limiter.clients.lock().unwrap().len(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for n in 0..u16::try_from(MAX_FAILURES).unwrap() {
            limiter.failed(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n).into(), start);
        }
        let blocked =
            |network| limiter.blocked(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 9, 9, 9, 9).into(), start);
        assert!(blocked(1).is_some());
        assert!(blocked(2).is_none());
    }
}
