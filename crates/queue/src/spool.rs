//! A body while it is received: in memory while it is small, else in a file.
//!
//! All bodies in memory together stay under a budget, so that many senders cannot
//! exhaust memory: a body that does not fit goes to a file early.
//!
//! A large body is a file `bodies/xx/ID`. It is written as `bodies/tmp/ID`, synced, renamed and its folder
//! synced before the row that names it is committed; it is removed after the commit that deletes that row. So a row never
//! lacks its file, and a file without a row belongs to a message that nobody was promised.
//!
//! Beside a store that keeps large bodies itself such a file is only passing: it stays `bodies/tmp/ID-n`, unsynced, and goes with
//! the last that holds it.

mod budget;
mod files;
mod folder;
mod passing;
mod scratch;
mod writer;

pub use folder::folder_of;
pub use passing::Passing;
pub use scratch::{Giver, NoRoom};
pub use writer::BodyWriter;

pub(crate) use files::{Folders, sync_folder};
pub(crate) use folder::{lock, make_folder};
pub(crate) use scratch::Purpose;

use crate::id::QueueId;
use crate::message::Body;
use crate::store::StoreError;
use budget::Budget;
use bytes::Bytes;
use scratch::Scratch;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Largest body kept inside the database, in octets.
const INLINE_BODY: usize = 256 * 1024;

/// The folder for large bodies, and the memory budget for small ones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folders: Folders,
    budget: Budget,
    scratch: Scratch,
    min_free: u64,
    /// Large bodies are kept elsewhere: files go when nobody holds them.
    passing: bool,
    opened: Instant,
    /// Free octets on the disk, as last seen.
    free: AtomicU64,
    /// All octets of the disk, as last seen.
    size: AtomicU64,
    /// Milliseconds from `opened` when the system is asked again.
    ask_at: AtomicU64,
    /// Octets of free pages inside the database.
    reusable: AtomicU64,
}

impl Spool {
    pub(crate) fn new(folders: Folders, min_free: u64, memory_budget: usize) -> Self {
        Self::of(folders, min_free, memory_budget, None)
    }

    /// One whose files are of no use after a restart. All of them take `scratch_size` octets at most, if it is not 0.
    pub(crate) fn passing(folders: Folders, min_free: u64, memory_budget: usize, scratch_size: u64) -> Self {
        Self::of(folders, min_free, memory_budget, Some(scratch_size))
    }

    fn of(folders: Folders, min_free: u64, memory_budget: usize, scratch_size: Option<u64>) -> Self {
        let spool = Spool {
            inner: Arc::new(Inner {
                folders,
                budget: Budget::new(memory_budget),
                scratch: Scratch::new(scratch_size.unwrap_or(0)),
                min_free,
                passing: scratch_size.is_some(),
                opened: Instant::now(),
                free: AtomicU64::new(0),
                size: AtomicU64::new(0),
                ask_at: AtomicU64::new(0),
                reusable: AtomicU64::new(0),
            }),
        };
        spool.free_bytes();
        spool
    }

    /// A writer for one message. Dropped before [`BodyWriter::finish`] it leaves nothing behind.
    pub fn writer(&self, id: QueueId) -> BodyWriter {
        self.writer_from(id, None)
    }

    /// The same for a message that somebody gives, who may have a share of `storage.scratch_size` only: a quarter of what there is for mail that
    /// comes in, and one largest message at least. What it gave counts until its files are gone.
    pub fn writer_from(&self, id: QueueId, giver: Option<Giver>) -> BodyWriter {
        BodyWriter::new(self.clone(), id, Purpose::Receiving(giver))
    }

    /// A writer for a message of so many octets that is read back to be sent on.
    pub(crate) fn writer_for_delivery(&self, id: QueueId, size: u64) -> BodyWriter {
        BodyWriter::new(self.clone(), id, Purpose::Delivering(size))
    }

    /// Messages of so many octets are accepted from now on: `limits.max_message_size`. For one of them there is always room to be read back.
    pub fn set_largest(&self, octets: u64) {
        self.inner.scratch.set_largest(octets);
    }

