//! The store inside the process: SQLite in WAL mode with `synchronous=FULL`, one writer thread, group commit.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `open` | file system, lock, schema and its migrations |
//! | `recover` | what the last process left |
//! | `commit` | one transaction for many callers, and why nothing can be lost |
//! | `writer` | the thread that gathers them |
//! | `insert`, `claim`, `finish`, `operate`, `release` | one file for each kind of change |
//! | `attest` | a write that changes nothing |
//! | `suspensions`, `audit`, `tokens` | what operators keep waiting, what they did, and by what they are known |
//! | `directory` | domains, accounts, aliases and keys that are made at run time |
//! | `outbox` | what webhooks are to be told |
//! | `read`, `shape` | questions, answered beside the writer |
//! | `row`, `filter`, `counters`, `error` | what rows, filters, figures and errors mean |
//!
//! In the folder of the database: `smtp.db`, `smtp.db-wal`, `smtp.db-shm`, `spool.lock`, `bodies/xx/ID`, `bodies/tmp`, `quarantine/`.

mod attest;
mod audit;
mod claim;
mod commit;
mod counters;
mod directory;
mod error;
mod filter;
mod finish;
mod insert;
mod open;
mod operate;
mod outbox;
mod read;
mod recover;
mod release;
mod row;
mod shape;
mod suspensions;
mod tokens;
mod writer;

use crate::id::QueueId;
use crate::message::{Attempt, Beginning, Body, Claim, Message, NewMessage, RecipientResult, State};
use crate::operator::{
    Action, ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded,
};
use crate::parking;
use crate::spool::{Folders, Spool, file_error, folder_of, lock};
use crate::steady::Steady;
use crate::store::{
    ClaimRequest, Filter, Finished, MessageDetail, MessageSummary, Released, Stats, Store, StoreError, Term,
};
use async_trait::async_trait;
use commit::{Operation, waiting};
use counters::Counters;
use filter::Condition;
use jiff::Timestamp;
use operate::Operate;
use parking_lot::Mutex;
use read::{Content, Readers};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use writer::{Request, Writer};

/// How long a connection waits for another that recovers or copies the log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and how to open the store.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The database file; bodies, quarantine and the lock live beside it.
    pub path: PathBuf,
    /// Octets that must stay free on the disk.
    pub min_free: u64,
    /// Octets of received bodies held in memory at once.
    pub memory_budget: usize,
}

/// The SQLite store. Dropping it waits for the commit in progress; leases stay as they are.
#[derive(Debug)]
pub struct SqliteStore {
    /// `None` once the store is being dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    readers: Readers,
    counters: Arc<Mutex<Counters>>,
    calls_stored: watch::Sender<()>,
    spool: Spool,
}

impl SqliteStore {
    /// Opens the store: checks the file system, takes the lock, migrates, recovers. Blocking.
    pub fn open(
        settings: SqliteSettings,
        observer: smtp_observe::Observer,
    ) -> Result<(Arc<Self>, Spool), StoreError> {
        let folder = folder_of(&settings.path);
        open::prepare_folder(&folder)?;
        let lock = lock(&folder)?;
        let folders = Folders::create(&folder)
            .map_err(|error| file_error(&format!("cannot prepare {}", folder.display()), &error))?;
        let db = open::database(&settings, &folder)?;
        let recovered = recover::recover(&db, &settings.path, &folders, &observer)?;
        let spool = Spool::new(folders, settings.min_free, settings.memory_budget);
        let counters = Arc::new(Mutex::new(recovered.counters));
        let calls_stored = watch::Sender::new(());
        let (requests, received) = mpsc::channel();
        let writer = Writer {
            db,
            requests: received,
            counters: Arc::clone(&counters),
            observer,
            spool: spool.clone(),
            next_key: recovered.next_key,
            logged: 1,
            last_batch: 0,
            overflow: crate::outbox::Overflow::default(),
            calls_stored: calls_stored.clone(),
            lock,
        };
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(|| writer.run());
        let thread = thread
            .map_err(|error| StoreError::Unavailable(format!("cannot start the writer thread: {error}")))?;
        let store = SqliteStore {
            requests: Some(requests),
            thread: Some(thread),
            readers: Readers::new(settings.path),
            counters,
            calls_stored,
            spool: spool.clone(),
        };
        Ok((Arc::new(store), spool))
    }

