//! Destinations that hang: their share of what is in hand, and when their connections make room.
//!
//! RFC 5321 has us wait minutes for every reply, and a server that never answers uses them all. A destination
//! hangs when it has mail but has ended no transaction for `delivery.hang_after`. Then
//!
//! * it holds at most a quarter of what may be in hand, and all that hang hold half of it together, in equal
//!   shares. What waits beyond that goes back to the store for a minute, untried and uncounted;
//! * a connection on which nothing has moved makes room when somebody waits in line for one, or when lanes alone
//!   have in hand more than that half. Its next hop counts as down. Never after a final dot.
//!
//! A destination that was down and is just being probed counts as one that hangs, but what is beyond its share comes back in a moment: by then it
//! has answered, is down again, or hangs.
//!
//! Destinations whose mail waits for `delivery.max_rate_per_destination` share that half with those that hang, and nothing else is done to
//! them: they may wait for hours, and would leave no room for the others. What is beyond comes back when its turn comes.

use super::job::Job;
use super::lane::Lane;
use super::scheduler::OVERFLOW_PAUSE;
use super::{Engine, Entry, Stop};
use crate::destination::{Apart, Destination};
use crate::schedule::{dice, spread};
use smtp::{Enhanced, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How often destinations that hang are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// When mail comes back that there is no share for.
const AWAY: Duration = Duration::from_secs(60);
/// The part of what may be in hand that one destination gets that hangs: one in so many.
const ONE: usize = 4;
/// The part that all of them get together.
const ALL: usize = 2;
/// A connection on which nothing moves for so many times `delivery.hang_after` makes room when somebody waits.
const SILENCE: u32 = 2;

/// What was found at the last look.
#[derive(Debug)]
pub(super) struct Hanging {
    in_hand: AtomicUsize,
    /// Recipients in hand for destinations that wait for their rate.
    paced: AtomicUsize,
    share: AtomicUsize,
    /// Told when it is something else than before.
    pub(super) changed: Notify,
}

impl Hanging {
    /// Nothing hangs.
    pub(super) fn none(window: usize) -> Self {
        Hanging {
            in_hand: AtomicUsize::new(0),
            paced: AtomicUsize::new(0),
            share: AtomicUsize::new(window / ONE),
            changed: Notify::new(),
        }
    }

    /// Recipients in hand for destinations that hang.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Relaxed)
    }

    /// Recipients in hand that others need not wait for: for destinations that hang or wait for their rate.
    pub(super) fn set_apart(&self) -> usize {
        self.in_hand() + self.paced.load(Ordering::Relaxed)
    }

    fn found(&self, in_hand: usize, paced: usize) {
        let before = self.set_apart();
        self.in_hand.store(in_hand, Ordering::Relaxed);
        self.paced.store(paced, Ordering::Relaxed);
        if before != in_hand + paced {
            self.changed.notify_one();
        }
    }

    /// How many of them one destination may have.
    pub(super) fn share(&self) -> usize {
        self.share.load(Ordering::Relaxed)
    }
}

/// For how long a job goes back that its destination has no share for.
pub(super) fn away(apart: Apart, state: &mut Destination<Job>, now: Instant) -> Duration {
    match apart {
        Apart::Hangs => spread(AWAY, dice()),
        Apart::Probed => OVERFLOW_PAUSE,
        Apart::Paced => state.turn_in_store(now),
    }
}

impl Engine {
    /// Looks for destinations that hang, until the server stops.
    pub(super) async fn watch_hanging(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        while *stop.borrow() == Stop::Running {
            self.look_for_hanging();
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Takes from those that others are not to wait for what is beyond their share.
    fn look_for_hanging(&self) {
        let (now, after) = (Instant::now(), self.hang_after());
        let apart = |entry: Arc<Entry>| {
            let apart = entry.state.lock().apart(now, after)?;
            Some((entry, apart))
        };
        let all: Vec<(Arc<Entry>, Apart)> = self.entries().into_iter().filter_map(apart).collect();
        let window = self.window.limit();
        let share = (window / ALL / all.len().max(1)).clamp(1, window / ONE);
        self.hanging.share.store(share, Ordering::Relaxed);
        let (mut in_hand, mut paced) = (0, 0);
        for (entry, apart) in all {
            let mut state = entry.state.lock();
            let beyond = state.shed(share).into_iter();
            let beyond: Vec<(Job, Duration)> =
                beyond.map(|job| (job, away(apart, &mut state, now))).collect();
            match apart {
                Apart::Hangs | Apart::Probed => in_hand += state.in_hand(),
                Apart::Paced => paced += state.in_hand(),
            }
            drop(state);
            for (mut job, pause) in beyond {
                self.put_off(&mut job, pause);
            }
        }
        self.hanging.found(in_hand, paced);
    }

    /// When a destination counts as hanging.
    pub(super) fn hang_after(&self) -> Duration {
        self.parts.load().config.delivery.hang_after
    }

    /// Ends when a lane has to make room that works for so many recipients. `moves` counts what moves on its
    /// connection: octets read, blocks written.
    pub(super) async fn must_make_room(&self, recipients: usize, moves: &AtomicU64, dot: &AtomicBool) {
        loop {
            let seen = moves.load(Ordering::Relaxed);
            sleep(self.hang_after() * SILENCE).await;
            let silent = moves.load(Ordering::Relaxed) == seen && !dot.load(Ordering::Acquire);
            if silent && self.is_pressed() {
                // It counts at once, not at the next look: no more make room than have to.
                let fewer = |in_hand: usize| Some(in_hand.saturating_sub(recipients));
                let in_hand = &self.hanging.in_hand;
                let _ = in_hand.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
                return;
            }
        }
    }

    /// Whether others cannot go on: they wait for a connection, or what is in the hands of lanes is itself too much.
    fn is_pressed(&self) -> bool {
        self.someone_starves() || self.hanging.in_hand() > self.window.limit() / ALL
    }
}

impl Lane {
    /// Makes room for others; its job was given back.
    pub(super) async fn make_room(&mut self) {
        self.hang_up();
        let text = "nothing moved on the connection while others waited for one";
        let reply = Reply::new(451, Enhanced(4, 4, 2), text);
        self.take_down(reply, None, Instant::now()).await;
    }
}
