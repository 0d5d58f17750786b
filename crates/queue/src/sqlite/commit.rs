//! The commit: the one place where a change becomes durable.
//!
//! Why nothing that was promised can be lost:
//!
//! 1. A large body is complete, synced and named durably before its message comes here
//!    (`spool::files`). Small ones come with the message, in memory.
//! 2. Only the writer thread changes the database; it holds the spool's lock for as long as it lives. So
//!    no two changes interleave, in this process or in another.
//! 3. It gathers what waits and runs it in one transaction. Nobody is answered before COMMIT returned. SQLite in
//!    WAL mode with `synchronous=FULL` returns from COMMIT after it synced the log up to and with the frame that ends the
//!    transaction. After a crash, the log is replayed to the last such frame whose checksum holds: the transaction is there whole, or not at all.
//! 4. If anything fails before COMMIT returned, everything is rolled back, and each operation is tried
//!    again in a transaction of its own: one that cannot be done does not hurt its neighbours, and a small deletion may
//!    still succeed where a large insertion finds the disk full. An operation changes nothing outside of its transaction until it is
//!    committed, so that trying again is safe: counters, events and files to remove are gathered in [`Change`] and dropped with it.
//! 5. If COMMIT itself fails, SQLite goes back to the transaction before, and the waiter is told of a failure. On a full
//!    disk the frame that ends the transaction was not written: the change is nowhere. After any other error (the log
//!    was written, but could not be synced) a crash right then may leave the change in the log: then a client that was answered 451 sends
//!    its message twice. That is a duplicate, never a loss; the body's file is left alone for that case. Trying again writes
//!    all frames of the transaction anew, so that nothing depends on a page that a failed sync has forgotten.
//! 6. After COMMIT: answers, then removal of the files whose rows are gone. A crash between
//!    the two leaves files without rows, which the next start removes.
//! 7. The checkpoint copies the log into the database, syncs it, and only then lets the log start over; SQLite does this,
//!    and does it again from the log if it is interrupted.
//!
//! An answer that nobody awaits any more (a session went away) changes nothing: the message is
//! committed, and delivery finds it when its lease ends.

use super::counters::Counters;
use super::error::store_error;
use crate::id::QueueId;
use crate::operator::Action;
use crate::store::StoreError;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// What one operation asks of the transaction that it is in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Messages it stores.
    pub(super) messages: usize,
    /// Results it writes.
    pub(super) results: usize,
    /// Octets it writes.
    pub(super) octets: usize,
    /// It may wait some milliseconds for others, since no client does.
    pub(super) patient: bool,
}

/// One change of the store.
pub(super) trait Operation: Send + 'static {
    /// What its caller is told.
    type Output: Send;
    /// For the log.
    const NAME: &'static str;
    /// What it asks of its transaction; little, if it does not say.
    fn load(&self) -> Load {
        Load::default()
    }
    /// Does it, within a transaction. May be called again after a rollback.
    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Self::Output>;
    /// It was not done and never will be.
    fn abandon(&self) {}
}

/// A transaction in progress, and what follows from it once it is committed.
pub(super) struct Change<'a> {
    pub(super) db: &'a Connection,
    next_key: &'a mut i64,
    /// As they were before this transaction.
    counters: &'a Mutex<Counters>,
    pub(super) effects: Effects,
}

/// What is done after the commit.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) counters: Counters,
    /// Messages whose body files go.
    pub(super) unlink: Vec<QueueId>,
    /// What could not be read: id and reason.
    pub(super) quarantined: Vec<(String, String)>,
    /// What operators touched, and what they did.
    pub(super) operated: Vec<(QueueId, Action)>,
    pub(super) calls_stored: bool,
    /// Calls that had no room, by webhook.
    pub(super) calls_dropped: BTreeMap<String, u64>,
}

