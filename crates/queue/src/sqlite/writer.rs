//! The writer thread: gathers operations, has them committed, answers.

use super::commit::{Effects, Failure, Load, Step, Work, transact};
use super::counters::Counters;
use crate::outbox::Overflow;
use crate::spool::Spool;
use crate::store::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use smtp_observe::{Event, Observer};
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Most operations in one transaction.
const MAX_OPERATIONS: usize = 512;
/// Octets after which a transaction takes no more operations.
const MAX_OCTETS: usize = 4 * 1024 * 1024;
/// Operations in one transaction that mean many callers at once: then the next one waits [`CROWDED`] for company too.
/// Measured in docs/decisions/0001-durability.md.
const CROWD: usize = 4;
/// How long a crowd is waited for.
const CROWDED: Duration = Duration::from_micros(300);
/// Operations that are worth a transaction of their own …
const COMPANY: usize = 64;
/// … and how long fewer of them wait for others, when no client waits.
const LINGER: Duration = Duration::from_millis(3);
/// Octets written, by estimate, after which the log is copied into the database.
const CHECKPOINT_OCTETS: usize = 16 * 1024 * 1024;
/// What an operation writes beside its body, by estimate.
const OVERHEAD: usize = 1024;
/// The log is copied after so long without work.
const IDLE: Duration = Duration::from_secs(1);

/// What the thread is sent.
pub(super) enum Request {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// All that the thread owns.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) requests: Receiver<Request>,
    pub(super) counters: Arc<Mutex<Counters>>,
    pub(super) observer: Observer,
    pub(super) spool: Spool,
    pub(super) next_key: i64,
    /// Octets in the log since it was last copied, by estimate.
    pub(super) logged: usize,
    /// Operations in the last transaction.
    pub(super) last_batch: usize,
    pub(super) overflow: Overflow,
    pub(super) calls_stored: watch::Sender<()>,
    /// Held while the thread lives: nobody else writes.
    pub(super) lock: File,
}

/// What ended a round of gathering.
enum Gathered {
    Batch(Vec<Box<dyn Work>>),
    BatchThenClose(Vec<Box<dyn Work>>, oneshot::Sender<Result<(), StoreError>>),
    Idle,
    Gone,
}

impl Writer {
    /// Works until it is closed or the store is dropped.
    pub(super) fn run(mut self) {
        loop {
            match self.gather() {
                Gathered::Batch(batch) => self.commit(batch),
                Gathered::Idle => self.checkpoint(),
                Gathered::BatchThenClose(batch, reply) => {
                    self.commit(batch);
                    return self.close(reply);
                }
                Gathered::Gone => return,
            }
        }
    }

    /// Waits for work, then takes all that is there, within bounds.
    fn gather(&self) -> Gathered {
        let first = if self.logged == 0 {
            self.requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            self.requests.recv_timeout(IDLE)
        };
        if self.last_batch >= CROWD {
            std::thread::sleep(CROWDED);
        }
        let mut next = match first {
            Ok(request) => Some(request),
            Err(RecvTimeoutError::Timeout) => return Gathered::Idle,
            Err(RecvTimeoutError::Disconnected) => return Gathered::Gone,
        };
        let (mut batch, mut total) = (
            Vec::new(),
            Load {
                patient: true,
                ..Load::default()
            },
        );
        let deadline = Instant::now() + LINGER;
        while let Some(request) = next {
            match request {
                Request::Close(reply) => return Gathered::BatchThenClose(batch, reply),
                Request::Work(work) => {
                    add(&mut total, work.load());
                    batch.push(work);
                }
            }
            if batch.len() >= MAX_OPERATIONS || total.octets >= MAX_OCTETS {
                break;
            }
            next = self.requests.try_recv().ok();
            if next.is_none() && total.patient && batch.len() < COMPANY {
                let wait = deadline.saturating_duration_since(Instant::now());
                next = self.requests.recv_timeout(wait).ok();
            }
        }
        Gathered::Batch(batch)
    }

