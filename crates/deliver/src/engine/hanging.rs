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
//! Destinations whose mail waits for `delivery.max_rate_per_destination` share that half with those that hang, and nothing else is done to
//! them: they may wait for hours, and would leave no room for the others.

use super::lane::Lane;
use super::{Engine, Entry, Stop};
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
    /// The same, and what destinations have that wait for their rate.
    set_apart: AtomicUsize,
    share: AtomicUsize,
    /// Told when it is something else than before.
    pub(super) changed: Notify,
}

impl Hanging {
    /// Nothing hangs.
    pub(super) fn none(window: usize) -> Self {
        Hanging {
            in_hand: AtomicUsize::new(0),
            set_apart: AtomicUsize::new(0),
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
        self.set_apart.load(Ordering::Relaxed)
    }

    /// How many of them one destination may have.
    pub(super) fn share(&self) -> usize {
        self.share.load(Ordering::Relaxed)
    }
}

/// For how long mail goes back that a destination that hangs has no share for.
pub(super) fn away() -> Duration {
    spread(AWAY, dice())
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

    /// Takes from those that hang, or wait for their rate, what is beyond their share.
    fn look_for_hanging(&self) {
        let now = Instant::now();
        let after = self.hang_after();
        let hangs_or_waits = |entry: Arc<Entry>| {
            let state = entry.state.lock();
            let hangs = state.hangs(now, after);
            let apart = hangs || state.waits_for_rate(now);
            drop(state);
            apart.then_some((entry, hangs))
        };
        let apart: Vec<(Arc<Entry>, bool)> = self.entries().into_iter().filter_map(hangs_or_waits).collect();
        let window = self.window.limit();
        let share = (window / ALL / apart.len().max(1)).clamp(1, window / ONE);
        self.hanging.share.store(share, Ordering::Relaxed);
        let (mut in_hand, mut set_apart) = (0, 0);
        for (entry, hangs) in apart {
            let beyond = entry.state.lock().shed(share);
            for mut job in beyond {
                let pause = match hangs {
                    true => away(),
                    false => entry.state.lock().turn_in_store(now),
                };
                self.put_off(&mut job, pause);
            }
            let kept = entry.state.lock().in_hand();
            set_apart += kept;
            in_hand += if hangs { kept } else { 0 };
        }
        self.hanging.in_hand.store(in_hand, Ordering::Relaxed);
        if self.hanging.set_apart.swap(set_apart, Ordering::Relaxed) != set_apart {
            self.hanging.changed.notify_one();
        }
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
