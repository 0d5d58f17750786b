//! Failures to prove who one is, counted by client: too many, and it is not listened to for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures that a client may have in a window.
const MAX_FAILURES: u32 = 10;
/// How long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Clients remembered; further ones share one count.
const MAX_CLIENTS: usize = 4096;
/// Clients remembered that were let in: of those that share a count nobody keeps them out. Whoever was let in last.
const MAX_KNOWN: usize = 256;

/// Counts failures by client.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<Clients>);

#[derive(Debug, Default)]
struct Clients {
    failures: HashMap<IpAddr, Failures>,
    /// When they were let in last.
    known: HashMap<IpAddr, Instant>,
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
    pub(crate) fn blocked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        self.lock().blocked(counted_as(client), now)
    }

    /// Whether `client` may be told whether what it showed was right; a failure is counted. Asked and counted in one, when the answer is known:
    /// of guesses that come together as many are answered as of those that come one after another.
    ///
    /// # Errors
    /// How long it is not listened to any more.
    pub(crate) fn tell(&self, client: IpAddr, right: bool, now: Instant) -> Result<(), Duration> {
        let (mut clients, client) = (self.lock(), counted_as(client));
        match clients.blocked(client, now) {
            Some(left) => Err(left),
            None if right => Ok(()),
            None => {
                clients.failed(client, now);
                Ok(())
            }
        }
    }

    /// Remembers `client`, which was let in.
    pub(crate) fn let_in(&self, client: IpAddr, now: Instant) {
        self.lock().let_in(counted_as(client), now);
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients are networks here.
impl Clients {
    fn blocked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let shares = || self.failures.len() > MAX_CLIENTS && !self.has_its_own(client);
        let failures = match self.failures.get(&client) {
            None if shares() => self.failures.get(&SHARED)?,
            own => own?,
        };
        let left = failures.left(now);
        (failures.count >= MAX_FAILURES && !left.is_zero()).then_some(left)
    }

    fn failed(&mut self, client: IpAddr, now: Instant) {
        if self.failures.len() >= MAX_CLIENTS {
            self.failures.retain(|_, failures| !failures.left(now).is_zero());
        }
        let known = self.failures.contains_key(&client) || self.has_its_own(client);
        let key = match self.failures.len() >= MAX_CLIENTS && !known {
            true => SHARED,
            false => client,
        };
        let failures = self
            .failures
            .entry(key)
            .or_insert(Failures { since: now, count: 0 });
        if failures.left(now).is_zero() {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count += 1;
    }

    /// Whether its failures are counted by themselves however many others fail: thousands of strangers, who need not be more than one with an IPv6
    /// network, are not to keep out an operator. Those on this machine come through `kubectl exec` and `kubectl port-forward`.
    fn has_its_own(&self, client: IpAddr) -> bool {
        HERE.contains(&client) || self.known.contains_key(&client)
    }

    fn let_in(&mut self, client: IpAddr, now: Instant) {
        self.known.insert(client, now);
        if self.known.len() > MAX_KNOWN {
            let oldest = self.known.iter().min_by_key(|(_, at)| **at);
            let oldest = oldest.map(|(client, _)| *client);
            oldest.map(|client| self.known.remove(&client));
        }
    }
}

/// Stands for all clients that there is no room for: a network that no client is in (not `::`, which is that of `::1`).
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0));
/// This machine, as it is counted.
const HERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

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
        assert_eq!(limiter.lock().failures.len(), MAX_CLIENTS + 1);
        assert!(
            limiter.blocked(client(u32::MAX >> 9), start).is_some(),
            "newcomers share a count"
        );
        assert_eq!(limiter.blocked(client(1), start), None);
        assert_eq!(counted_as(SHARED), SHARED);
        assert_ne!(counted_as(Ipv6Addr::LOCALHOST.into()), SHARED);
        assert_eq!(limiter.tell(client(1), false, start + WINDOW), Ok(()));
        assert_eq!(limiter.lock().failures.len(), 1);
    }

    #[test]
    fn strangers_however_many_keep_out_nobody_who_was_let_in() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let client = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
        let [stranger, operator, forgotten] = [1, 2, 3].map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)));
        limiter.let_in(forgotten, start);
        for n in 0..MAX_KNOWN as u32 - 1 {
            limiter.let_in(client(1 << 20 | n), start + Duration::from_secs(1));
        }
        limiter.let_in(operator, start + Duration::from_secs(1));
        assert_eq!(limiter.lock().known.len(), MAX_KNOWN);
        for n in 0..3 * MAX_CLIENTS as u32 {
            let _ = limiter.tell(client(n), false, start);
        }
        for kept_out in [stranger, forgotten] {
            assert!(limiter.blocked(kept_out, start).is_some(), "{kept_out}");
        }
        let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for own in [operator].into_iter().chain(here) {
            assert_eq!(limiter.tell(own, true, start), Ok(()), "{own}");
            // They guess no more than others.
            for _ in 0..MAX_FAILURES {
                assert_eq!(limiter.tell(own, false, start), Ok(()), "{own}");
            }
            assert_eq!(limiter.tell(own, true, start), Err(WINDOW), "{own}");
        }
        assert_eq!(limiter.lock().failures.len(), MAX_CLIENTS + 1 + 3);
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
