//! The lanes (connections) of one next hop: how many there are, how many there may be, who of them waits for work.
//!
//! Slow start: [`START`] at first, one more after each run of successes as long as all are busy, up to the cap. When the cap falls, because there are
//! more servers or by a reload, lanes end after their job until there are no more than that.

use super::START;
use std::sync::Arc;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Those that wait for work.
    parked: Vec<Arc<Notify>>,
    /// Those that are started, or are to be.
    pub(super) count: usize,
    /// Those of them that end because there are too many.
    leaving: usize,
    connected: usize,
    pub(super) allowed: usize,
    cap: usize,
    successes: usize,
}

impl Lanes {
    /// None yet, and at most `cap`.
    pub(super) fn new(cap: usize) -> Self {
        let cap = cap.max(1);
        Lanes {
            parked: Vec::new(),
            count: 0,
            leaving: 0,
            connected: 0,
            allowed: START.min(cap),
            cap,
            successes: 0,
        }
    }

    /// Without slow start.
    pub(super) fn allow_all(&mut self) {
        self.allowed = self.cap;
    }

    /// Those that have a connection.
    pub(super) fn connections(&self) -> usize {
        self.connected
    }

    /// Most that there may be.
    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    /// Counts one more, if it may be started.
    pub(super) fn start(&mut self) -> bool {
        let starts = self.count < self.allowed;
        self.count += usize::from(starts);
        starts
    }

    /// One ended, or was not started.
    pub(super) fn ended(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// One waits for work.
    pub(super) fn park(&mut self, lane: &Arc<Notify>) {
        self.parked.push(lane.clone());
    }

    /// It no longer does, whoever woke it.
    pub(crate) fn unpark(&mut self, lane: &Arc<Notify>) {
        self.parked.retain(|parked| !Arc::ptr_eq(parked, lane));
    }

    /// One that waits for work, to be woken.
    pub(super) fn wake(&mut self) -> Option<Arc<Notify>> {
        self.parked.pop()
    }

    /// Whether none waits for work.
    pub(super) fn none_parked(&self) -> bool {
        self.parked.is_empty()
    }

    /// Whether none waits for work, and no more may be started.
    pub(super) fn all_are_busy(&self) -> bool {
        self.parked.is_empty() && self.count >= self.allowed
    }

    /// One has a connection.
    pub(crate) fn connected(&mut self) {
        self.connected += 1;
    }

    /// One has its connection no more.
    pub(crate) fn disconnected(&mut self) {
        self.connected = self.connected.saturating_sub(1);
    }

    /// Changes the cap. Those that wait for work and may have to end for it: they are to be woken.
    pub(crate) fn set_cap(&mut self, cap: usize) -> Vec<Arc<Notify>> {
        self.cap = cap.max(1);
        self.allowed = self.allowed.min(self.cap);
        match self.are_too_many() {
            true => std::mem::take(&mut self.parked),
            false => Vec::new(),
        }
    }

    /// Whether one that has no job has to end, because there are more than the cap. One that is told so says [`Lanes::left`] at its end.
    pub(crate) fn must_leave(&mut self) -> bool {
        let leaves = self.are_too_many();
        self.leaving += usize::from(leaves);
        leaves
    }

    /// One ends that had to.
    pub(crate) fn left(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }

    fn are_too_many(&self) -> bool {
        self.count > self.cap + self.leaving
    }

    /// One of them is the probe of a next hop that was down.
    pub(super) fn only_one(&mut self) {
        self.allowed = 1;
    }

    /// The probe was answered.
    pub(super) fn start_anew(&mut self) {
        self.allowed = self.allowed.max(START.min(self.cap));
    }

    /// The next hop answered a transaction; whether more `waits`.
    pub(super) fn succeeded(&mut self, waits: bool) {
        self.successes += 1;
        let pressed = self.count >= self.allowed && waits;
        if self.successes >= self.allowed && pressed {
            self.successes = 0;
            self.allowed = (self.allowed + 1).min(self.cap);
        }
    }

    /// The run of successes is over.
    pub(super) fn broke_off(&mut self) {
        self.successes = 0;
    }

    /// One that has no connection could not get one. Whether others have one: then there are to be no more than those.
    pub(super) fn fewer(&mut self) -> bool {
        self.broke_off();
        let others = self.connected > 0;
        if others {
            self.allowed = self.connected.min(self.cap);
        }
        others
    }
}
