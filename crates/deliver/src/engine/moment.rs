//! When a lease ends: by the store's clock, and by one that nobody sets.
//!
//! Its holder goes by the second: it holds a lease for [`MARGIN`] less than its length from the moment before it asked, whatever is set. By
//! either it sees that a lease is to be renewed: what the store's clock ends, because that was set forward, others may take.

use super::window::LEASE;
use crate::schedule::later;
use jiff::Timestamp;
use smtp_queue::{Claim, Steady};
use std::time::Duration;

/// A lease counts as ended so much before it does. A clock that is slowed or hurried to put it right, the database's say, passes over fewer
/// than 6 of 60 s in a minute, and the last octets of a message leave in less than the rest.
pub(super) const MARGIN: Duration = Duration::from_secs(10);

/// What the clocks show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The store's: it may be set, and what is stored ends by it.
    pub(super) stored: Timestamp,
    /// The one that nobody sets.
    pub(super) steady: Steady,
}

/// When a lease ends, by both clocks; when one of them says so, it may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct End(Moment);

impl End {
    /// Of a lease of [`LEASE`] that is asked for at a moment.
    pub(super) fn of_lease(asked: Moment) -> End {
        End(Moment {
            stored: later(asked.stored, LEASE),
            steady: asked.steady + LEASE,
        })
    }

    /// Of a claim's.
    pub(super) fn of_claim(claim: &Claim) -> End {
        let due = claim.recipients.iter().map(|claimed| claimed.recipient.due);
        End(Moment {
            stored: due.min().unwrap_or(Timestamp::MAX),
            steady: claim.until,
        })
    }

    /// Whether it ends within so long.
    pub(super) fn is_within(self, now: Moment, length: Duration) -> bool {
        self.0.steady <= now.steady + length || self.0.stored <= later(now.stored, length)
    }

    pub(super) fn first(self, other: End) -> End {
        End(Moment {
            stored: self.0.stored.min(other.0.stored),
            steady: self.0.steady.min(other.0.steady),
        })
    }

    /// Whether its holder may go by it that it has not ended.
    pub(super) fn is_held(self, now: Steady) -> bool {
        now + MARGIN < self.0.steady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds after a start, by both clocks.
    fn at(stored: u64, steady: u64) -> Moment {
        Moment {
            stored: later(Timestamp::UNIX_EPOCH, Duration::from_secs(stored)),
            steady: Steady::START + Duration::from_secs(steady),
        }
    }

    #[test]
    fn a_lease_is_renewed_when_either_clock_says_that_it_ends() {
        let end = End::of_lease(at(7200, 0));
        let ends = |stored, steady| end.is_within(at(stored, steady), Duration::from_secs(40));
        assert!(!ends(7219, 19));
        assert!(ends(7220, 0), "set forward");
        assert!(ends(0, 20), "set back by two hours");
        let first = end.first(End::of_lease(at(0, 100)));
        assert!(first.is_within(at(60, 0), Duration::ZERO) && first.is_within(at(0, 60), Duration::ZERO));
        assert!(!first.is_within(at(59, 59), Duration::ZERO));
    }
}
