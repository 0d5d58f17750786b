//! A token bucket for each client address, and for each account.
//!
//! Promises: memory is bounded whatever addresses clients have; a client cannot gain by having many
//! addresses of one IPv6 /64; no work grows with the number of clients by more than one shard.
//!
//! A bucket is kept as one number, the moment at which it will be full again (GCRA), so that a bucket which is full
//! needs no entry at all. The caller gives the time, which makes this testable.

use ipnet::IpNet;
use parking_lot::Mutex;
use smtp_config::RateLimiting;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

/// A power of two, so that a hash picks one by its lowest bits.
const SHARDS: usize = 64;
/// Addresses remembered by all shards together.
const CAPACITY: usize = 100_000;

/// Buckets of all clients.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    hasher: RandomState,
    /// For each client the time at which its bucket is full again.
    shards: Vec<Mutex<HashMap<u128, Duration>>>,
    capacity_per_shard: usize,
}

impl RateLimiter {
    pub(crate) fn new() -> Self {
        RateLimiter::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        RateLimiter {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity_per_shard: (capacity / SHARDS).max(1),
        }
    }

    /// Takes a token of `account`, or else of `client`. `now` is measured from any fixed moment. `Err` is how long to wait for a token.
    /// `share` is what this server has of what an account has with all servers together.
    pub(crate) fn take(
        &self,
        settings: &RateLimiting,
        client: IpAddr,
        account: Option<&str>,
        share: impl Fn(u32) -> u32,
        now: Duration,
    ) -> Result<(), Duration> {
        if !settings.enabled || is_within(&settings.exempt, client) {
            return Ok(());
        }
        let part = |of_all: u32| account.map_or(of_all, |_| share(of_all)).max(1);
        let refill = Duration::from_secs(60) / part(settings.requests_per_minute);
        let burst = refill * part(settings.burst_size);
        let key = account.map_or_else(|| key(client), |name| self.key_of_account(name));
        let mut shard = self.shard(key).lock();
        let full_at = shard.get(&key).copied().unwrap_or(now).max(now) + refill;
        if let Some(wait) = full_at.checked_sub(now + burst).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if shard.len() >= self.capacity_per_shard && !shard.contains_key(&key) {
            make_room(&mut shard, now, self.capacity_per_shard);
        }
        shard.insert(key, full_at);
        Ok(())
    }

    /// No address has such a key: see [`key`].
    fn key_of_account(&self, name: &str) -> u128 {
        const MARK: u64 = 1 << 62;
        u128::from(self.hasher.hash_one(name) & !(1 << 63) | MARK)
    }

    fn shard(&self, key: u128) -> &Mutex<HashMap<u128, Duration>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        &self.shards[index]
    }
}

/// Forgets full buckets, and when there are none any one: under an attack from more addresses than
/// can be remembered, some clients get a fresh bucket rather than none.
fn make_room(shard: &mut HashMap<u128, Duration>, now: Duration, capacity: usize) {
    shard.retain(|_, full_at| *full_at > now);
    if shard.len() >= capacity {
        let any = shard.keys().next().copied();
        any.map(|key| shard.remove(&key));
    }
}

