//! The last turn of a server that does not come back: what waits in the store is tried once more, all of it.
//!
//! 1. [`Engine::pause`]: while it is asked whether the server comes back, what is in hand goes on and nothing more is claimed.
//! 2. [`Engine::try_all`]: everything that waits is due, each message once; then claims go on, and back-offs end.
//! 3. [`Engine::nothing_left`]: nothing is in hand, and nothing is due any more: whatever failed has its next try in the future.
//!
//! Held mail stays held, and suspended mail is parked again. Then comes the drain like any other.

use super::Engine;
use super::job::Job;
use crate::schedule::later;
use jiff::Timestamp;
use parking_lot::Mutex;
use smtp_queue::{Filter, Handoff, StoreError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often it is looked whether something is left.
const LOOK: Duration = Duration::from_millis(100);
/// Messages made due in one change, so that results find their way between two.
const PORTION: usize = 1000;

/// What is known of claims, so that none is overlooked between the store and the books.
#[derive(Debug, Default)]
pub(super) struct Claims {
    paused: AtomicBool,
    /// Odd while one is made.
    count: AtomicU64,
    /// What was put off untried is due again until then.
    put_off: Mutex<Option<Timestamp>>,
}

impl Claims {
    /// Whether none is to be made.
    pub(super) fn are_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// One is made, unless none is to be made any more: then gives `false`. It is asked behind the announcement, in one order for everybody
    /// (`SeqCst`): either the pause is seen here, or this claim by whoever paused.
    pub(super) fn begin(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst);
        let may = !self.paused.load(Ordering::SeqCst);
        if !may {
            self.end();
        }
        may
    }

    /// What it brought is in hand.
    pub(super) fn end(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// None is made any more…
    fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// … until now.
    fn go_on(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// How many were made, if none is being made.
    fn settled(&self) -> Option<u64> {
        let count = self.count.load(Ordering::SeqCst);
        count.is_multiple_of(2).then_some(count)
    }
}

impl Engine {
    /// Claims nothing more, and is offered nothing, until [`Engine::try_all`].
    pub(crate) fn pause(&self) {
        self.queue.disconnect();
        self.claims.pause();
    }

    /// Makes everything due that waits and is not held, and begins with it.
    ///
    /// # Errors
    /// The store's. What was due before is tried all the same.
    pub(crate) async fn try_all(&self) -> Result<(), StoreError> {
        // Before anything is claimed: what were tried and failed meanwhile would be made due a second time.
        let made_due = self.make_all_due().await;
        self.claims.go_on();
        if let Some(engine) = self.me.upgrade() {
            self.queue.connect(engine);
        }
        self.retry_now();
        made_due
    }

    async fn make_all_due(&self) -> Result<(), StoreError> {
        let (store, mut filter) = (self.queue.store(), Filter::default());
        while let Some(last) = store.portion(filter.clone(), PORTION).await? {
            filter.up_to = Some(last);
            store.retry(filter.clone(), store.now()).await?;
            filter.behind = Some(last);
            filter.up_to = None;
        }
        Ok(())
    }

    /// Waits until everything was tried.
    pub(crate) async fn nothing_left(&self) {
        while !self.is_all_tried().await {
            sleep(LOOK).await;
        }
    }

    /// The store is asked between two looks at the books: what a result adds, a report say, is due before the result leaves them, and
    /// what the store has handed out is on them before the claim counts as made.
    async fn is_all_tried(&self) -> bool {
        let idle = || self.claims.settled().filter(|_| self.window.in_hand() == 0);
        let Some(claims) = idle() else { return false };
        let now = self.queue.now();
        let from = self.claims.put_off.lock().map_or(now, |until| until.max(now));
        let due = match self.queue.store().next_due().await {
            Ok(due) => due,
            // Its troubles are said by whoever needs it; the handover has an end.
            Err(_) => return false,
        };
        due.is_none_or(|due| due > from) && idle() == Some(claims)
    }

    /// Gives a job back that there is no room for; nobody tried it.
    pub(super) fn put_off(&self, job: &mut Job, pause: Duration) {
        job.release(pause);
        let until = later(self.queue.now(), pause);
        let mut put_off = self.claims.put_off.lock();
        *put_off = Some(put_off.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_claim_begins_behind_a_pause() {
        let claims = Claims::default();
        assert!(claims.begin());
        assert_eq!(claims.settled(), None, "one is being made");
        claims.pause();
        assert_eq!(claims.settled(), None, "it was begun before");
        claims.end();
        let before = claims.settled().unwrap();
        assert!(claims.are_paused() && !claims.begin());
        assert!(
            claims.settled().is_some_and(|count| count >= before),
            "none is being made"
        );
        claims.go_on();
        assert!(!claims.are_paused() && claims.begin());
    }
}