    /// Octets that large bodies take while they are only passing.
    pub fn scratch_used(&self) -> u64 {
        self.inner.scratch.used()
    }

    /// Octets that they may take, in and out; 0 where only the disk ends it.
    pub fn scratch_limit(&self) -> u64 {
        self.inner.scratch.limit()
    }

    /// Whether there is room for a message of `size` octets: free space on the disk stays over
    /// `storage.min_free`. Asks the system at most once a second.
    ///
    /// Half as much again is asked for: a small body is written to the log first and to the database later. Free pages
    /// inside the database count for bodies that go there.
    pub fn has_room(&self, size: u64) -> bool {
        let mut free = self.free_bytes();
        if size <= INLINE_BODY as u64 && free > self.inner.min_free / 2 {
            free = free.saturating_add(self.inner.reusable.load(Ordering::Relaxed));
        }
        free.saturating_sub(size.saturating_add(size / 2)) > self.inner.min_free
    }

    /// Whether there is room for a message of `size` octets that somebody gives. Beside a store that keeps large bodies itself, one that will take
    /// a file must fit into `storage.scratch_size` and the giver's share of it as well.
    ///
    /// # Errors
    /// What there is no room in.
    pub fn room_for(&self, size: u64, giver: Option<Giver>) -> Result<(), NoRoom> {
        if size > INLINE_BODY as u64 {
            self.inner.scratch.has_room(size, giver)?;
        }
        match self.has_room(size) {
            true => Ok(()),
            false => Err(NoRoom::Disk),
        }
    }

    /// Free octets on the disk, as last seen; at most a second ago.
    pub fn free_bytes(&self) -> u64 {
        let inner = &self.inner;
        let now = u64::try_from(inner.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ask_at = inner.ask_at.load(Ordering::Relaxed);
        if now < ask_at {
            return inner.free.load(Ordering::Relaxed);
        }
        // One of the callers asks; the others take the last answer.
        let next = now.saturating_add(1000);
        if inner
            .ask_at
            .compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
            && let Ok((free, size)) = files::free_of_all(inner.folders.bodies())
        {
            inner.size.store(size, Ordering::Relaxed);
            inner.free.store(free, Ordering::Relaxed);
        }
        inner.free.load(Ordering::Relaxed)
    }

    /// All octets of the disk, free or not, as seen when its free ones were.
    pub fn size_bytes(&self) -> u64 {
        self.inner.size.load(Ordering::Relaxed)
    }

    /// Removes a finished body that will not be stored after all. Harmless for a body in memory.
    /// A file that is never discarded goes at the next start.
    pub fn discard(&self, body: Body) {
        if let Body::File { path, .. } = body {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Octets of bodies in memory now.
    #[cfg(test)]
    pub(crate) fn memory_used(&self) -> usize {
        self.inner.budget.used()
    }

    /// Where the large body of a message is.
    pub(crate) fn body_path(&self, id: QueueId) -> PathBuf {
        self.inner.folders.body(id)
    }

    pub(crate) fn folders(&self) -> &Folders {
        &self.inner.folders
    }

    /// A body that was read back; it counts against the budget but is never refused.
    pub(crate) fn read_back(&self, bytes: Vec<u8>) -> Bytes {
        self.inner.budget.take(bytes.capacity()).hold(bytes)
    }

    pub(crate) fn set_reusable(&self, octets: u64) {
        self.inner.reusable.store(octets, Ordering::Relaxed);
    }
}

/// Whether an error says that the disk, or the owner's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What an operator or a client is told about an error of the file system.
pub(crate) fn file_error(doing: &str, error: &io::Error) -> StoreError {
    if is_full(error) {
        StoreError::Full(format!("{doing}: {error}"))
    } else {
        StoreError::Unavailable(format!("{doing}: {error}"))
    }
}

/// Opens a folder or file to sync it.
fn sync_path(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;
