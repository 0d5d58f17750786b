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
    /// The pod does not come back: its mail is tried once more.
    Handover,
    /// The store is written out and closed.
    Closing,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Handover => "handover",
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
    /// Messages in the queue of a pod that does not come back, once they were counted.
    pub(super) left: Option<u64>,
    handover: Option<Instant>,
    /// How long that took.
    handed_over: Duration,
}

impl Stop {
    pub(super) fn new() -> Stop {
        Stop {
            state: Mutex::new(State {
                phase: Phase::Running,
                because: None,
                left: None,
                handover: None,
                handed_over: Duration::ZERO,
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

    /// The handover begins, with so many messages if they could be counted.
    pub(super) fn hand_over(&self, messages: Option<u64>) {
        let mut state = self.state.lock();
        state.phase = Phase::Handover;
        state.handover = Some(Instant::now());
        state.left = messages;
    }

    /// It is over, if it was begun: what follows is the drain.
    pub(super) fn handed_over(&self) {
        let mut state = self.state.lock();
        if let Some(since) = state.handover.take() {
            state.handed_over = since.elapsed();
            state.phase = Phase::Draining;
        }
    }

    /// So many messages are left.
    pub(crate) fn left(&self, messages: u64) {
        self.state.lock().left = Some(messages);
    }

    /// How many messages were left at the last count, if the pod does not come back.
    pub(crate) fn last_left(&self) -> Option<u64> {
        self.state.lock().left
    }

    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// For how long the end has been near, without a handover; `None` while it is not.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let state = self.state.lock();
        let since = state.because.as_ref().map(|(_, since)| *since);
        let lasts = since.filter(|_| state.phase != Phase::Running)?.elapsed();
        let apart = state.handover.map_or(state.handed_over, |since| since.elapsed());
        Some(lasts.saturating_sub(apart))
    }

    pub(super) fn is_near(&self) -> bool {
        self.state.lock().phase != Phase::Running
    }

    /// Whether the rooms are closed already.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().phase == Phase::Closing
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
        stop.hand_over(Some(7));
        assert!(stop.is_near() && stop.state().phase == Phase::Handover && stop.last_left() == Some(7));
        stop.left(3);
        stop.handed_over();
        let state = stop.state();
        assert_eq!((state.phase, state.left), (Phase::Draining, Some(3)));
        assert!(!stop.is_closing());
        stop.enter(Phase::Closing, "");
        assert_eq!(
            (stop.state().phase, stop.state().because),
            (Phase::Closing, since)
        );
        assert!(stop.is_closing());
    }
}
