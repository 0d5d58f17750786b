//! The counter where reception hands messages in and delivery takes them out.
//!
//! New mail goes straight to delivery while delivery has room: it is stored as leased to it, and offered
//! after the commit together with its body, so that nothing is read back. Mail for next hops that are left alone for a while
//! is stored as deferred, and not touched again until it is due. Other mail waits in the store and delivery is woken.

use crate::id::QueueId;
use crate::message::{
    Attempt, Beginning, Claim, Deferral, NewMessage, NewRecipient, Outcome, RecipientResult,
};
use crate::spool::Spool;
use crate::store::{Shared, Store, StoreError, Term};
use jiff::Timestamp;
use parking_lot::RwLock;
use smtp_observe::TraceContext;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long new mail is leased to delivery. Delivery renews what it still works on.
const FIRST_LEASE: Duration = Duration::from_secs(60);

/// What delivery says of a message that is about to be stored.
#[derive(Debug)]
pub enum Intake {
    /// It has room for it: the message is stored as leased, and offered after the commit.
    Room,
    /// It has not: the message waits in the store.
    NoRoom,
    /// An operator suspended it: the message is stored as parked until then.
    Park(Timestamp),
    /// Attempts would be in vain now: the message is stored as deferred, for each recipient as said.
    Defer(Vec<Deferral>),
}

/// A message that was stored as deferred.
#[derive(Debug)]
pub struct Deferred {
    /// Its id.
    pub id: QueueId,
    /// When reception began.
    pub received_at: Timestamp,
    /// The trace that its application named.
    pub traceparent: Option<TraceContext>,
    /// Its recipients.
    pub recipients: Vec<NewRecipient>,
    /// What each of them was told, in their order.
    pub deferrals: Vec<Deferral>,
}

/// Delivery's side of the counter: takes new mail without it being read back.
pub trait Handoff: Send + Sync + std::fmt::Debug {
    /// What is to become of a message.
    fn intake(&self, message: &NewMessage) -> Intake;
    /// A message was committed as [`Intake::Defer`] said.
    fn deferred(&self, message: &Deferred);
    /// A committed message, leased to delivery. Must not block.
    fn offer(&self, claim: Claim);
    /// There is work in the store that was not offered.
    fn wake(&self);
    /// An operator made mail due: it is tried now, at next hops that are left alone for a while too.
    fn retry_now(&self) {
        self.wake();
    }
}

/// Delivery while it is connected; shared by all clones of a queue.
type Connected = Arc<RwLock<Option<Arc<dyn Handoff>>>>;

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    spool: Spool,
    handoff: Connected,
    /// What the servers that share the store tell each other.
    shared: Option<watch::Receiver<Shared>>,
}

impl Queue {
    /// A queue over a store.
    pub fn new(store: Arc<dyn Store>, spool: Spool) -> Self {
        Queue {
            shared: store.shared(),
            store,
            spool,
            handoff: Arc::default(),
        }
    }

    /// Connects delivery. Until then, and after [`Queue::disconnect`], new mail waits in the store.
    pub fn connect(&self, handoff: Arc<dyn Handoff>) {
        // What was stored before has nobody else to tell of it.
        handoff.wake();
        *self.handoff.write() = Some(handoff);
    }

    /// Stops offering new mail (the drain).
    pub fn disconnect(&self) {
        *self.handoff.write() = None;
    }

    /// Tells delivery that an operator made mail due.
    pub fn retry_now(&self) {
        if let Some(handoff) = self.handoff.read().as_ref() {
            handoff.retry_now();
        }
    }

    /// Tells delivery that there is work in the store.
    pub fn wake(&self) {
        if let Some(handoff) = self.handoff.read().as_ref() {
            handoff.wake();
        }
    }

    /// How many servers of the store there are now, this one among them.
    pub fn servers(&self) -> usize {
        let servers = self.shared.as_ref().map_or(1, |shared| shared.borrow().servers);
        servers.max(1)
    }

    /// Whether there are other servers of the same store now.
    pub fn is_shared(&self) -> bool {
        self.servers() > 1
    }

