//! Whose clock counts: the database's, the only one that all servers see.
//!
//! What is stored as due is in its time. A server measures how far its own clock is from it whenever it looks ([`super::pulse`]), and
//! converts. Differences below a second change nothing: leases are a minute, and what is read back stays what was written.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Differences that matter, in milliseconds.
const MATTERS: i64 = 1000;

/// How far the database's clock is ahead of ours, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock(i64);

impl Clock {
    /// A time of ours as it is stored.
    pub(super) fn stored(self, ours: Timestamp) -> i64 {
        ours.as_millisecond().saturating_add(self.0)
    }

    /// A stored time in ours. One that cannot be read is long ago.
    pub(super) fn ours(self, stored: i64) -> Timestamp {
        Timestamp::from_millisecond(stored.saturating_sub(self.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// What was measured last. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured(Arc<AtomicI64>);

impl Measured {
    pub(super) fn clock(&self) -> Clock {
        Clock(self.0.load(Ordering::Relaxed))
    }

    /// The database showed this, between two looks at our clock.
    pub(super) fn compare(&self, before: Timestamp, shown: i64, after: Timestamp) {
        let ours = before.as_millisecond().midpoint(after.as_millisecond());
        let difference = shown.saturating_sub(ours);
        if difference.abs_diff(self.clock().0) > MATTERS.unsigned_abs() {
            // Whole seconds, so that it does not move with every look.
            let rounded = (difference + difference.signum() * MATTERS / 2) / MATTERS * MATTERS;
            self.0.store(rounded, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_that_matter_are_converted_both_ways() {
        let (measured, at) = (Measured::default(), |ms| Timestamp::from_millisecond(ms).unwrap());
        measured.compare(at(100_000), 100_900, at(100_010));
        assert_eq!(measured.clock(), Clock::default(), "a difference below a second");
        measured.compare(at(100_000), 220_400, at(100_010));
        assert_eq!(measured.clock(), Clock(120_000));
        assert_eq!(measured.clock().stored(at(5)), 120_005);
        assert_eq!(measured.clock().ours(120_005), at(5));
        measured.compare(at(100_000), 99_800, at(100_010));
        assert_eq!(measured.clock(), Clock::default(), "and back");
    }
}
