//! The store inside the process: SQLite in WAL mode with `synchronous=FULL`, one writer thread, group commit.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `open` | file system, lock, schema and its migrations |
//! | `recover` | what the last process left |
//! | `store` | the contract, kept by what follows |
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
mod store;
mod suspensions;
mod tokens;
mod writer;

use crate::limits;
use crate::operator::Action;
use crate::spool::{Folders, Spool, file_error, folder_of, lock};
use crate::store::{Filter, StoreError};
use commit::{Operation, waiting};
use counters::Counters;
use filter::Condition;
use operate::Operate;
use parking_lot::Mutex;
use read::Readers;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
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
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`] on a file system that is no local disk; [`StoreError::Damaged`] when the database is damaged, is none of a
    /// spool's, or was written by a newer version; [`StoreError::Unavailable`] while another process has it; [`StoreError::Full`].
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
            .ask(move |db| read::keys(db, &condition, after, limits::OPERATED))
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

#[cfg(test)]
mod tests;
