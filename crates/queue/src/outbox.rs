//! The outbox: what webhooks are to be told, kept beside the results that it is about.
//!
//! A call is stored in the change that its event is stored in ([`RecipientResult::calls`], [`Deferral::calls`]), so that neither is there without
//! the other. It is claimed, made, and goes when it was taken; one whose claim ended is made again: each is told at least once.
//!
//! [`RecipientResult::calls`]: crate::RecipientResult::calls
//! [`Deferral::calls`]: crate::Deferral::calls

use crate::id::QueueId;
use crate::store::{Store, StoreError};
use async_trait::async_trait;
use jiff::Timestamp;
use smtp_observe::{Event, Observer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most calls that wait for one webhook; further ones are dropped and counted.
pub(crate) const MOST_CALLS: u64 = 100_000;

/// How often drops are said.
const SAY: Duration = Duration::from_secs(10);
/// Calls that had no room: said every 10 seconds at most.
#[derive(Debug, Default)]
pub(crate) struct Overflow {
    unsaid: BTreeMap<String, u64>,
    said: Option<Instant>,
}

impl Overflow {
    pub(crate) fn add(&mut self, dropped: BTreeMap<String, u64>) {
        for (webhook, calls) in dropped {
            *self.unsaid.entry(webhook).or_default() += calls;
        }
    }

    pub(crate) fn say(&mut self, observer: &Observer) {
        if self.unsaid.is_empty() || self.said.is_some_and(|said| said.elapsed() < SAY) {
            return;
        }
        self.said = Some(Instant::now());
        for (webhook, calls) in std::mem::take(&mut self.unsaid) {
            observer.emit(Event::WebhookDropped {
                webhook: &webhook,
                calls,
                reason: "too many calls wait already",
            });
        }
    }
}

/// A call that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCall {
    /// Whom it is for: a name of the configuration.
    pub webhook: String,
    /// The event's id: the same for every webhook that is told of it, and in every try.
    pub event: QueueId,
    /// What is said, octet for octet.
    pub body: String,
}

/// A claimed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The store's own key.
    pub key: i64,
    /// The event's id.
    pub event: QueueId,
    /// When the event was.
    pub created: Timestamp,
    /// Which try this is, from 1; it fences results of earlier ones.
    pub tries: u32,
    /// What is said.
    pub body: String,
}

/// What became of a claimed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallResult {
    /// [`Call::key`].
    pub key: i64,
    /// [`Call::tries`].
    pub tries: u32,
    /// How it ended.
    pub outcome: CallOutcome,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The call goes: it was taken, or never will be.
    Done,
    /// It is tried again then.
    Again(Timestamp),
    /// It was not tried: it is as it was before, and due then.
    Released(Timestamp),
}

/// What waits for one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallsWaiting {
    /// Its name; perhaps of one that is not configured any more.
    pub webhook: String,
    /// How many calls.
    pub calls: u64,
    /// When the oldest's event was.
    pub oldest: Timestamp,
}

/// A store that keeps calls beside messages.
#[async_trait]
pub trait Outbox: Store {
    /// Claims calls of a webhook that are due, or whose claim ended, the longest due first. Where others may have claimed them, claims that ended
    /// are left alone for half a minute after nobody reached the store: whoever made such a call can say so meanwhile.
    async fn claim_calls(
        &self,
        webhook: String,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Call>, StoreError>;

    /// Writes what became of claimed calls. A result of a call that was claimed again since changes nothing.
    async fn finish_calls(&self, results: Vec<CallResult>) -> Result<(), StoreError>;

    /// Stores calls that are about nothing that is stored with them: they come from another store. One that is there already, of the same event
    /// for the same webhook, is left out: a move that was broken off is begun again. Gives how many there was no room for.
    async fn add_calls(&self, calls: Vec<NewCall>) -> Result<u64, StoreError>;

    /// Makes calls of a webhook due that wait and are not claimed. Gives how many.
    async fn retry_calls(&self, webhook: String, now: Timestamp) -> Result<u64, StoreError>;

    /// When the next call of a webhook is due, or its claim ends, as far as it may be claimed then.
    async fn next_call(&self, webhook: String) -> Result<Option<Timestamp>, StoreError>;

    /// Forgets calls of events before that, of webhooks that are not configured any more too. Gives how many by webhook.
    async fn expire_calls(&self, before: Timestamp) -> Result<Vec<(String, u64)>, StoreError>;

    /// Tells when calls were stored by this process.
    fn calls_stored(&self) -> watch::Receiver<()>;

    /// What waits, by webhook.
    async fn calls_waiting(&self) -> Result<Vec<CallsWaiting>, StoreError>;
}
