//! How often something failed lately, and what is locked for it: counters that forget, in bounded memory.
//!
//! Promises: a lock ends by itself, and attempts meanwhile do not prolong it; memory is bounded whatever clients invent, and
//! what was counted most is forgotten last: who wants to wipe one counter has to fail more often with thousands of others.
//!
//! A counter is one moment, at which everything is forgotten: a failure puts it off by a step, and it comes nearer by
//! itself. The caller gives the time, which makes this testable.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

/// A power of two, so that a key picks one by its lowest bits.
const SHARDS: usize = 64;
/// Counters kept by all shards together: a few megabytes.
const CAPACITY: usize = 65_536;

/// Counters of failures.
#[derive(Debug)]
pub(super) struct Counts {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<u64, Count>>>,
    capacity_per_shard: usize,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    /// When there is no failure left.
    forgotten_at: Duration,
    locked_until: Duration,
}

/// How many failures lock, and for how long. So many are forgotten in that time, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) failures: u32,
    pub(super) lock_for: Duration,
}

impl Limit {
    /// How long one failure is remembered.
    fn step(self) -> Duration {
        (self.lock_for / self.failures.max(1)).max(Duration::from_nanos(1))
    }
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Failures that are remembered, this one included.
    pub(super) failures: u32,
    /// This one was the one too many.
    pub(super) locked_now: bool,
}

impl Counts {
    pub(super) fn new() -> Self {
        Counts::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Counts {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity_per_shard: (capacity / SHARDS).max(1),
        }
    }

    /// The counter of something. Its secret seed lets nobody choose two things that share one.
    pub(super) fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// Whether it is locked. `now` is measured from any fixed moment.
    pub(super) fn is_locked(&self, key: u64, now: Duration) -> bool {
        self.shard(key)
            .lock()
            .get(&key)
            .is_some_and(|count| count.locked_until > now)
    }

    /// Counts a failure; while it is locked, nothing.
    pub(super) fn failed(&self, key: u64, limit: Limit, now: Duration) -> Counted {
        let mut shard = self.shard(key).lock();
        if shard.len() >= self.capacity_per_shard && !shard.contains_key(&key) {
            make_room(&mut shard, now, self.capacity_per_shard);
        }
        let count = shard.entry(key).or_insert(Count {
            forgotten_at: now,
            locked_until: Duration::ZERO,
        });
        if count.locked_until > now {
            return Counted {
                failures: limit.failures,
                locked_now: false,
            };
        }
        let step = limit.step();
        count.forgotten_at = count.forgotten_at.max(now) + step;
        let owed = (count.forgotten_at - now).as_nanos();
        let failures = u32::try_from(owed.div_ceil(step.as_nanos())).unwrap_or(u32::MAX);
        let locked_now = failures >= limit.failures;
        if locked_now {
            count.locked_until = now + limit.lock_for;
        }
        Counted { failures, locked_now }
    }

    /// Forgets its failures. A lock stays.
    pub(super) fn forgive(&self, key: u64, now: Duration) {
        let mut shard = self.shard(key).lock();
        if shard.get(&key).is_some_and(|count| count.locked_until <= now) {
            shard.remove(&key);
        }
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, Count>> {
        &self.shards[key as usize % SHARDS]
    }
}

/// Forgets what is due, and if nothing is, the counter that would be forgotten first.
fn make_room(shard: &mut HashMap<u64, Count>, now: Duration, capacity: usize) {
    shard.retain(|_, count| count.forgotten_at.max(count.locked_until) > now);
    if shard.len() >= capacity {
        let first = shard
            .iter()
            .min_by_key(|(_, count)| count.forgotten_at.max(count.locked_until));
        let first = first.map(|(key, _)| *key);
        first.map(|key| shard.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);
    const LIMIT: Limit = Limit {
        failures: 3,
        lock_for: Duration::from_secs(90),
    };

    fn after(seconds: u64) -> Duration {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_of_the_failures_locks_for_its_time() {
        let counts = Counts::new();
        let key = counts.key("ann");
        for failures in 1..=3 {
            assert!(!counts.is_locked(key, START));
            let locked_now = failures == 3;
            assert_eq!(counts.failed(key, LIMIT, START), Counted { failures, locked_now });
        }
        assert!(counts.is_locked(key, after(89)));
        assert!(!counts.is_locked(key, after(90)));
        assert!(!counts.is_locked(counts.key("bob"), START));
        assert_eq!(
            counts.failed(key, LIMIT, after(90)).failures,
            1,
            "all is forgotten"
        );
    }

    #[test]
    fn attempts_while_locked_do_not_prolong_the_lock() {
        let counts = Counts::new();
        let key = counts.key("ann");
        for _ in 0..3 {
            counts.failed(key, LIMIT, START);
        }
        for second in 0..90 {
            assert!(!counts.failed(key, LIMIT, after(second)).locked_now);
        }
        assert!(!counts.is_locked(key, after(90)));
    }

    #[test]
    fn one_failure_is_forgotten_in_each_step() {
        let counts = Counts::new();
        let key = counts.key("ann");
        for second in (0..3000).step_by(30) {
            assert_eq!(counts.failed(key, LIMIT, after(second)).failures, 1, "{second}");
        }
        assert_eq!(counts.failed(key, LIMIT, after(2970)).failures, 2);
        assert_eq!(counts.failed(key, LIMIT, after(2990)).failures, 3);
    }

    #[test]
    fn a_success_forgives_failures_but_no_lock() {
        let counts = Counts::new();
        let key = counts.key("ann");
        for _ in 0..2 {
            counts.failed(key, LIMIT, START);
        }
        counts.forgive(key, START);
        assert_eq!(counts.failed(key, LIMIT, START).failures, 1);
        for _ in 0..2 {
            counts.failed(key, LIMIT, START);
        }
        counts.forgive(key, START);
        assert!(counts.is_locked(key, START));
    }

    #[test]
    fn memory_is_bounded_and_what_was_counted_most_stays() {
        let counts = Counts::with_capacity(SHARDS * 8);
        let victim = counts.key("victim");
        for _ in 0..2 {
            counts.failed(victim, LIMIT, START);
        }
        let locked = counts.key("locked");
        for _ in 0..3 {
            counts.failed(locked, LIMIT, START);
        }
        for n in 0..50_000u32 {
            counts.failed(counts.key(n), LIMIT, START);
        }
        let kept: usize = counts.shards.iter().map(|shard| shard.lock().len()).sum();
        assert_eq!(kept, SHARDS * 8);
        assert!(counts.is_locked(locked, START));
        assert_eq!(
            counts.failed(victim, LIMIT, START).failures,
            3,
            "nothing was wiped by failing with others"
        );
        for n in 0..50_000u32 {
            counts.failed(counts.key(n), LIMIT, after(90));
        }
        assert!(
            !counts
                .shards
                .iter()
                .any(|shard| shard.lock().contains_key(&victim)),
            "what is forgotten takes no place"
        );
    }
}