    /// This server's share of something that all servers of the store have together: at least 1, unless there is none of it.
    pub fn share(&self, of_all: u64) -> u64 {
        of_all.div_ceil(self.servers() as u64)
    }

    /// How long results that nobody waits for are kept for company, so that one change writes many. Nothing for a store of our own, which
    /// gathers what comes to it. Before one that servers share 12 ms for each of them, 100 ms at most: all together write about as often as one.
    pub fn company(&self) -> Duration {
        self.shared
            .as_ref()
            .map_or(Duration::ZERO, |_| company_of(self.servers()))
    }

    /// What the store's clock shows; see [`Store::now`].
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// A lease from `now` on, which was just read from the store's clock. A store of our own keeps to that moment, so that it goes by what its
    /// caller has looked at; of a shared one the clock itself decides.
    pub fn lease(&self, length: Duration, now: Timestamp) -> Term {
        let now = self.shared.is_none().then_some(now);
        Term { length, now }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where bodies are written while they are received.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Stores a message. When this returns `Ok`, it is on stable storage.
    ///
    /// # Errors
    /// As [`Store::insert`]. Nothing of it is kept, its body file included, unless the answer to a COMMIT was lost for good: then it may be found
    /// later, and delivered besides what its sender sends again.
    ///
    /// When the future is dropped before it ends, the message may or may not be stored; if it is, delivery finds it when the first lease ends.
    pub async fn submit(&self, message: NewMessage) -> Result<(), StoreError> {
        let Some(handoff) = self.handoff.read().clone() else {
            return self.store.insert(message, Beginning::Due).await.map(drop);
        };
        match handoff.intake(&message) {
            Intake::Room => {
                let (body, lease) = (message.body.clone(), self.lease(FIRST_LEASE, self.now()));
                let claim = self.store.insert(message, Beginning::Leased(lease)).await?;
                if let Some(mut claim) = claim {
                    claim.body = Some(body);
                    self.offer(claim).await;
                }
            }
            Intake::NoRoom => {
                self.store.insert(message, Beginning::Due).await?;
                handoff.wake();
            }
            Intake::Park(until) => {
                self.store.insert(message, Beginning::Parked(until)).await?;
            }
            Intake::Defer(deferrals) => {
                let deferred = Deferred {
                    id: message.id,
                    received_at: message.received_at,
                    traceparent: message.options.traceparent,
                    recipients: message.recipients.clone(),
                    deferrals: deferrals.clone(),
                };
                self.store.insert(message, Beginning::Deferred(deferrals)).await?;
                handoff.deferred(&deferred);
            }
        }
        Ok(())
    }

    /// Offers a claim to whoever is connected now; the drain may have begun since its commit.
    async fn offer(&self, claim: Claim) {
        let handoff = self.handoff.read().clone();
        match handoff {
            Some(handoff) => handoff.offer(claim),
            None => self.give_back(&claim).await,
        }
    }

    async fn give_back(&self, claim: &Claim) {
        let due = self.now();
        let results = claim.recipients.iter().map(|claimed| RecipientResult {
            attempt: Attempt {
                message: claim.message.key,
                recipient: claimed.recipient.index,
                epoch: claimed.epoch,
            },
            outcome: Outcome::Released { due },
            text: String::new(),
            calls: Vec::new(),
        });
        // If this fails the lease ends by itself; the store has reported the failure.
        let _ = self.store.finish(results.collect(), Vec::new()).await;
    }
}

/// How long the results of each of so many servers wait for company.
fn company_of(servers: usize) -> Duration {
    /// A transaction of twelve statements is worth it (`docs/decisions/0008-postgresql.md`).
    const ONE: Duration = Duration::from_millis(12);
    /// What is delivered meanwhile comes twice when the server is killed.
    const LONGEST: Duration = Duration::from_millis(100);
    let servers = u32::try_from(servers).unwrap_or(u32::MAX);
    ONE.saturating_mul(servers).min(LONGEST)
}

#[cfg(test)]
mod tests;
