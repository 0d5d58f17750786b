//! What happened to every message: the events about it, kept for a while, and searched.
//!
//! It is the third face of events, beside the log and the metrics: a step of a message's history is the log's JSON line about it, so
//! that nobody describes anything twice. Steps gather in memory and are written several times a second, by a thread of its own, to a database of
//! its own, or to one that is shared.
//!
//! * [`buffer`] is where events are put down, [`writer`] the thread that takes them from there.
//! * [`news`] is what a batch of them tells of each message, [`terms`] by what messages are found.
//! * [`database`] is the file: schema, writing, forgetting; [`archive`] is what takes its place where many servers share one; [`search`] asks
//!   either.
//!
//! Promises: mail never waits for its history, and is never refused for it; what cannot be kept is dropped and counted; memory and disk are
//! bounded; a database that cannot be read is set aside, and another begun. A crash loses the last steps, a second's at most.

mod archive;
mod buffer;
mod database;
mod news;
mod search;
mod terms;
mod writer;

pub use archive::{Addition, Archive, MOST_STEPS, Old, Record};
pub use search::{Entry, Fate, Page, Query, Search};

use buffer::Buffer;
use database::Database;
use parking_lot::RwLock;
use smtp_observe::{Event, Observer, Tap};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use writer::{Place, Writer};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long after a message's end.
    pub retention: Duration,
    /// Most octets of the database; the oldest messages that have ended go first.
    pub max_size: u64,
}

/// Where it is kept, and how much.
pub struct Settings {
    /// The database. What stands in the way of a new one beside it is never overwritten.
    pub path: PathBuf,
    /// How much is kept.
    pub limits: Limits,
    /// Whether the disk has room for more than mail.
    pub has_room: Box<dyn Fn() -> bool + Send>,
}

/// The history. Dropping it writes out what it has.
pub struct History {
    buffer: Arc<Buffer>,
    limits: Arc<RwLock<Limits>>,
    asked: Asked,
    thread: Option<JoinHandle<()>>,
}

/// Where questions go.
#[derive(Debug)]
enum Asked {
    File(PathBuf),
    Archive(Arc<dyn Archive>),
}

impl History {
    /// Opens the database, or begins another when it cannot be read, and starts the thread. Blocking. Whoever wants steps to be kept gives the
    /// observer this as its tap.
    ///
    /// # Errors
    /// When no database can be made there, or no thread.
    pub fn open(settings: Settings, observer: Observer) -> Result<Arc<History>, String> {
        let place = Place::File(Database::open(&settings.path, &observer)?);
        let asked = Asked::File(settings.path);
        History::start(place, asked, settings.limits, settings.has_room, observer)
    }

    /// One that is kept elsewhere.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn in_archive(
        archive: Arc<dyn Archive>,
        limits: Limits,
        observer: Observer,
    ) -> Result<Arc<History>, String> {
        let (place, asked) = (Place::Archive(archive.clone()), Asked::Archive(archive));
        History::start(place, asked, limits, Box::new(|| true), observer)
    }

    fn start(
        place: Place,
        asked: Asked,
        limits: Limits,
        has_room: Box<dyn Fn() -> bool + Send>,
        observer: Observer,
    ) -> Result<Arc<History>, String> {
        let (buffer, limits) = (Arc::new(Buffer::default()), Arc::new(RwLock::new(limits)));
        let writer = Writer {
            buffer: buffer.clone(),
            limits: limits.clone(),
            place,
            has_room,
            observer,
            failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || writer.run())
            .map_err(|error| format!("cannot start the history's thread: {error}"))?;
        Ok(Arc::new(History {
            buffer,
            limits,
            asked,
            thread: Some(thread),
        }))
    }

    /// Keeps this much from now on.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.write() = limits;
    }

    /// Asks, once everything that was seen until now is written. Blocking.
    ///
    /// # Errors
    /// The database's.
    pub fn ask<T>(&self, question: impl FnOnce(&Search) -> Result<T, String>) -> Result<T, String> {
        self.buffer.flush();
        let search = match &self.asked {
            Asked::File(path) => Search::open(path)?,
            Asked::Archive(archive) => Search::of(archive.clone()),
        };
        question(&search)
    }

    /// Writes out what was seen until now. Waits at most 2 seconds.
    pub fn flush(&self) {
        self.buffer.flush();
    }
}

impl Tap for History {
    fn saw(&self, event: &Event<'_>) {
        self.buffer.put(event);
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.buffer.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
