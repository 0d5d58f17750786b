//! The time that a server gets for a message's content.
//!
//! It begins with a credit of one block's time-out (RFC 5321 4.5.3.2.5). Time uses it up; every octet taken earns what
//! an octet is worth at the least rate, up to the whole credit again. So a server that stops is given up after one
//! block's time-out, one that crawls below the rate when its credit is spent, and no message of n octets takes
//! longer than the time-out and n octets at the least rate.

use std::time::Duration;
use tokio::time::Instant;

/// How slow a server may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentLimits {
    /// For one block, and the credit of all.
    pub block_timeout: Duration,
    /// In octets per second; 0 sets none.
    pub min_rate: u64,
}

/// One message's time.
#[derive(Debug)]
pub(super) struct Pace {
    limits: ContentLimits,
    deadline: Instant,
}

impl Pace {
    /// For a message whose content begins now.
    pub(super) fn new(limits: ContentLimits, now: Instant) -> Self {
        Pace {
            limits,
            deadline: now + limits.block_timeout,
        }
    }

    /// When the server must have taken what is being written.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// It has.
    pub(super) fn taken(&mut self, octets: usize, now: Instant) {
        let full = now + self.limits.block_timeout;
        self.deadline = match self.limits.min_rate {
            0 => full,
            rate => full.min(self.deadline + Duration::from_secs_f64(octets as f64 / rate as f64)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ContentLimits = ContentLimits {
        block_timeout: Duration::from_secs(180),
        min_rate: 1000,
    };

    /// How long a server is borne with that takes 64,000 octets every so many seconds.
    fn borne(limits: ContentLimits, seconds: u64, blocks: usize) -> Option<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(limits, start);
        let mut now = start;
        for _ in 0..blocks {
            if now + Duration::from_secs(seconds) > pace.deadline() {
                return Some(pace.deadline().duration_since(start).as_secs());
            }
            now += Duration::from_secs(seconds);
            pace.taken(64_000, now);
        }
        None
    }

    #[test]
    fn a_server_at_the_least_rate_may_go_on_for_ever() {
        assert_eq!(borne(LIMITS, 64, 10_000), None);
    }

    #[test]
    fn one_that_crawls_is_given_up_when_its_credit_is_spent() {
        // Each block costs 128 s and earns 64 s.
        assert_eq!(borne(LIMITS, 128, 10_000), Some(180 + 64));
        assert_eq!(borne(LIMITS, 70, 10_000), Some(180 + 19 * 64));
    }

    #[test]
    fn one_that_stops_is_given_up_after_a_block_however_fast_it_was() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMITS, start);
        pace.taken(25_000_000, start);
        assert_eq!(pace.deadline().duration_since(start), LIMITS.block_timeout);
    }

    #[test]
    fn without_a_rate_only_the_block_counts() {
        let limits = ContentLimits {
            min_rate: 0,
            ..LIMITS
        };
        assert_eq!(borne(limits, 179, 10_000), None);
        assert_eq!(borne(limits, 181, 1), Some(180));
    }
}
