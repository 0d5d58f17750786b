//! The contract of a store.
//!
//! Promises that every store keeps, and that `conformance` tests:
//!
//! 1. `insert` and `finish` return `Ok` only after the change is on stable storage.
//! 2. A change is whole or absent after a crash at any moment.
//! 3. A recipient is leased to at most one holder: a claim raises its epoch, and a result, a
//!    renewal or a release with an older epoch changes nothing and is reported as fenced.
//! 4. A lease that ended can be claimed again; nothing is lost with a worker. It ends by the store's clock ([`Store::now`]), and not before
//!    its length has passed since it was asked for: its holder measures that by a clock that nobody sets ([`Steady`](crate::Steady)).
//! 5. A message goes when its last recipient is final; its content goes with it, never before.
//! 6. What cannot be read is quarantined, reported and kept.

mod answers;

pub use answers::{Finished, MessageDetail, MessageSummary, Released, ServerInfo, Shared, Stats, Unreadable};

use crate::id::QueueId;
use crate::message::{Attempt, Beginning, Body, Claim, Message, NewMessage, RecipientResult, State};
use crate::operator::{ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::sync::watch;

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

impl StoreError {
    /// Somebody asks for the content of a message that left the queue.
    pub(crate) fn left(id: QueueId) -> StoreError {
        StoreError::Unavailable(format!("message {id} is not in the queue any more"))
    }

    /// Somebody asked for the content of a message, and it cannot be read.
    pub(crate) fn quarantined(id: QueueId, reason: &str) -> StoreError {
        StoreError::Damaged(format!("message {id} was quarantined: {reason}"))
    }
}

/// A lease that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// How long it is.
    pub length: Duration,
    /// What counts as now, by the store's clock. `None`: what that shows when the lease is given, which is right when others share the store.
    pub now: Option<Timestamp>,
}

impl Term {
    /// So long, from when it is given.
    pub fn of(length: Duration) -> Term {
        Term { length, now: None }
    }

    /// When it ends, if it is given at `given`.
    pub(crate) fn end(self, given: Timestamp) -> Timestamp {
        let length = SignedDuration::try_from(self.length).unwrap_or(SignedDuration::from_hours(1));
        let now = self.now.unwrap_or(given);
        now.saturating_add(length).unwrap_or(now)
    }

    /// Its length in milliseconds, as statements add it.
    pub(crate) fn millis(self) -> i64 {
        i64::try_from(self.length.as_millis()).unwrap_or(3_600_000)
    }
}

/// What to claim.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The lease; what is due is due by what counts as now in it.
    pub lease: Term,
    /// Most recipients; of [`Store::claim_selected`] most messages.
    pub limit: usize,
    /// Domains (lower case) that are not wanted now; at most 64.
    pub exclude_domains: Vec<String>,
}

/// Which messages an operator means. Empty means all; what is given must all apply, and what is said of a recipient must
/// apply to one and the same.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// These ids.
    pub ids: Vec<QueueId>,
    /// With a recipient of this domain.
    pub domain: Option<String>,
    /// From this sender; case is ignored. `""` is the null sender, `@domain` every sender of a domain.
    pub sender: Option<String>,
    /// With a recipient in this state.
    pub state: Option<State>,
    /// With this recipient; case is ignored.
    pub recipient: Option<String>,
    /// With a recipient whose last result has this text in it; the case of ASCII letters is ignored.
    pub reason: Option<String>,
    /// Sent by this account.
    pub account: Option<String>,
    /// Received before that.
    pub received_before: Option<Timestamp>,
    /// Received at that time or later.
    pub received_after: Option<Timestamp>,
    /// Behind this key of the store's, in the order in which messages were stored.
    pub behind: Option<i64>,
    /// Not behind this one.
    pub up_to: Option<i64>,
}

