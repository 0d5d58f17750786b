//! A start that waits for its database: who wants to know how long, and what for.

use super::House;
use parking_lot::Mutex;
use smtp_observe::Event;
use smtp_queue::postgres::Waiting;
use std::time::{Duration, Instant};

/// The log is told again after that time.
const TELL: Duration = Duration::from_secs(30);

/// What is waited for; nothing, until an attempt was in vain.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    since: Instant,
    at_most: Duration,
    error: String,
    told: Instant,
}

impl Waits {
    /// For readiness: what is waited for, and how long.
    pub(super) fn reason(&self) -> Option<String> {
        let state = self.0.lock();
        state.as_ref().map(|state| {
            format!(
                "waiting for the database, for {} s now and {} s at most (storage.wait): {}",
                state.since.elapsed().as_secs(),
                state.at_most.as_secs(),
                state.error
            )
        })
    }

    /// How long it is waited, or was.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.0.lock().as_ref().map(|state| state.since.elapsed())
    }

    /// Another attempt was in vain. Gives whether the log is to be told.
    fn again(&self, waiting: Waiting<'_>, at_most: Duration) -> bool {
        let (mut state, now) = (self.0.lock(), Instant::now());
        let since = now.checked_sub(waiting.waited).unwrap_or(now);
        let told = state.as_ref().map(|state| state.told);
        let tell = told.is_none_or(|told| now.duration_since(told) >= TELL);
        *state = Some(State {
            since,
            at_most,
            error: waiting.error.to_string(),
            told: if tell { now } else { told.unwrap_or(now) },
        });
        tell
    }
}

impl House {
    /// The database was away when the store was to be opened, once more.
    pub(crate) fn waits(&self, waiting: Waiting<'_>, at_most: Duration) {
        if self.waits.again(waiting, at_most) {
            self.observer.emit(Event::StorageAwaited {
                error: &waiting.error.to_string(),
                waited: waiting.waited,
                at_most,
            });
        }
    }

    /// How long the start waited for the database, if it had to.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.waits.waited()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp_queue::StoreError;

    #[test]
    fn the_log_is_told_first_and_then_seldom() {
        let (waits, error) = (Waits::default(), StoreError::Unavailable("refused".into()));
        assert!(waits.reason().is_none() && waits.waited().is_none());
        let again = || {
            let waiting = Waiting {
                error: &error,
                waited: Duration::from_secs(7),
            };
            waits.again(waiting, Duration::from_secs(240))
        };
        assert!(again());
        assert!(!again() && !again());
        let reason = waits.reason().unwrap();
        assert!(
            reason.contains("7 s now and 240 s at most") && reason.contains("refused"),
            "{reason}"
        );
        let long_ago = Instant::now().checked_sub(TELL).unwrap();
        waits.0.lock().as_mut().unwrap().told = long_ago;
        assert!(again() && !again());
    }
}
