//! `delivery.max_rate_per_destination`: each server has its share of it, and what waits for it is looked at when a message may go.
//!
//! Promise: while mail waits for a next hop's rate, one task of that next hop sleeps until a message may go, and nothing else happens.
//! Whoever takes a job, or adds one, sees to that task. What a next hop has in hand beyond what its rate lets go in half a minute goes back
//! to the store, untried and uncounted, until its turn comes there.

use super::{Engine, Entry, Key, Stop};
use crate::destination::Turn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Of one destination, who looks when a message may go.
#[derive(Debug, Default)]
pub(super) struct Timer {
    runs: AtomicBool,
    /// It has to look now: the rate is another.
    changed: Notify,
}

impl Engine {
    /// How many connections this server may have to one destination.
    pub(super) fn cap(&self) -> usize {
        let of_all = self.parts.load().config.delivery.max_connections_per_destination;
        usize::try_from(self.queue.share(of_all as u64)).unwrap_or(of_all)
    }

    /// The time from one message to the next of one destination, as far as this server sends them.
    pub(super) fn interval(&self) -> Option<Duration> {
        let of_all = self.parts.load().config.delivery.max_rate_per_destination;
        let servers = u32::try_from(self.queue.servers()).unwrap_or(u32::MAX);
        of_all.interval().map(|interval| interval.saturating_mul(servers))
    }

    /// Shares out anew what one destination gets: the configuration is another, or there are more or fewer servers.
    pub(crate) fn share_out(&self) {
        let (cap, interval) = (self.cap(), self.interval());
        for entry in self.entries() {
            if !matches!(entry.key, Key::Hop(_)) {
                continue;
            }
            let mut state = entry.state.lock();
            state.set_interval(interval);
            let to_wake = state.lanes.set_cap(cap);
            drop(state);
            to_wake.iter().for_each(|lane| lane.notify_one());
            entry.timer.changed.notify_one();
            self.turn(&entry);
        }
    }

    /// After a job was taken, or could not be: sees to what still waits for a destination whose rate is limited.
    pub(super) fn turn_if_paced(&self, entry: &Arc<Entry>) {
        let paced = entry.state.lock().is_paced();
        if paced {
            self.turn(entry);
        }
    }

    /// Sees to what waits for a destination.
    pub(super) fn turn(&self, entry: &Arc<Entry>) {
        let turn = entry.state.lock().turn(Instant::now());
        match turn {
            Turn::Nothing => {}
            Turn::Wake(lane) => lane.notify_one(),
            Turn::Spawn => self.start_lane(entry),
            Turn::Wait(wait) => self.look_again(entry, wait),
        }
    }

    /// Looks again after this time, once for whoever asks.
    fn look_again(&self, entry: &Arc<Entry>, wait: Duration) {
        let Some(engine) = self.me.upgrade() else { return };
        if self.is_stopping() || entry.timer.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = entry.clone();
        let mut stop = self.stop.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                () = sleep(wait) => {}
                () = entry.timer.changed.notified() => {}
                _ = stop.wait_for(|stop| *stop != Stop::Running) => {}
            }
            // Before it looks: whoever finds mail waiting after that starts the next.
            entry.timer.runs.store(false, Ordering::Release);
            if !engine.is_stopping() {
                engine.turn(&entry);
            }
        });
    }
}
