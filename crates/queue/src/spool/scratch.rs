//! What large bodies take of a disk while they are only passing, all together. Counted as they are written, so that nothing is ever
//! searched or asked for it.
//!
//! The disk may end long before its file system says so: the kubelet evicts a pod that writes more than `sizeLimit` into an emptyDir.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read back for delivery may take this part of the limit beyond it: mail that comes in must not keep mail from going out.
const RESERVE: u64 = 8;

/// The octets of all files. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    used: Arc<AtomicU64>,
    /// `None`: no other than the disk's own.
    limit: Option<u64>,
}

impl Scratch {
    /// With 0 there is no limit.
    pub(super) fn new(limit: u64) -> Self {
        Scratch {
            used: Arc::default(),
            limit: Some(limit).filter(|limit| *limit > 0),
        }
    }

    /// Whether so many octets more can be received now.
    pub(super) fn has_room(&self, octets: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        self.limit
            .is_none_or(|limit| used.saturating_add(octets) <= limit)
    }

    /// A part of nothing for a file, to grow.
    pub(super) fn part(&self, purpose: Purpose) -> Part {
        let most = match (self.limit, purpose) {
            (None, _) => u64::MAX,
            (Some(limit), Purpose::Receiving) => limit,
            (Some(limit), Purpose::Delivering) => limit.saturating_add(limit / RESERVE),
        };
        Part {
            scratch: self.clone(),
            octets: 0,
            most,
        }
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message comes in.
    Receiving,
    /// One is read back to be sent on.
    Delivering,
}

/// What one file takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    scratch: Scratch,
    octets: u64,
    most: u64,
}

impl Part {
    /// Another of the same kind, of nothing.
    pub(super) fn empty(&self) -> Part {
        Part {
            scratch: self.scratch.clone(),
            octets: 0,
            most: self.most,
        }
    }

    /// Room for `more` octets at the end of the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::QuotaExceeded`] when there is none: as for a disk that is full.
    pub(super) fn grow(&mut self, more: u64) -> io::Result<()> {
        let used = &self.scratch.used;
        let before = used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.most {
            used.fetch_sub(more, Ordering::Relaxed);
            let reason = "large messages on their way take all of storage.scratch_size";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, reason));
        }
        self.octets += more;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.scratch.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_given_back_and_delivery_has_a_reserve() {
        let scratch = Scratch::new(800);
        let mut one = scratch.part(Purpose::Receiving);
        one.grow(700).unwrap();
        assert!(scratch.has_room(100) && !scratch.has_room(101));
        let mut other = scratch.part(Purpose::Receiving);
        assert_eq!(other.grow(101).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        other.grow(100).unwrap();
        let mut back = scratch.part(Purpose::Delivering);
        back.grow(100).unwrap();
        assert!(back.grow(1).is_err());
        drop((one, other, back));
        assert!(scratch.has_room(800));
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let scratch = Scratch::new(0);
        scratch.part(Purpose::Receiving).grow(1 << 60).unwrap();
        assert!(scratch.has_room(u64::MAX));
    }
}
