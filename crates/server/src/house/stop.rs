//! How the server comes to its end: who asked for it, since when, how far it is.

use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is not near.
    Running,
    /// Nothing is begun, and what was begun may finish.
    Draining,
    /// The store is written out and closed.
    Closing,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Closing => "closing",
        }
    }
}

/// The end, once somebody asked for it.
#[derive(Debug)]
pub(crate) struct Stop {
    state: Mutex<State>,
    asked: Notify,
    now: Notify,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Who asked, and when the drain began.
    pub(super) because: Option<(String, Instant)>,
}

impl Stop {
    pub(super) fn new() -> Stop {
        Stop {
            state: Mutex::new(State {
                phase: Phase::Running,
                because: None,
            }),
            asked: Notify::new(),
            now: Notify::new(),
        }
    }

    /// Somebody asks for it; with `now` also that nothing be waited for.
    pub(super) fn ask(&self, reason: &str, now: bool) {
        let mut state = self.state.lock();
        if state.because.is_none() {
            state.because = Some((reason.to_owned(), Instant::now()));
            self.asked.notify_one();
        }
        if now {
            self.now.notify_one();
        }
    }

    /// Waits until somebody asked, and says who.
    pub(crate) async fn asked(&self) -> String {
        self.asked.notified().await;
        let because = self.state.lock().because.clone();
        because.map(|(reason, _)| reason).unwrap_or_default()
    }

    /// Waits until somebody wants nothing to be waited for.
    pub(crate) async fn now(&self) {
        self.now.notified().await;
    }

    pub(super) fn enter(&self, phase: Phase, reason: &str) {
        let mut state = self.state.lock();
        state.phase = phase;
        state
            .because
            .get_or_insert_with(|| (reason.to_owned(), Instant::now()));
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// For how long the end has been near; `None` while it is not.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let state = self.state.lock();
        let since = state.because.as_ref().map(|(_, since)| *since);
        since
            .filter(|_| state.phase != Phase::Running)
            .map(|since| since.elapsed())
    }

    pub(super) fn is_near(&self) -> bool {
        self.state.lock().phase != Phase::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_who_asks_is_the_reason() {
        let stop = Stop::new();
        stop.ask("ann", false);
        stop.ask("bob", true);
        assert_eq!(stop.asked().await, "ann");
        stop.now().await;
        assert!(
            !stop.is_near() && stop.lasts().is_none(),
            "asked for is not begun"
        );
        stop.enter(Phase::Draining, "ann");
        let since = stop.state().because;
        assert!(stop.lasts().is_some());
        stop.enter(Phase::Closing, "");
        assert_eq!(
            (stop.state().phase, stop.state().because),
            (Phase::Closing, since)
        );
    }
}
