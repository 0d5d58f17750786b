//! A body while it is received: in memory while it is small, else in a file.
//!
//! All bodies in memory together stay under a budget, so that many senders cannot
//! exhaust memory: a body that does not fit goes to a file early.

use crate::id::QueueId;
use crate::message::Body;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest body kept inside the database, in octets.
pub const INLINE_BODY: usize = 256 * 1024;

/// The folder for large bodies, and the memory budget for small ones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
}

impl Spool {
    /// A writer for one message. Dropped before [`BodyWriter::finish`] it leaves nothing behind.
    pub fn writer(&self, id: QueueId) -> BodyWriter {
        let _ = (id, &self.inner.folder);
        todo!()
    }
    /// Whether there is room for a message of `size` octets: free space on the disk stays over
    /// `storage.min_free`. Asks the system at most once a second.
    pub fn has_room(&self, size: u64) -> bool {
        let _ = size;
        todo!()
    }
    /// Free octets on the disk, as last seen.
    pub fn free_bytes(&self) -> u64 {
        todo!()
    }
}

/// Takes a body as it comes.
#[derive(Debug)]
pub struct BodyWriter {}

impl BodyWriter {
    /// Appends. Never blocks the reactor on disk: large writes go to a blocking thread.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let _ = chunk;
        todo!()
    }
    /// Ends the body: a file is synced, renamed into place and its folder synced.
    pub async fn finish(self) -> io::Result<Body> {
        todo!()
    }
}
