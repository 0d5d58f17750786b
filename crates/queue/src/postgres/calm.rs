//! Whom nobody may judge: servers that could not be heard of, because the database was away.
//!
//! A server that is not heard of is dead, and a lease that is not renewed has ended. Neither says anything when it was the database that nobody
//! reached: to the first server that is back all others look dead, and what they hold would be delivered again, also what is past its final dot and
//! whose results they keep in memory. So whoever says that it is there notes, in the same statement, that *nobody* was heard of for [`SILENCE`]:
//! the database was away or stood still, its clock was set forward, all servers stood still, or there was none. For [`GRACE`] from then on nobody is
//! buried, and no lease or claim of a webhook's call that ended is taken; whoever lives has said so by then, has renewed what it holds, and has
//! written which calls were taken.
//!
//! If one server was cut off and another was not, there was no silence: the one is dead after a minute, as always.
//!
//! All of that is measured by the database's clock; a server's own, one that nobody sets, only says how long ago it looked.

use super::servers::NOW;
use crate::steady::Steady;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds without a word from any server after which it was not the servers that were away: two words of each are missing. Leases have
/// a third of their length left then.
const SILENCE: i64 = 20_000;
/// Milliseconds for which nobody is judged after it. A server that lives is back by then: at worst it waits for the answer to a statement
/// (20 s), pauses (2 s) and waits for a new connection (5 s).
const GRACE: i64 = 30_000;
/// What was seen so long ago is not known any more. Leases last longer than this by far, so none ends that was renewed when it was seen.
const FRESH: Duration = Duration::from_secs(5);

/// Notes a silence, as the part of a statement that comes before a server's word is written.
pub(super) fn noting_sql() -> String {
    format!(
        "WITH silence AS (
             INSERT INTO signals (name, number) SELECT 'silence', {NOW} WHERE (SELECT max(seen) FROM servers) < {NOW} - {SILENCE}
             ON CONFLICT (name) DO UPDATE SET number = excluded.number)"
    )
}

/// Whether servers and leases may be judged now. A clock that was set back ends a grace, or makes it twice as long.
pub(super) fn sql() -> String {
    format!(
        "(coalesce((SELECT max(seen) FROM servers) >= {NOW} - {SILENCE}, true)
          AND NOT EXISTS (SELECT 1 FROM signals WHERE name = 'silence' AND abs({NOW} - number) < {GRACE}))"
    )
}

/// What this server knows of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Calm(Arc<Mutex<Option<Steady>>>);

impl Calm {
    /// The database was asked at that moment, and said this.
    pub(super) fn saw(&self, asked: Steady, calm: bool) {
        *self.0.lock() = calm.then_some(asked);
    }

    /// Whether leases that ended may be taken.
    pub(super) fn is_known(&self) -> bool {
        self.is_known_at(Steady::now())
    }

    fn is_known_at(&self, now: Steady) -> bool {
        self.0.lock().is_some_and(|asked| now.since(asked) < FRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_for_a_moment() {
        let (calm, now) = (Calm::default(), Steady::now());
        assert!(!calm.is_known(), "before anybody looked");
        calm.saw(now, true);
        assert!(calm.is_known());
        assert!(calm.is_known_at(now + FRESH / 2) && !calm.is_known_at(now + FRESH));
        calm.saw(now, false);
        assert!(!calm.is_known());
        // By the clock that runs on while the machine sleeps.
        calm.saw(Steady::START, true);
        assert!(!calm.is_known());
    }
}
