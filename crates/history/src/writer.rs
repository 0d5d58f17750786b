//! The thread that writes what was seen, and forgets what is old.

use crate::Limits;
use crate::archive::{Archive, Old, addition};
use crate::buffer::{Batch, Buffer, emptied};
use crate::database::{Database, Trouble};
use crate::news::gathered;
use jiff::Timestamp;
use parking_lot::RwLock;
use smtp_observe::{Event, Observer};
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
        if damaged && let Place::File(database) = &mut self.place {
            match database.begin_anew(&error, &self.observer) {
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
    File(Database),
    /// Elsewhere.
    Archive(Arc<dyn Archive>),
}

impl Place {
    fn write(&mut self, batch: &Batch) -> Result<(), Trouble> {
        match self {
            Place::File(database) => database.write(batch),
            Place::Archive(archive) => {
                let (news, now) = (gathered(batch), archive.now());
                let additions: Vec<_> = news.iter().map(|(id, news)| addition(id, news, now)).collect();
                archive.add(&additions).map_err(Trouble::Passing)
            }
        }
    }

    fn forget(&mut self, limits: &Limits) -> Result<(), Trouble> {
        match self {
            Place::File(database) => database.forget(limits, Timestamp::now()),
            Place::Archive(archive) => {
                let old = Old::now(limits, archive.now());
                while archive.forget(&old).map_err(Trouble::Passing)? > 0 {}
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Addition, Record};
    use parking_lot::Mutex;
    use smtp_observe::Event;

    /// An archive whose clock is not ours, and what it was told.
    #[derive(Debug, Default)]
    struct Elsewhere {
        additions: Mutex<Vec<Addition>>,
        old: Mutex<Option<Old>>,
    }

    const NOW: Timestamp = Timestamp::constant(1_000_000_000, 0);

    impl Archive for Elsewhere {
        fn now(&self) -> Timestamp {
            NOW
        }
        fn add(&self, additions: &[Addition]) -> Result<(), String> {
            self.additions.lock().extend_from_slice(additions);
            Ok(())
        }
        fn forget(&self, old: &Old) -> Result<u64, String> {
            *self.old.lock() = Some(*old);
            Ok(0)
        }
        fn by_id(&self, _: &str) -> Result<Option<Record>, String> {
            Ok(None)
        }
        fn newest(&self, _: Option<i64>, _: &str, _: &str, _: usize) -> Result<Vec<Record>, String> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn what_is_old_elsewhere_is_so_by_the_clock_there() {
        let elsewhere = Arc::new(Elsewhere::default());
        let mut place = Place::Archive(elsewhere.clone());
        let buffer = Buffer::default();
        buffer.put(&Event::Removed { id: "01J" });
        buffer.stop();
        place.write(&buffer.take(Batch::default(), SWEEP).0).unwrap();
        let (retention, max_size) = (Duration::from_secs(60), 1);
        place.forget(&Limits { retention, max_size }).unwrap();
        let now = NOW.as_millisecond();
        assert_eq!(elsewhere.additions.lock()[0].ended, Some(now));
        assert_eq!(elsewhere.old.lock().unwrap().ended_before, now - 60_000);
    }
}
