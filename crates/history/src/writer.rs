//! The thread that writes what was seen, and forgets what is old.

use crate::Limits;
use crate::archive::{Archive, Old, addition};
use crate::buffer::{Batch, Buffer, emptied};
use crate::database::{Database, Trouble, gathered};
use jiff::Timestamp;
use parking_lot::RwLock;
use smtp_observe::{Event, Observer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often old messages are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// All that the thread owns.
pub(crate) struct Writer {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) limits: Arc<RwLock<Limits>>,
    pub(crate) place: Place,
    pub(crate) has_room: Box<dyn Fn() -> bool + Send>,
    pub(crate) observer: Observer,
    /// The last batch could not be written, and that was said.
    pub(crate) failing: bool,
}

impl Writer {
    /// Works until the history is dropped.
    pub(crate) fn run(mut self) {
        let (mut spare, mut swept) = (Batch::default(), Instant::now());
        loop {
            let (batch, last) = self.buffer.take(spare, SWEEP);
            self.write(&batch);
            spare = emptied(batch);
            if last {
                return;
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep();
            }
        }
    }

    fn write(&mut self, batch: &Batch) {
        let mut dropped = batch.dropped;
        if !batch.notes.is_empty() {
            let written = match (self.has_room)() {
                true => self.place.write(batch),
                false => Err(Trouble::Passing("the disk is nearly full".into())),
            };
            match written {
                Ok(()) => self.failing = false,
                Err(trouble) => {
                    dropped += batch.notes.len() as u64;
                    self.failed(trouble);
                }
            }
        }
        if dropped > 0 {
            self.observer.emit(Event::HistoryDropped { steps: dropped });
        }
    }

    fn sweep(&mut self) {
        let limits = *self.limits.read();
        if let Err(trouble) = self.place.forget(&limits) {
            self.failed(trouble);
        }
    }

    /// Says it once; a database that is damaged is set aside.
    fn failed(&mut self, trouble: Trouble) {
        let (error, damaged) = match trouble {
            Trouble::Passing(error) => (error, false),
            Trouble::Damaged(error) => (error, true),
        };
        if !std::mem::replace(&mut self.failing, true) {
            self.observer.emit(Event::HistoryFailed { error: &error });
        }
        if damaged && let Place::File { database, path } = &mut self.place {
            match database.begin_anew(path, &error, &self.observer) {
                Ok(()) => self.failing = false,
                Err(error) => self.observer.emit(Event::HistoryFailed { error: &error }),
            }
        }
    }
}

/// Where histories are kept.
#[derive(Debug)]
pub(crate) enum Place {
    /// In a file of this machine.
    File { database: Database, path: PathBuf },
    /// Elsewhere.
    Archive(Arc<dyn Archive>),
}

impl Place {
    fn write(&mut self, batch: &Batch) -> Result<(), Trouble> {
        match self {
            Place::File { database, .. } => database.write(batch),
            Place::Archive(archive) => {
                let news = gathered(batch);
                let additions: Vec<_> = news.iter().map(|(id, news)| addition(id, news)).collect();
                archive.add(&additions).map_err(Trouble::Passing)
            }
        }
    }

    fn forget(&mut self, limits: &Limits) -> Result<(), Trouble> {
        let now = Timestamp::now();
        match self {
            Place::File { database, .. } => database.forget(limits, now),
            Place::Archive(archive) => {
                let old = Old::now(limits, now);
                while archive.forget(&old).map_err(Trouble::Passing)? > 0 {}
                Ok(())
            }
        }
    }
}