    /// Commits a batch together, or failing that each operation by itself, and answers.
    fn commit(&mut self, mut batch: Vec<Box<dyn Work>>) {
        self.last_batch = batch.len();
        let Err(together) = self.commit_together(&mut batch) else {
            self.after_commit();
            return;
        };
        let mut reported = false;
        for work in batch {
            let mut alone = vec![work];
            let failure = if together.step == Step::Begin {
                // No operation is to blame, and each would wait for the lock again.
                together.clone()
            } else {
                match self.commit_together(&mut alone) {
                    Ok(()) => continue,
                    Err(failure) => failure,
                }
            };
            for work in alone {
                // One line for a batch: a full disk fails hundreds in a second.
                if !std::mem::replace(&mut reported, true) {
                    self.observer.emit(Event::StoreFailed {
                        operation: work.name(),
                        error: &failure.error.to_string(),
                    });
                }
                work.fail(failure.error.clone(), together.known && failure.known);
            }
        }
        // If the disk is full, copying the log lets it start over: room for deletions.
        self.checkpoint();
    }

    /// On success the batch is empty: everybody was answered.
    fn commit_together(&mut self, batch: &mut Vec<Box<dyn Work>>) -> Result<(), Failure> {
        let mut total = Load::default();
        batch.iter().for_each(|work| add(&mut total, work.load()));
        let start = Instant::now();
        let effects = transact(&self.db, &mut self.next_key, &self.counters, batch)?;
        let duration = start.elapsed();
        self.counters.lock().add(&effects.counters);
        self.logged += total.octets + batch.len() * OVERHEAD;
        batch.drain(..).for_each(|work| work.succeed());
        self.follow_up(effects);
        if total.messages + total.results > 0 {
            let (messages, results) = (total.messages, total.results);
            self.observer.emit(Event::Committed {
                messages,
                results,
                duration,
            });
        }
        Ok(())
    }

    fn follow_up(&mut self, effects: Effects) {
        self.overflow.add(effects.calls_dropped);
        self.overflow.say(&self.observer);
        if effects.calls_stored {
            self.calls_stored.send_replace(());
        }
        for id in effects.unlink {
            // A file that stays is removed at the next start.
            let _ = std::fs::remove_file(self.spool.body_path(id));
        }
        for (id, action) in effects.operated {
            self.observer.emit(action.event(&id.to_string()));
        }
        for (id, reason) in &effects.quarantined {
            self.observer.emit(Event::Quarantined { id, reason });
        }
    }

    fn after_commit(&mut self) {
        if self.logged >= CHECKPOINT_OCTETS {
            self.checkpoint();
        }
    }

    /// Copies the log into the database. Not within a commit, so that nobody waits for it alone.
    fn checkpoint(&mut self) {
        self.logged = 0;
        self.overflow.say(&self.observer);
        if let Err(error) = self
            .db
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        {
            self.observer.emit(Event::StoreFailed {
                operation: "checkpoint",
                error: &error.to_string(),
            });
        }
        let pages = |name: &str| self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        if let (Ok(free), Ok(size)) = (pages("freelist_count"), pages("page_size")) {
            self.spool.set_reusable(free.saturating_mul(size).unsigned_abs());
        }
    }

    fn close(self, reply: oneshot::Sender<Result<(), StoreError>>) {
        let Writer {
            db, requests, lock, ..
        } = self;
        // Whoever still waits, or comes now, is told `Closed` by the end of its channel.
        drop(requests);
        db.flush_prepared_statement_cache();
        let truncated = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let closed = db.close().map_err(|(_, error)| error);
        drop(lock);
        let result = truncated
            .and(closed)
            .map_err(|error| super::error::store_error(&error));
        let _ = reply.send(result);
    }
}

fn add(total: &mut Load, load: Load) {
    total.messages += load.messages;
    total.results += load.results;
    total.octets += load.octets;
    total.patient &= load.patient;
}