/// Whether one of `networks` holds `address`, which is never an IPv4-mapped one.
pub(crate) fn is_within(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The client that limits of clients are about: `None` when they are off, or it is exempt from them.
pub(crate) fn limited(settings: &RateLimiting, client: IpAddr) -> Option<u128> {
    (settings.enabled && !is_within(&settings.exempt, client)).then(|| key(client))
}

/// What counts as one client: an IPv4 address, or an IPv6 /64, which is what one site gets at least.
pub(crate) fn key(client: IpAddr) -> u128 {
    const HOST_BITS: u128 = u64::MAX as u128;
    match client.to_canonical() {
        // No /64 is below 2^64, so the two kinds cannot meet.
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) & !HOST_BITS | (1 << 63),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One server has all of it.
    fn all(amount: u32) -> u32 {
        amount
    }

    fn settings(per_minute: u32, burst: u32) -> RateLimiting {
        RateLimiting {
            enabled: true,
            requests_per_minute: per_minute,
            burst_size: burst,
            exempt: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn burst_then_one_token_per_interval() {
        let limiter = RateLimiter::new();
        let settings = settings(60, 3);
        for _ in 0..3 {
            assert_eq!(limiter.take(&settings, ip("192.0.2.1"), None, all, START), Ok(()));
        }
        assert_eq!(
            limiter.take(&settings, ip("192.0.2.1"), None, all, START),
            Err(Duration::from_secs(1))
        );
        let half = START + Duration::from_millis(500);
        assert_eq!(
            limiter.take(&settings, ip("192.0.2.1"), None, all, half),
            Err(Duration::from_millis(500))
        );
        let next = START + Duration::from_secs(1);
        assert_eq!(limiter.take(&settings, ip("192.0.2.1"), None, all, next), Ok(()));
        assert_eq!(
            limiter.take(&settings, ip("192.0.2.1"), None, all, next),
            Err(Duration::from_secs(1))
        );
        assert_eq!(
            limiter.take(&settings, ip("192.0.2.2"), None, all, next),
            Ok(()),
            "another client"
        );
    }

    #[test]
    fn a_refusal_takes_no_token() {
        let limiter = RateLimiter::new();
        let settings = settings(60, 1);
        assert!(limiter.take(&settings, ip("192.0.2.1"), None, all, START).is_ok());
        for _ in 0..100 {
            assert!(
                limiter
                    .take(&settings, ip("192.0.2.1"), None, all, START)
                    .is_err()
            );
        }
        assert!(
            limiter
                .take(
                    &settings,
                    ip("192.0.2.1"),
                    None,
                    all,
                    START + Duration::from_secs(1)
                )
                .is_ok()
        );
    }

    #[test]
    fn a_bucket_never_holds_more_than_the_burst() {
        let limiter = RateLimiter::new();
        let settings = settings(60, 2);
        assert!(limiter.take(&settings, ip("192.0.2.1"), None, all, START).is_ok());
        let later = START + Duration::from_secs(3600);
        assert!(limiter.take(&settings, ip("192.0.2.1"), None, all, later).is_ok());
        assert!(limiter.take(&settings, ip("192.0.2.1"), None, all, later).is_ok());
        assert!(
            limiter
                .take(&settings, ip("192.0.2.1"), None, all, later)
                .is_err()
        );
    }

    #[test]
    fn clients_are_addresses_of_ipv4_and_networks_of_ipv6() {
        let limiter = RateLimiter::new();
        let settings = settings(60, 1);
        assert!(
            limiter
                .take(&settings, ip("2001:db8::1"), None, all, START)
                .is_ok()
        );
        assert!(
            limiter
                .take(&settings, ip("2001:db8::2"), None, all, START)
                .is_err(),
            "same /64"
        );
        assert!(
            limiter
                .take(&settings, ip("2001:db8:0:1::1"), None, all, START)
                .is_ok(),
            "another /64"
        );
        assert!(limiter.take(&settings, ip("192.0.2.1"), None, all, START).is_ok());
        assert!(
            limiter
                .take(&settings, ip("::ffff:192.0.2.1"), None, all, START)
                .is_err(),
            "mapped is the same client"
        );
        assert_ne!(key(ip("::2")), key(ip("0.0.0.2")));
    }

    #[test]
    fn an_account_has_one_bucket_wherever_it_comes_from() {
        let limiter = RateLimiter::new();
        let settings = settings(60, 1);
        let take = |client, account| limiter.take(&settings, ip(client), account, all, START);
        assert!(take("192.0.2.1", Some("ann")).is_ok());
        assert!(take("192.0.2.2", Some("ann")).is_err());
        assert!(take("192.0.2.2", Some("bob")).is_ok());
        assert!(take("192.0.2.1", None).is_ok(), "the address has its own");
        assert!(take("127.0.0.1", Some("ann")).is_ok(), "exempt");
    }

    #[test]
    fn exempt_networks_and_a_disabled_limit_take_nothing() {
        let limiter = RateLimiter::new();
        let mut settings = settings(1, 1);
        for _ in 0..100 {
            assert!(limiter.take(&settings, ip("127.0.0.1"), None, all, START).is_ok());
            assert!(limiter.take(&settings, ip("::1"), None, all, START).is_ok());
        }
        settings.enabled = false;
        for _ in 0..100 {
            assert!(limiter.take(&settings, ip("192.0.2.1"), None, all, START).is_ok());
        }
        assert!(limiter.shards.iter().all(|shard| shard.lock().is_empty()));
    }

    #[test]
    fn memory_is_bounded_and_full_buckets_go_first() {
        let limiter = RateLimiter::with_capacity(SHARDS * 4);
        let settings = settings(60, 5);
        for n in 0..10_000u32 {
            assert!(
                limiter
                    .take(&settings, IpAddr::V4(n.into()), None, all, START)
                    .is_ok()
            );
        }
        let entries: usize = limiter.shards.iter().map(|shard| shard.lock().len()).sum();
        assert_eq!(entries, SHARDS * 4);
        let later = START + Duration::from_secs(60);
        for n in 0..10_000u32 {
            assert!(
                limiter
                    .take(&settings, IpAddr::V4((n + 20_000).into()), None, all, later)
                    .is_ok()
            );
        }
        let stale = limiter
            .shards
            .iter()
            .any(|shard| shard.lock().values().any(|full_at| *full_at <= later));
        assert!(!stale);
    }
}