impl Change<'_> {
    /// A key that no message of this process ever had: were keys used again, a late
    /// result for a message that is gone could hit the one that got its key.
    pub(super) fn new_key(&mut self) -> i64 {
        let key = *self.next_key;
        *self.next_key += 1;
        key
    }

    /// Calls that wait for a webhook.
    pub(super) fn calls_waiting(&self, webhook: &str) -> u64 {
        let before = self.counters.lock().calls_of(webhook);
        u64::try_from(before + self.effects.counters.calls_of(webhook)).unwrap_or(0)
    }

    /// Runs a statement of fixed text.
    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.db.prepare_cached(sql)?.execute(params)
    }
}

/// An operation with its caller, whatever its type.
pub(super) trait Work: Send {
    fn name(&self) -> &'static str;
    fn load(&self) -> Load;
    fn attempt(&mut self, change: &mut Change<'_>) -> rusqlite::Result<()>;
    fn succeed(self: Box<Self>);
    /// `known`: it is certain that nothing of it will be found later.
    fn fail(self: Box<Self>, error: StoreError, known: bool);
}

struct Waiting<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: oneshot::Sender<Result<O::Output, StoreError>>,
}

/// An operation as the writer takes it, and where its answer will be.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

pub(super) fn waiting<O: Operation>(operation: O) -> (Box<dyn Work>, Answer<O::Output>) {
    let (reply, answer) = oneshot::channel();
    (
        Box::new(Waiting {
            operation,
            output: None,
            reply,
        }),
        answer,
    )
}

impl<O: Operation> Work for Waiting<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }
    fn load(&self) -> Load {
        self.operation.load()
    }
    fn attempt(&mut self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        self.output = Some(self.operation.run(change)?);
        Ok(())
    }
    fn succeed(self: Box<Self>) {
        let _ = self.reply.send(self.output.ok_or(StoreError::Closed));
    }
    fn fail(self: Box<Self>, error: StoreError, known: bool) {
        if known {
            self.operation.abandon();
        }
        let _ = self.reply.send(Err(error));
    }
}

/// Why a transaction was rolled back.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) step: Step,
    /// It is certain that the change will not be found after a crash.
    pub(super) known: bool,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The transaction could not be begun: the database is locked or away, for everybody.
    Begin,
    /// An operation.
    Change,
    Commit,
}

impl Failure {
    pub(super) fn new(error: &rusqlite::Error, step: Step) -> Self {
        let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        Failure {
            error: store_error(error),
            step,
            known: full || step != Step::Commit,
        }
    }
}

/// Runs operations in one transaction. `Ok` means that all of them are on stable storage, an
/// error that none is.
pub(super) fn transact(
    db: &Connection,
    next_key: &mut i64,
    counters: &Mutex<Counters>,
    batch: &mut [Box<dyn Work>],
) -> Result<Effects, Failure> {
    begin(db).map_err(|error| Failure::new(&error, Step::Begin))?;
    let mut change = Change {
        db,
        next_key,
        counters,
        effects: Effects::default(),
    };
    let mut result = Ok(());
    for work in batch {
        result = work
            .attempt(&mut change)
            .map_err(|error| Failure::new(&error, Step::Change));
        if result.is_err() {
            break;
        }
    }
    let Change { effects, .. } = change;
    let result =
        result.and_then(|()| command(db, "COMMIT").map_err(|error| Failure::new(&error, Step::Commit)));
    match result {
        Ok(()) => Ok(effects),
        Err(failure) => {
            // Some errors roll back by themselves. If this fails, `begin` tries again.
            if !db.is_autocommit() {
                let _ = command(db, "ROLLBACK");
            }
            Err(failure)
        }
    }
}

fn begin(db: &Connection) -> rusqlite::Result<()> {
    if !db.is_autocommit() {
        command(db, "ROLLBACK")?;
    }
    command(db, "BEGIN IMMEDIATE")
}

fn command(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.raw_execute().map(|_| ())
}
