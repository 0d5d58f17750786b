//! The mail in hand: how much of it, under which leases, with how many bodies in memory.
//!
//! A recipient is in hand from the moment it is taken on until its result is written; its
//! [`Lease`] lives exactly as long, in the job and then in the result, and takes itself off these
//! books when the last of both is gone. So memory is bounded by `delivery.max_in_hand` whatever the queue's length.

use super::moment::{End, MARGIN, Moment};
use jiff::Timestamp;
use parking_lot::Mutex;
use smtp_queue::{Attempt, Body, Claim, Steady, Store};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a lease is, from its claim or its last renewal.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// A lease that ends sooner than this is renewed with the others: all but those that are just a few seconds old.
const RENEW_BELOW: Duration = Duration::from_secs(55);

/// The books.
#[derive(Debug)]
pub(super) struct Window {
    store: Arc<dyn Store>,
    /// Most recipients in hand.
    limit: usize,
    recipients: AtomicUsize,
    body_octets: AtomicUsize,
    body_limit: usize,
    serial: AtomicU64,
    leases: Mutex<Leases>,
    wanted: AtomicUsize,
    room: Notify,
}

/// The leases of what is in hand.
#[derive(Debug)]
struct Leases {
    by_serial: HashMap<u64, Weak<Lease>>,
    /// None of them ends before that.
    first_end: Option<End>,
}

impl Window {
    /// Nothing in hand of a store, and at most `limit` recipients; bodies kept in memory are to stay under `body_limit` octets.
    pub(super) fn new(store: Arc<dyn Store>, limit: usize, body_limit: usize) -> Self {
        Window {
            store,
            limit,
            recipients: AtomicUsize::new(0),
            body_octets: AtomicUsize::new(0),
            body_limit,
            serial: AtomicU64::new(0),
            leases: Mutex::new(Leases {
                by_serial: HashMap::new(),
                first_end: None,
            }),
            wanted: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    /// What the clocks show now.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            stored: self.store.now(),
            steady: Steady::now(),
        }
    }

    /// Most recipients in hand.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Recipients in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.recipients.load(Ordering::Relaxed)
    }

    /// Recipients that can still be taken on.
    pub(super) fn free(&self) -> usize {
        self.limit.saturating_sub(self.in_hand())
    }

    /// Waits until there is room for so many recipients. One caller at a time.
    pub(super) async fn room_for(&self, recipients: usize) {
        self.wanted.store(recipients, Ordering::SeqCst);
        while self.free() < recipients {
            self.room.notified().await;
        }
        self.wanted.store(0, Ordering::SeqCst);
    }

    /// Puts a claim on the books.
    pub(super) fn lease(self: &Arc<Self>, claim: &Claim) -> Arc<Lease> {
        let attempts: Vec<Attempt> = claim
            .recipients
            .iter()
            .map(|claimed| Attempt {
                message: claim.message.key,
                recipient: claimed.recipient.index,
                epoch: claimed.epoch,
            })
            .collect();
        self.recipients.fetch_add(attempts.len(), Ordering::Relaxed);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let lease = Arc::new(Lease {
            window: self.clone(),
            serial,
            attempts,
            end: Mutex::new(End::of_claim(claim)),
            any_lost: AtomicBool::new(false),
            gone: Mutex::default(),
        });
        let mut leases = self.leases.lock();
        leases.by_serial.insert(serial, Arc::downgrade(&lease));
        let end = End::of_claim(claim);
        leases.first_end = Some(leases.first_end.map_or(end, |first| first.first(end)));
        drop(leases);
        lease
    }

    /// Leases that are to be renewed now.
    pub(super) fn ending(&self, now: Moment) -> Vec<Arc<Lease>> {
        // A lease that ends here takes the lock itself: it is given back before any is let go.
        let held = self.leases.lock();
        let mut leases: Vec<Arc<Lease>> = held.by_serial.values().filter_map(Weak::upgrade).collect();
        drop(held);
        leases.retain(|lease| lease.end.lock().is_within(now, RENEW_BELOW));
        leases
    }

    /// Whether a lease of something in hand may have ended.
    pub(super) fn any_ended(&self, now: Moment) -> bool {
        let first = self.leases.lock().first_end;
        first.is_some_and(|first| first.is_within(now, MARGIN))
    }

    /// Looks again when the first lease ends, after renewals.
    pub(super) fn look_for_first_end(&self) {
        let mut leases = self.leases.lock();
        // Let go after the lock: a lease that ends takes it.
        let held: Vec<Arc<Lease>> = leases.by_serial.values().filter_map(Weak::upgrade).collect();
        leases.first_end = held.iter().map(|lease| *lease.end.lock()).reduce(End::first);
        drop(leases);
    }

    /// Keeps a body at hand if there is memory for it.
    pub(super) fn hold(self: &Arc<Self>, body: Body) -> Option<Arc<HeldBody>> {
        let octets = if let Body::Memory(bytes) = &body {
            bytes.len()
        } else {
            0
        };
        if self.body_octets.fetch_add(octets, Ordering::Relaxed) + octets > self.body_limit {
            self.body_octets.fetch_sub(octets, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(HeldBody {
            body,
            octets,
            window: self.clone(),
        }))
    }
}

/// A lease on some recipients of one message, while any of them is in hand.
#[derive(Debug)]
pub(super) struct Lease {
    window: Arc<Window>,
    serial: u64,
    attempts: Vec<Attempt>,
    end: Mutex<End>,
    any_lost: AtomicBool,
    gone: Mutex<Gone>,
}

