//! What large bodies take of a disk while they are only passing, all together. Counted as they are written, so that nothing is ever
//! searched or asked for it.
//!
//! The disk may end long before its file system says so: the kubelet evicts a pod that writes more than `sizeLimit` into an emptyDir.
//!
//! ```text
//!  ├───────────────── limit: storage.scratch_size ──────────────────┤
//!  ├─ what comes in; a quarter of it from one giver ─┤── reserve ───┤   what is read back to be sent on may take all that is free
//! ```
//!
//! Promises: together they never take more than the limit; however much comes in, a message of the largest size can be read back as long as
//! no other is; no giver keeps the others out alone, if several largest messages fit.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// At least this part of the limit is kept for what is read back: mail that comes in must not keep mail from going out.
const RESERVE: u64 = 8;
/// One giver may take this part of what there is for all mail that comes in.
const GIVERS: u64 = 4;
/// Octets that a message may have beyond the largest that is accepted: its trace field, signatures, what is added to its header.
const ADDED: u64 = 64 * 1024;

/// Who gives messages, as a number: what one has on its way in is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Giver(pub u128);

/// Why there is no room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The disk is nearly full.
    #[error("less than storage.min_free is free on the disk")]
    Disk,
    /// Large messages of all givers take what there is for them.
    #[error("large messages on their way take all of storage.scratch_size")]
    Scratch,
    /// Those of this giver take what one may. Others have room.
    #[error("large messages of one client take its share of storage.scratch_size")]
    Share,
}

impl NoRoom {
    /// What an error of a [`BodyWriter`](super::BodyWriter) says about room, if that is what it is about.
    pub fn of(error: &io::Error) -> Option<NoRoom> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message comes in. Without a giver nobody's share is looked at.
    Receiving(Option<Giver>),
    /// One of so many octets is read back to be sent on.
    Delivering(u64),
}

/// The octets of all files. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: no other than the disk's own.
    limit: Option<u64>,
    /// Octets of the largest message that is accepted.
    largest: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// By what came in, until it is stored and whoever sends it on at once has done with it.
    received: u64,
    /// Of that, by each giver. Bounded by the limit: nobody is in it who has no file.
    by: HashMap<Giver, u64>,
    read_back: u64,
}

impl Taken {
    fn all(&self) -> u64 {
        self.received.saturating_add(self.read_back)
    }

    fn of(&mut self, purpose: Purpose) -> &mut u64 {
        match purpose {
            Purpose::Receiving(_) => &mut self.received,
            Purpose::Delivering(_) => &mut self.read_back,
        }
    }
}

impl Scratch {
    /// With 0 there is no limit.
    pub(super) fn new(limit: u64) -> Self {
        let inner = Inner {
            limit: Some(limit).filter(|limit| *limit > 0),
            largest: AtomicU64::new(0),
            taken: Mutex::default(),
        };
        Scratch {
            inner: Arc::new(inner),
        }
    }

    /// Messages of so many octets are accepted from now on.
    pub(super) fn set_largest(&self, octets: u64) {
        self.inner.largest.store(octets, Ordering::Relaxed);
    }

    /// Octets of all files now.
    pub(super) fn used(&self) -> u64 {
        self.inner.taken.lock().all()
    }

    /// Octets that there may be; 0 when there is no limit.
    pub(super) fn limit(&self) -> u64 {
        self.inner.limit.unwrap_or(0)
    }

    /// Whether so many octets more can be received now.
    pub(super) fn has_room(&self, octets: u64, giver: Option<Giver>) -> Result<(), NoRoom> {
        let purpose = Purpose::Receiving(giver);
        self.inner.admits(&self.inner.taken.lock(), octets, purpose)
    }

    /// A part for a file: of nothing, to grow, or of all that is read back, so that two that are read at once do not both stop half-way.
    ///
    /// # Errors
    /// As [`Part::grow`].
    pub(super) fn part(&self, purpose: Purpose) -> io::Result<Part> {
        let mut part = Part {
            scratch: self.clone(),
            purpose,
            written: 0,
            taken: 0,
        };
        if let Purpose::Delivering(octets) = purpose {
            part.take(octets)?;
        }
        Ok(part)
    }
}

impl Inner {
    fn admits(&self, taken: &Taken, octets: u64, purpose: Purpose) -> Result<(), NoRoom> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        if let Purpose::Receiving(giver) = purpose {
            let one = self.largest.load(Ordering::Relaxed).saturating_add(ADDED);
            // Half, should the largest have grown beyond what a start would have refused.
            let incoming = limit - (limit / RESERVE).max(one).min(limit / 2);
            if let Some(giver) = giver {
                let own = taken.by.get(&giver).copied().unwrap_or(0);
                within(own, octets, (incoming / GIVERS).max(one), NoRoom::Share)?;
            }
            within(taken.received, octets, incoming, NoRoom::Scratch)?;
        }
        within(taken.all(), octets, limit, NoRoom::Scratch)
    }
}

fn within(taken: u64, octets: u64, most: u64, otherwise: NoRoom) -> Result<(), NoRoom> {
    match taken.saturating_add(octets) <= most {
        true => Ok(()),
        false => Err(otherwise),
    }
}

/// What one file takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    scratch: Scratch,
    purpose: Purpose,
    written: u64,
    /// At least what was written.
    taken: u64,
}

impl Part {
    /// Another of the same kind, of nothing.
    pub(super) fn empty(&self) -> Part {
        Part {
            scratch: self.scratch.clone(),
            purpose: self.purpose,
            written: 0,
            taken: 0,
        }
    }

