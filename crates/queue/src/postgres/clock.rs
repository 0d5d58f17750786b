//! Whose clock counts: the database's, the only one that all servers see.
//!
//! Everything stored is in its time. What must not be wrong by a moment, when a lease begins and ends, statements take from it themselves
//! ([`super::servers::BEGAN`]). For the rest a server knows what it shows: what it showed when it was looked at last ([`super::pulse`]), and how
//! long ago that was by a clock that nobody sets. The server's own wall clock is not asked, so it may be wrong, and may be set.

use crate::steady::Steady;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What was seen is given in milliseconds.
const ROUNDED: Duration = Duration::from_millis(1);

/// The database's clock, as far as it is known. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Clock(Arc<Mutex<Reading>>);

/// What it showed, and when.
#[derive(Clone, Copy, Debug)]
struct Reading {
    shown: Timestamp,
    at: Steady,
}

impl Reading {
    /// What it shows at another moment.
    fn at(self, moment: Steady) -> Timestamp {
        let length = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        let later = self.shown.saturating_add(length(moment.since(self.at)));
        let shown = later.and_then(|time| time.saturating_sub(length(self.at.since(moment))));
        shown.unwrap_or(self.shown)
    }
}

impl Clock {
    /// A clock that was not looked at yet: until then ours is taken for it.
    pub(super) fn unknown() -> Clock {
        let (shown, at) = (Timestamp::now(), Steady::now());
        Clock(Arc::new(Mutex::new(Reading { shown, at })))
    }

    /// What it shows now.
    pub(super) fn now(&self) -> Timestamp {
        let reading = *self.0.lock();
        reading.at(Steady::now())
    }

    /// It showed this, in milliseconds since 1970, at some moment between two of ours.
    ///
    /// What is known already stays if that can be: of an answer that was long on its way less can be said.
    pub(super) fn seen(&self, before: Steady, shown: i64, after: Steady) {
        let Ok(shown) = Timestamp::from_millisecond(shown) else {
            return;
        };
        let mut reading = self.0.lock();
        let earliest = reading.at(before);
        let latest = reading.at(after + ROUNDED);
        if shown < earliest.saturating_sub(ROUNDED).unwrap_or(earliest) || shown > latest {
            let at = before + after.since(before) / 2;
            *reading = Reading { shown, at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn it_goes_on_from_what_it_showed_last() {
        let (clock, start) = (Clock::unknown(), Steady::now());
        let ms = |ms| start + Duration::from_millis(ms);
        let shows = |clock: &Clock, ms: Steady| clock.0.lock().at(ms);
        clock.seen(ms(1000), 200_000, ms(1010));
        assert_eq!(shows(&clock, ms(1005)), at(200_000));
        assert_eq!(
            (shows(&clock, ms(61_005)), shows(&clock, ms(5))),
            (at(260_000), at(199_000))
        );
        // An answer that says the same, if not as exactly.
        clock.seen(ms(2000), 203_000, ms(9000));
        assert_eq!(shows(&clock, ms(2005)), at(201_000), "it may be so");
        // One that says that it was set, or that another machine's clock counts now.
        for (shown, what) in [(500_000, "forward"), (100_000, "back")] {
            clock.seen(ms(2000), shown, ms(2002));
            assert_eq!(shows(&clock, ms(2001)), at(shown), "{what}");
        }
    }

    #[test]
    fn what_cannot_be_a_time_is_not_believed() {
        let clock = Clock::unknown();
        let before = clock.now();
        clock.seen(Steady::now(), i64::MAX, Steady::now());
        assert!(clock.now().duration_since(before) < SignedDuration::from_secs(60));
    }
}