    /// Has an operation committed.
    async fn commit<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        let (work, answer) = waiting(operation);
        self.send(Request::Work(work))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(request).map_err(|_| StoreError::Closed)
    }

    /// The next messages that a condition holds for.
    async fn keys(&self, condition: &Condition, after: i64) -> Result<Vec<i64>, StoreError> {
        let condition = condition.clone();
        self.readers
            .ask(move |db| read::keys(db, &condition, after, operate::BATCH))
            .await
    }

    /// Does something to all messages of a filter, some at a time.
    async fn operate(&self, filter: &Filter, action: Action) -> Result<u64, StoreError> {
        let condition = Condition::new(filter);
        let (mut touched, mut after) = (0, i64::MIN);
        loop {
            let keys = self.keys(&condition, after).await?;
            let Some(&last) = keys.last() else {
                return Ok(touched);
            };
            after = last;
            touched += self
                .commit(Operate {
                    action,
                    condition: condition.clone(),
                    keys,
                })
                .await?;
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.requests = None;
        self.readers.close();
        if let Some(thread) = self.thread.take() {
            // It ends as soon as its channel is empty; the next open needs its lock.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError> {
        insert::check(&message, &self.spool)?;
        let (asked, now) = (Steady::now(), Timestamp::now());
        let insert = insert::Insert {
            message,
            beginning,
            asked,
            now,
        };
        self.commit(insert).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        self.commit(claim::ClaimDue(claim::Wanted::new(request))).await
    }

    async fn renew(&self, attempts: Vec<Attempt>, lease: Term) -> Result<Vec<Attempt>, StoreError> {
        let until = lease.end(self.now());
        self.commit(claim::Renew { attempts, until }).await
    }

    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError> {
        for report in &reports {
            insert::check(report, &self.spool)?;
        }
        self.commit(finish::Finish { results, reports }).await
    }

    async fn body(&self, message: &Message) -> Result<Body, StoreError> {
        let (spool, asked) = (self.spool.clone(), message.clone());
        let content = self
            .readers
            .ask(move |db| read::content(db, &spool, &asked))
            .await?;
        match read::check_file(content).await? {
            Content::Found(body) => Ok(body),
            Content::Gone => Err(StoreError::Unavailable(format!(
                "message {} is not in the queue any more",
                message.id
            ))),
            Content::Unreadable(reason) => {
                let id = message.id.to_string();
                let error = StoreError::Damaged(format!("message {id} was quarantined: {reason}"));
                self.commit(claim::Quarantine {
                    key: message.key,
                    id,
                    reason,
                })
                .await?;
                Err(error)
            }
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.ask(|db| read::next_due(db, false)).await
    }

    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let condition = Condition::new(&filter);
        self.readers
            .ask(move |db| read::list(db, &condition, after, limit))
            .await
    }

    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError> {
        self.readers.ask(move |db| read::show(db, id)).await
    }

    async fn retry(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Retry { now }).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Delete).await
    }

    async fn hold(&self, filter: Filter) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Hold).await
    }

    async fn unhold(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Unhold { now }).await
    }

    async fn claim_selected(
        &self,
        filter: Filter,
        after: Option<i64>,
        request: ClaimRequest,
    ) -> Result<(Vec<Claim>, Option<i64>), StoreError> {
        let condition = Condition::new(&filter);
        let (found, limit) = (condition.clone(), request.limit.min(operate::BATCH));
        let after = after.unwrap_or(i64::MIN);
        let keys = self
            .readers
            .ask(move |db| read::keys(db, &found, after, limit))
            .await?;
        let Some(&last) = keys.last() else {
            return Ok((Vec::new(), None));
        };
        let operation = claim::ClaimSelected {
            condition,
            keys,
            wanted: claim::Wanted::new(request),
        };
        Ok((self.commit(operation).await?, Some(last)))
    }

    async fn portion(&self, filter: Filter, limit: usize) -> Result<Option<i64>, StoreError> {
        let condition = Condition::new(&filter);
        let keys = self
            .readers
            .ask(move |db| read::keys(db, &condition, i64::MIN, limit));
        Ok(keys.await?.last().copied())
    }

    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError> {
        let condition = Condition::new(&filter).in_states(&states);
        self.readers.ask(move |db| read::count(db, &condition)).await
    }

    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError> {
        let quarantined = Condition::new(&filter).in_states(&[State::Quarantined]);
        self.release_readable(quarantined, now).await
    }

    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        self.commit(suspensions::Suspend(suspension)).await
    }

    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        parking::resume(self, kind, &name, now).await
    }

    async fn unpark(&self, kind: SuspensionKind, name: String, now: Timestamp) -> Result<u64, StoreError> {
        parking::unpark(self, kind, &name, now).await
    }

    async fn parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError> {
        parking::count(self, kind, &name).await
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.readers.ask(|db| suspensions::all(db)).await
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.commit(audit::Append(record)).await
    }

    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.readers.ask(move |db| audit::page(db, before, limit)).await
    }

    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        self.commit(tokens::Add(token)).await
    }

    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        self.commit(tokens::Remove(name)).await
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.readers.ask(|db| tokens::all(db)).await
    }

    async fn shape(&self, filter: Filter, by: ShapeBy, now: Timestamp) -> Result<Shape, StoreError> {
        let condition = Condition::new(&filter);
        self.readers
            .ask(move |db| shape::shape(db, &condition, by, now))
            .await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.now();
        let (oldest, due) = self
            .readers
            .ask(move |db| Ok((read::next_due(db, true)?, read::due(db, now)?)))
            .await?;
        let mut stats = self.counters.lock().stats();
        stats.oldest_due = oldest.filter(|due| *due <= now);
        stats.due = due;
        Ok(stats)
    }

    async fn writable(&self) -> Result<(), StoreError> {
        self.commit(attest::Attest).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        // Readers first: the log can only be folded in when nobody reads it.
        self.readers.close();
        let (reply, answer) = oneshot::channel();
        self.send(Request::Close(reply))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

#[cfg(test)]
mod tests;