/// Recipients of a lease that are in hand no longer, by their places.
#[derive(Debug, Default)]
struct Gone {
    /// Somebody else has them, or an operator deleted them.
    lost: Vec<u32>,
    /// There is a result. Whether it still counts is told when it is written; the store drops the recipient with it, before it answers.
    settled: Vec<u32>,
}

impl Lease {
    /// What the store's clock shows.
    pub(super) fn store_now(&self) -> Timestamp {
        self.window.store.now()
    }

    /// All attempts under it.
    pub(super) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// It was renewed and ends then, but for `lost`: recipients that are not ours any more. Gives how many of them that was not
    /// known of before.
    pub(super) fn renewed(&self, end: End, lost: &HashSet<Attempt>) -> usize {
        *self.end.lock() = end;
        let mut gone = self.gone.lock();
        let before = gone.lost.len();
        for attempt in self.attempts.iter().filter(|attempt| lost.contains(attempt)) {
            if !gone.lost.contains(&attempt.recipient) && !gone.settled.contains(&attempt.recipient) {
                gone.lost.push(attempt.recipient);
            }
        }
        self.any_lost.store(!gone.lost.is_empty(), Ordering::Release);
        gone.lost.len() - before
    }

    /// There are results of these recipients: no renewal takes them for lost any more, when it finds that they were written.
    pub(super) fn settled(&self, recipients: impl IntoIterator<Item = u32>) {
        self.gone.lock().settled.extend(recipients);
    }

    /// Whether the recipient is known to be somebody else's.
    pub(super) fn has_lost(&self, recipient: u32) -> bool {
        self.any_lost.load(Ordering::Acquire) && self.gone.lock().lost.contains(&recipient)
    }

    /// Whether the recipient is still ours. The store's clock is not asked: that it was set does not end a lease for its holder, who renews it
    /// then before anything else.
    pub(super) fn holds(&self, recipient: u32, now: Steady) -> bool {
        self.end.lock().is_held(now) && !self.has_lost(recipient)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let window = &self.window;
        window.leases.lock().by_serial.remove(&self.serial);
        window
            .recipients
            .fetch_sub(self.attempts.len(), Ordering::Relaxed);
        let wanted = window.wanted.load(Ordering::SeqCst);
        if wanted > 0 && window.free() >= wanted {
            window.room.notify_one();
        }
    }
}

/// A body in memory, counted.
#[derive(Debug)]
pub(super) struct HeldBody {
    /// The body.
    pub(super) body: Body,
    octets: usize,
    window: Arc<Window>,
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.window.body_octets.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::later;
    use smtp_observe::Observer;
    use smtp_queue::sqlite::{SqliteSettings, SqliteStore};

    const NOW: Moment = Moment {
        stored: Timestamp::UNIX_EPOCH,
        steady: Steady::START,
    };

    /// A lease of three recipients, asked for at [`NOW`].
    fn lease() -> (tempfile::TempDir, Lease) {
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings {
            path: folder.path().join("smtp.db"),
            min_free: 0,
            memory_budget: 0,
        };
        let (store, _) = SqliteStore::open(settings, Observer::silent()).unwrap();
        let attempts = (0..3).map(|recipient| Attempt {
            message: 7,
            recipient,
            epoch: 1,
        });
        let lease = Lease {
            window: Arc::new(Window::new(store, 10, 0)),
            serial: 0,
            attempts: attempts.collect(),
            end: Mutex::new(End::of_lease(NOW)),
            any_lost: AtomicBool::new(false),
            gone: Mutex::default(),
        };
        lease.window.recipients.fetch_add(3, Ordering::Relaxed);
        (folder, lease)
    }

    fn lost(attempts: &[Attempt]) -> HashSet<Attempt> {
        attempts.iter().copied().collect()
    }

    #[test]
    fn a_lease_is_lost_once() {
        let (_folder, lease) = lease();
        let (attempts, end) = (lease.attempts.clone(), End::of_lease(NOW));
        let of_another = Attempt {
            message: 8,
            ..attempts[0]
        };
        assert_eq!(lease.renewed(end, &HashSet::from([of_another])), 0);
        assert_eq!(lease.renewed(end, &lost(&attempts[..1])), 1);
        assert_eq!(
            lease.renewed(end, &lost(&attempts[..2])),
            1,
            "one of them was known"
        );
        assert!(lease.has_lost(1) && !lease.has_lost(2));
        assert!(!lease.holds(1, NOW.steady) && lease.holds(2, NOW.steady));
    }

    #[test]
    fn what_has_a_result_is_not_lost_by_a_renewal() {
        let (_folder, lease) = lease();
        let (attempts, end) = (lease.attempts.clone(), End::of_lease(NOW));
        lease.settled([0, 1]);
        assert_eq!(
            lease.renewed(end, &lost(&attempts)),
            1,
            "the one without a result"
        );
        assert!(!lease.has_lost(0) && lease.has_lost(2));
    }

    #[test]
    fn a_lease_is_held_for_as_long_as_it_lasts_whatever_is_set() {
        let (_folder, lease) = lease();
        assert!(lease.holds(0, NOW.steady + Duration::from_secs(49)));
        assert!(
            !lease.holds(0, NOW.steady + Duration::from_secs(50)),
            "with a margin"
        );
        let set_forward = Moment {
            stored: later(NOW.stored, Duration::from_secs(7200)),
            steady: NOW.steady + Duration::from_secs(45),
        };
        lease.renewed(End::of_lease(set_forward), &HashSet::new());
        assert!(
            lease.holds(0, NOW.steady + Duration::from_secs(94))
                && !lease.holds(0, NOW.steady + Duration::from_secs(95))
        );
    }
}