/// Durable storage of the queue.
///
/// Every answer can be an error: [`StoreError::Unavailable`] while the database is away, locked, or refuses, [`StoreError::Full`] while its disk is full,
/// [`StoreError::Closed`] from [`Store::close`] on. Then nothing of the change is there, or of one in portions (retry, delete, hold, unhold,
/// release, resume, unpark: 500 messages or recipients each) what came before is, and it can be asked for again; what is known of a COMMIT whose
/// answer was lost, the stores say (`sqlite::commit`, `postgres::lane`).
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// What the store's clock shows. Everything that is stored is in its time: when something is due, when a message was received, until when
    /// something is suspended. Of a store that others share it is the clock of the database, as far as it is known, whatever this machine's
    /// own shows; one that nobody sets but there.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Stores a message, whose recipients begin as said. When they are leased, gives the claim, without body.
    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError>;

    /// Claims recipients that are due, oldest first: queued, deferred, or leased with a lease that ended.
    /// Recipients of one message come as one claim, in their order; at most 10,000 at once. What cannot be read is quarantined and left out.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError>;

    /// Has leases end so much later than now; gives those that were lost.
    async fn renew(&self, attempts: Vec<Attempt>, lease: Term) -> Result<Vec<Attempt>, StoreError>;

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

    /// Messages by id, ascending, after `after`; at most 1,000.
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

    /// Holds the queued and deferred recipients that the filter means (all of a message's, when it says nothing of recipients). Those that
    /// are leased go on. Gives how many messages were touched.
    async fn hold(&self, filter: Filter) -> Result<u64, StoreError>;

    /// Makes held recipients of these messages queued and due. Gives how many messages were touched.
    async fn unhold(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError>;

    /// Claims recipients that the filter means, due or not: queued, deferred or held ones of messages behind `after`, so many
    /// messages at most, and no more than 500; then the key to go on behind, `None` at the end.
    async fn claim_selected(
        &self,
        filter: Filter,
        after: Option<i64>,
        request: ClaimRequest,
    ) -> Result<(Vec<Claim>, Option<i64>), StoreError>;

    /// Of the messages that the filter means, the key of the `limit`-th, or of the last; `None` when there is none. With
    /// [`Filter::behind`] and [`Filter::up_to`] much work is done in portions.
    async fn portion(&self, filter: Filter, limit: usize) -> Result<Option<i64>, StoreError>;

    /// Messages that the filter means by a recipient in one of these states.
    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError>;

    /// Reads the quarantined recipients of these messages, and their contents, again. What can be read now is queued and
    /// due; what cannot stays, with the reason of this time as its last result.
    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError>;

    /// Keeps mail waiting from now on; replaces a suspension of the same kind and name. `false` when there are 1,000 already. What
    /// is under way is not called back.
    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError>;

    /// Ends a suspension. Gives how many recipients that it kept waiting are due now; `None` when there is no such
    /// suspension.
    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError>;

    /// Makes due what a suspension that has ended keeps waiting all the same: a server parked it that had not heard of the end. Changes nothing
    /// while there is one of that kind and name. Gives how many recipients that were.
    async fn unpark(&self, kind: SuspensionKind, name: String, now: Timestamp) -> Result<u64, StoreError>;

    /// Recipients that a suspension of that kind and name keeps waiting, or would if it were not the only one. Of a destination: all that wait
    /// and that no other suspension covers, since the store does not know where mail goes. Those that wait for another destination are
    /// parked again when they come by.
    async fn parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError>;

    /// Every suspension, ended ones included that nobody resumed.
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError>;

    /// Adds a record to the audit trail, durably. The newest 100,000 are kept.
    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError>;

    /// Records of the audit trail with numbers below `before`, newest first; at most 1,000.
    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Stores a token of the admin API, durably; at most 1,000 of them.
    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError>;

    /// Forgets a token; `false` when there is none of that name.
    async fn remove_token(&self, name: String) -> Result<bool, StoreError>;

    /// Every token by name, expired ones included.
    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError>;

    /// Recipients that are not final and that the filter means, by domain and age. Reads the whole queue, in memory that does not grow
    /// with it: 10,000 domains are told apart, and the others are in the total only.
    async fn shape(&self, filter: Filter, by: ShapeBy, now: Timestamp) -> Result<Shape, StoreError>;

    /// Figures of the queue; never scans it. `oldest_due` is `None` while nothing that is due waits.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Since when nothing answers, of a store that is somewhere else.
    fn away(&self) -> Option<Duration> {
        None
    }

    /// How often a store that is somewhere else answered again after it had not: what waits for it may try again. `None` for one that is
    /// always there.
    fn returns(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// What the servers that share it tell each other; `None` for a store that has one server. It is looked at every second, and at once when
    /// another server says that it changed something.
    fn shared(&self) -> Option<watch::Receiver<Shared>> {
        None
    }

    /// Tells all servers that share it to read their configurations again. Gives how often that was said.
    async fn ask_all_to_reload(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Tells the servers that share it that mail was given back, so that they need not find out.
    async fn announce_due(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The servers that share it; `None` for a store that has one server.
    async fn servers(&self) -> Result<Option<Vec<ServerInfo>>, StoreError> {
        Ok(None)
    }

    /// This server drains from now on: the others are to know.
    async fn draining(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Writes durably without changing anything, to know whether changes can be kept now.
    async fn writable(&self) -> Result<(), StoreError>;

    /// Writes out and closes. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}
