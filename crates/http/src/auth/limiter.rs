//! Failures to prove who one is, counted by client: too many, and it is not listened to for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures that a client may have in a window.
const MAX_FAILURES: u32 = 10;
/// How long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Clients remembered; further ones share one count.
const MAX_CLIENTS: usize = 4096;

/// Counts failures by client.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<Clients>);

#[derive(Debug, Default)]
struct Clients(HashMap<IpAddr, Failures>);

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
    pub(crate) fn blocked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        self.lock().blocked(client, now)
    }

    /// Whether `client` may be told whether what it showed was right; a failure is counted. Asked and counted in one, when the answer is known:
    /// of guesses that come together as many are answered as of those that come one after another.
    ///
    /// # Errors
    /// How long it is not listened to any more.
    pub(crate) fn tell(&self, client: IpAddr, right: bool, now: Instant) -> Result<(), Duration> {
        let mut clients = self.lock();
        match clients.blocked(client, now) {
            Some(left) => Err(left),
            None if right => Ok(()),
            None => {
                clients.failed(client, now);
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    fn blocked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let key = counted_as(client);
        let failures = self.0.get(&key).or_else(|| match self.0.len() > MAX_CLIENTS {
            true => self.0.get(&SHARED),
            false => None,
        })?;
        let left = failures.left(now);
        (failures.count >= MAX_FAILURES && !left.is_zero()).then_some(left)
    }

    fn failed(&mut self, client: IpAddr, now: Instant) {
        let clients = &mut self.0;
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

    #[test]
    fn ten_failures_block_for_a_minute() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..MAX_FAILURES {
            assert_eq!(limiter.blocked(client, start), None);
            assert_eq!(limiter.tell(client, true, start), Ok(()));
            assert_eq!(limiter.tell(client, false, start), Ok(()));
        }
        assert_eq!(limiter.blocked(client, start), Some(WINDOW));
        for right in [false, true] {
            assert_eq!(limiter.tell(client, right, start), Err(WINDOW), "neither is told");
        }
        assert_eq!(
            limiter.blocked(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), start),
            None
        );
        assert_eq!(limiter.blocked(client, start + WINDOW), None);
        assert_eq!(limiter.tell(client, false, start + WINDOW), Ok(()));
        assert_eq!(limiter.blocked(client, start + WINDOW), None);
    }

    #[test]
    fn memory_for_failures_is_bounded() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let client = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        for n in 0..3 * MAX_CLIENTS as u32 {
            // Those who share a count are not told any more at last.
            let _ = limiter.tell(client(n), false, start);
        }
        assert_eq!(limiter.lock().0.len(), MAX_CLIENTS + 1);
        assert!(
            limiter.blocked(client(u32::MAX >> 9), start).is_some(),
            "newcomers share a count"
        );
        assert_eq!(limiter.blocked(client(1), start), None);
        assert_eq!(counted_as(SHARED), SHARED);
        assert_ne!(counted_as(Ipv6Addr::LOCALHOST.into()), SHARED);
        assert_eq!(limiter.tell(client(1), false, start + WINDOW), Ok(()));
        assert_eq!(limiter.lock().0.len(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for n in 0..u16::try_from(MAX_FAILURES).unwrap() {
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n).into();
            assert_eq!(limiter.tell(client, false, start), Ok(()));
        }
        let blocked =
            |network| limiter.blocked(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 9, 9, 9, 9).into(), start);
        assert!(blocked(1).is_some());
        assert!(blocked(2).is_none());
    }
}
