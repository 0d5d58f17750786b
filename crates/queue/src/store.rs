//! The contract of a store.
//!
//! Promises that every store keeps, and that `conformance` tests:
//!
//! 1. `insert` and `finish` return `Ok` only after the change is on stable storage.
//! 2. A change is whole or absent after a crash at any moment.
//! 3. A recipient is leased to at most one holder: a claim raises its epoch, and a result, a
//!    renewal or a release with an older epoch changes nothing and is reported as fenced.
//! 4. A lease that ended can be claimed again; nothing is lost with a worker.
//! 5. A message goes when its last recipient is final; its content goes with it, never before.
//! 6. What cannot be read is quarantined, reported and kept.

use crate::id::QueueId;
use crate::message::{
    Attempt, Beginning, Body, Claim, Message, NewMessage, Recipient, RecipientResult, State,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// Why a store could not do something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("no space left on the spool's disk: {0}")]
    Full(String),
    /// Not now: locked, or the database is away.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The place is none where a store can keep its promises.
    #[error("{0}")]
    Unsuitable(String),
    /// The store is damaged, or was written by a newer version.
    #[error("{0}")]
    Damaged(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// What to claim.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The time now.
    pub now: Timestamp,
    /// How long the lease is.
    pub lease: Duration,
    /// Most recipients.
    pub limit: usize,
    /// Domains (lower case) that are not wanted now; at most 64.
    pub exclude_domains: Vec<String>,
}

/// Which messages an operator means. Empty means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// These ids.
    pub ids: Vec<QueueId>,
    /// With a recipient of this domain.
    pub domain: Option<String>,
    /// From this sender (`""` is the null sender).
    pub sender: Option<String>,
    /// With a recipient in this state.
    pub state: Option<State>,
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct MessageSummary {
    /// The message.
    pub message: Message,
    /// Its recipients that are not final; at most 100.
    pub recipients: Vec<Recipient>,
}

/// All of one message but its content.
#[derive(Clone, Debug)]
pub struct MessageDetail {
    /// The message.
    pub message: Message,
    /// All its recipients.
    pub recipients: Vec<Recipient>,
}

/// Figures of the queue, kept incrementally.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Messages with a recipient that is not final.
    pub messages: u64,
    /// Octets of their contents.
    pub bytes: u64,
    /// Recipients by state, in the order of [`State::ALL`].
    pub recipients: [u64; 8],
    /// When the oldest unclaimed recipient became due, if one is.
    pub oldest_due: Option<Timestamp>,
}

/// Durable storage of the queue.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Stores a message, whose recipients begin as said. When they are leased, gives the claim, without body.
    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError>;

    /// Claims recipients that are due, oldest first: queued, deferred, or leased with a lease that ended.
    /// Recipients of one message come as one claim, in their order. What cannot be read is quarantined and left out.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError>;

    /// Extends leases to `until`; gives those that were lost.
    async fn renew(&self, attempts: Vec<Attempt>, until: Timestamp) -> Result<Vec<Attempt>, StoreError>;

    /// Writes results, and stores `reports` (notifications about them, queued and due), all in one change. Gives the ids of messages
    /// that are gone now, and the attempts that were fenced. A fenced result's report is stored all the same.
    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError>;

    /// A message's content. When it is missing or not whole, the message's recipients are quarantined, the caller's
    /// leases on it are lost, and the answer is [`StoreError::Damaged`]. When the message left the queue
    /// meanwhile, or could not be read just now, it is [`StoreError::Unavailable`].
    async fn body(&self, message: &Message) -> Result<Body, StoreError>;

    /// When the next unclaimed recipient is due, or the next lease ends.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Messages by id, ascending, after `after`.
    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError>;

    /// One message.
    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError>;

    /// Makes queued or deferred recipients of these messages due now. Gives how many messages were touched.
    async fn retry(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError>;

    /// Deletes these messages with all their recipients, leased ones too (their results are fenced). Gives how many.
    async fn delete(&self, filter: Filter) -> Result<u64, StoreError>;

    /// Reads the quarantined recipients of these messages, and their contents, again. What can be read now is queued and
    /// due; what cannot stays, with the reason of this time as its last result.
    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError>;

    /// Figures of the queue; never scans it. `oldest_due` is `None` while nothing that is due waits.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Writes out and closes. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// What [`Store::finish`] did.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Messages that left the queue.
    pub removed: Vec<QueueId>,
    /// Results that came too late.
    pub fenced: Vec<Attempt>,
}

/// What [`Store::release`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Messages of which a recipient is queued again.
    pub messages: u64,
    /// Messages of which something still cannot be read.
    pub still: u64,
    /// The first 100 of these.
    pub unreadable: Vec<Unreadable>,
}

/// A message that stays in quarantine, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id, for people: without a readable one the store's own name for it.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}
