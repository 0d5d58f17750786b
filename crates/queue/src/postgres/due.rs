//! How many recipients are due and unclaimed. There is no figure of it that somebody keeps, as recipients become due by themselves: an index is
//! counted, in an order that ends where enough is known.
//!
//! Every scrape of every server asks. So a number that took a while to count is given for some time without being counted again; a small one
//! is always right.

use super::client::{Client, query_one};
use super::error::Error;
use crate::limits;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// From so many on the number is kept. Fewer are counted in half a millisecond.
const MANY: u64 = 5_000;
/// So long.
const KEPT: Duration = Duration::from_secs(10);

/// By a time that is given, as the index is sorted by it: a clock that moves while it is read would have all that waits read. How many it ends
/// after is hidden in a question: told that it is more than what it believes to be due (it may have no statistics, after a rush), the planner
/// would read and sort all that is.
pub(super) const COUNT: &str = "SELECT count(*) FROM (SELECT due FROM recipients WHERE state IN (0, 2) AND due <= $1 ORDER BY due LIMIT (SELECT $2::bigint)) AS due";

/// The number, if it was counted lately and is large.
#[derive(Debug, Default)]
pub(super) struct Due {
    last: Mutex<Option<(Instant, u64)>>,
}

impl Due {
    /// How many there are at `now` by the database's clock, up to [`limits::DUE`]; if many, there were so many in the last 10 s.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn count(&self, db: &Client, now: Timestamp) -> Result<u64, Error> {
        let begun = Instant::now();
        if let Some(count) = self.kept(begun) {
            return Ok(count);
        }
        let row = query_one(db, COUNT, &[&now.as_millisecond(), &i64::from(limits::DUE)]).await?;
        let count = row.get::<_, i64>(0).unsigned_abs();
        *self.last.lock() = Some((begun, count));
        Ok(count)
    }

    fn kept(&self, now: Instant) -> Option<u64> {
        let last = *self.last.lock();
        let fresh = last.filter(|(at, count)| *count >= MANY && now.saturating_duration_since(*at) < KEPT);
        fresh.map(|(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_number_is_kept_for_a_while_and_a_small_one_is_not() {
        let (due, now) = (Due::default(), Instant::now());
        assert_eq!(due.kept(now), None);
        *due.last.lock() = Some((now, MANY - 1));
        assert_eq!(due.kept(now), None);
        *due.last.lock() = Some((now, MANY));
        assert_eq!(due.kept(now + KEPT / 2), Some(MANY));
        assert_eq!(due.kept(now + KEPT), None);
    }
}
