//! How much memory all bodies together may take.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The octets shared by all bodies in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Budget {
            used: Arc::default(),
            limit,
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A share of nothing, to grow.
    pub(super) fn share(&self) -> Share {
        self.take(0)
    }

    /// A share that is never refused.
    pub(super) fn take(&self, octets: usize) -> Share {
        self.used.fetch_add(octets, Ordering::Relaxed);
        Share {
            budget: self.clone(),
            octets,
        }
    }
}

/// One body's part of the budget; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    octets: usize,
}

impl Share {
    /// Makes the share `octets` large, unless the budget does not allow it to grow.
    pub(super) fn resize(&mut self, octets: usize) -> bool {
        let used = &self.budget.used;
        if octets <= self.octets {
            used.fetch_sub(self.octets - octets, Ordering::Relaxed);
        } else {
            let more = octets - self.octets;
            let before = used.fetch_add(more, Ordering::Relaxed);
            if before.saturating_add(more) > self.budget.limit {
                used.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        }
        self.octets = octets;
        true
    }

    /// Ties the share to the octets it stands for: it is given back with their last clone.
    pub(super) fn hold(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