    /// Room for `more` octets at the end of the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::QuotaExceeded`] with a [`NoRoom`] when there is none: as for a disk that is full.
    pub(super) fn grow(&mut self, more: u64) -> io::Result<()> {
        self.written += more;
        self.take(self.written.saturating_sub(self.taken))
    }

    fn take(&mut self, octets: u64) -> io::Result<()> {
        let inner = &self.scratch.inner;
        let mut taken = inner.taken.lock();
        inner
            .admits(&taken, octets, self.purpose)
            .map_err(|why| io::Error::new(io::ErrorKind::QuotaExceeded, why))?;
        *taken.of(self.purpose) += octets;
        if let Purpose::Receiving(Some(giver)) = self.purpose {
            *taken.by.entry(giver).or_default() += octets;
        }
        self.taken += octets;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.scratch.inner.taken.lock();
        let all = taken.of(self.purpose);
        *all = all.saturating_sub(self.taken);
        if let Purpose::Receiving(Some(giver)) = self.purpose
            && let Some(own) = taken.by.get_mut(&giver)
        {
            *own = own.saturating_sub(self.taken);
            if *own == 0 {
                taken.by.remove(&giver);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Option<Giver> = Some(Giver(1));
    const BOB: Option<Giver> = Some(Giver(2));

    /// Of which 1600 KiB are for what comes in, and 400 KiB of these for one giver.
    fn scratch(largest: u64) -> Scratch {
        let scratch = Scratch::new(2000 << 10);
        scratch.set_largest(largest << 10);
        scratch
    }

    fn grow(part: &mut Part, kib: u64) -> Result<(), NoRoom> {
        part.grow(kib << 10).map_err(|error| {
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
            NoRoom::of(&error).unwrap()
        })
    }

    fn receiving(scratch: &Scratch, giver: Option<Giver>) -> Part {
        scratch.part(Purpose::Receiving(giver)).unwrap()
    }

    #[test]
    fn parts_are_given_back() {
        let scratch = scratch(336);
        let mut one = receiving(&scratch, None);
        grow(&mut one, 1500).unwrap();
        assert_eq!(scratch.used(), 1500 << 10);
        assert_eq!(scratch.has_room(100 << 10, None), Ok(()));
        assert_eq!(scratch.has_room((100 << 10) + 1, None), Err(NoRoom::Scratch));
        let mut other = receiving(&scratch, None);
        assert_eq!(grow(&mut other, 101), Err(NoRoom::Scratch));
        drop((one, other));
        assert_eq!(scratch.used(), 0);
        assert_eq!(scratch.has_room(1600 << 10, None), Ok(()));
    }

    #[test]
    fn one_largest_message_can_be_read_back_however_much_comes_in() {
        for largest in [1, 336, 800, 900] {
            let scratch = scratch(largest);
            let mut coming: Vec<Part> = Vec::new();
            while scratch.has_room(1024, None).is_ok() {
                let mut part = receiving(&scratch, None);
                grow(&mut part, 1).unwrap();
                coming.push(part);
            }
            let size = (largest << 10) + ADDED;
            let mut back = scratch.part(Purpose::Delivering(size)).unwrap();
            back.grow(size).unwrap();
            assert!(scratch.used() <= scratch.limit());
            drop(coming);
            assert_eq!(scratch.used(), size, "of {largest}");
        }
        let scratch = scratch(1);
        assert_eq!(scratch.has_room(1750 << 10, None), Ok(()));
        assert!(scratch.has_room(1751 << 10, None).is_err(), "an eighth is kept");
    }

    #[test]
    fn what_is_read_back_has_room_for_all_of_it_or_is_not_begun() {
        let scratch = scratch(336);
        let first = scratch.part(Purpose::Delivering(1500 << 10)).unwrap();
        let second = scratch.part(Purpose::Delivering(501 << 10));
        assert_eq!(NoRoom::of(&second.unwrap_err()), Some(NoRoom::Scratch));
        // What comes in has the rest.
        assert_eq!(scratch.has_room(500 << 10, None), Ok(()));
        assert_eq!(scratch.has_room(501 << 10, None), Err(NoRoom::Scratch));
        drop(first);
        scratch.part(Purpose::Delivering(2000 << 10)).unwrap();
    }

    #[test]
    fn a_giver_has_a_quarter_and_the_others_the_rest() {
        let scratch = scratch(336);
        let (mut first, mut second) = (receiving(&scratch, ANN), receiving(&scratch, ANN));
        grow(&mut first, 250).unwrap();
        grow(&mut second, 150).unwrap();
        assert_eq!(grow(&mut second, 60), Err(NoRoom::Share));
        assert_eq!(scratch.has_room(300 << 10, ANN), Err(NoRoom::Share));
        assert_eq!(scratch.has_room(300 << 10, BOB), Ok(()));
        assert_eq!(scratch.has_room(900 << 10, None), Ok(()), "exempt");
        drop(first);
        assert_eq!(scratch.has_room(250 << 10, ANN), Ok(()));
        drop(second);
        assert!(scratch.inner.taken.lock().by.is_empty());
    }

    #[test]
    fn a_giver_has_room_for_a_largest_message_at_least() {
        let scratch = scratch(900);
        let size = (900 << 10) + ADDED;
        receiving(&scratch, ANN).grow(size).unwrap();
        assert_eq!(scratch.has_room(size + 1, ANN), Err(NoRoom::Share));
        scratch.set_largest(100 << 20);
        assert_eq!(
            scratch.has_room(1000 << 10, ANN),
            Ok(()),
            "half, whatever happens"
        );
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let scratch = Scratch::new(0);
        receiving(&scratch, ANN).grow(1 << 60).unwrap();
        assert_eq!(scratch.has_room(u64::MAX, ANN), Ok(()));
        assert_eq!(scratch.limit(), 0);
    }
}
