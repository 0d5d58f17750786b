//! Takes one body as it comes.

use super::budget::Share;
use super::scratch::Part;
use super::{INLINE_BODY, Passing, Purpose, Spool};
use crate::id::QueueId;
use crate::message::Body;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Octets gathered before a file is written to: each write costs a trip to another thread.
const FILE_BUFFER: usize = 128 * 1024;
/// Smallest room that a body takes in memory, in octets.
const SMALLEST: usize = 2048;

/// Takes a body as it comes. Holds at most 256 KiB in memory.
///
/// After an error the writer is of no more use: later calls fail too.
#[derive(Debug)]
pub struct BodyWriter {
    spool: Spool,
    id: QueueId,
    purpose: Purpose,
    buffer: Vec<u8>,
    share: Share,
    /// Once the body has outgrown memory.
    file: Option<TemporaryFile>,
    size: u64,
    /// Where [`BodyWriter::fill`] writes.
    reserved: Option<Range<u64>>,
    failed: bool,
}

impl BodyWriter {
    pub(super) fn new(spool: Spool, id: QueueId, purpose: Purpose) -> Self {
        let share = spool.inner.budget.share();
        BodyWriter {
            spool,
            id,
            purpose,
            buffer: Vec::new(),
            share,
            file: None,
            size: 0,
            reserved: None,
            failed: false,
        }
    }

    /// Octets taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends. Never blocks the reactor on disk: large writes go to a blocking thread.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.check()?;
        self.size += chunk.len() as u64;
        if self.file.is_none() && self.fits_memory(chunk.len()) {
            self.buffer.extend_from_slice(chunk);
            return Ok(());
        }
        self.write_file(chunk).await
    }

    /// Leaves room here for `octets` that are known at the end only; once for a body.
    pub async fn reserve(&mut self, octets: usize) -> io::Result<()> {
        let start = self.size;
        self.write(&vec![b' '; octets]).await?;
        self.reserved = Some(start..self.size);
        Ok(())
    }

    /// Writes into the room that was left, all of it.
    ///
    /// # Errors
    /// When `octets` are not as many as were reserved, and as [`BodyWriter::write`].
    pub async fn fill(&mut self, octets: Vec<u8>) -> io::Result<()> {
        self.check()?;
        let reserved = self.reserved.take();
        let Some(place) = reserved.filter(|place| place.end - place.start == octets.len() as u64) else {
            return Err(io::Error::other("not what was reserved in the body"));
        };
        if self.file.is_some() {
            return self.fill_file(octets, place.start).await;
        }
        let place = usize::try_from(place.start)
            .ok()
            .and_then(|start| self.buffer.get_mut(start..)?.get_mut(..octets.len()));
        place.ok_or_else(broken)?.copy_from_slice(&octets);
        Ok(())
    }

    async fn fill_file(&mut self, octets: Vec<u8>, at: u64) -> io::Result<()> {
        self.flush().await?;
        self.on_file(move |file| file.write_all_at(&octets, at)).await
    }

    /// Ends the body: a file is synced, renamed into place and its folder synced.
    ///
    /// # Errors
    /// As [`BodyWriter::write`], and when room was reserved and not filled.
    pub async fn finish(mut self) -> io::Result<Body> {
        self.check()?;
        if self.reserved.is_some() {
            return Err(io::Error::other("room in the body was never filled"));
        }
        if self.file.is_none() {
            let mut bytes = std::mem::take(&mut self.buffer);
            bytes.shrink_to_fit();
            self.share.resize(bytes.capacity());
            return Ok(Body::Memory(self.share.hold(bytes)));
        }
        self.flush().await?;
        let size = self.size;
        let Some(file) = self.file.take() else {
            return Err(broken());
        };
        if self.spool.inner.passing {
            let (path, part) = file.keep();
            let held = Some(Arc::new(Passing::new(path.clone(), part)));
            return Ok(Body::File { path, size, held });
        }
        let path = blocking(move || file.publish()).await?;
        Ok(Body::file(path, size))
    }

    /// Makes room in memory for `more` octets, if neither limit forbids it.
    fn fits_memory(&mut self, more: usize) -> bool {
        let needed = self.buffer.len() + more;
        if needed > INLINE_BODY {
            return false;
        }
        if needed <= self.buffer.capacity() {
            return true;
        }
        let room = needed
            .max(self.buffer.capacity() * 2)
            .clamp(SMALLEST, INLINE_BODY);
        if !self.share.resize(room) {
            return false;
        }
        self.buffer.reserve_exact(room - self.buffer.len());
        true
    }

    async fn write_file(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.spill().await?;
        }
        while !chunk.is_empty() {
            let room = FILE_BUFFER.saturating_sub(self.buffer.len());
            let (now, later) = chunk.split_at(room.min(chunk.len()));
            self.buffer.extend_from_slice(now);
            chunk = later;
            if self.buffer.len() >= FILE_BUFFER {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Goes over from memory to a file.
    async fn spill(&mut self) -> io::Result<()> {
        // Until it is known that a file was made, there is neither.
        self.failed = true;
        let (spool, id) = (self.spool.clone(), self.id);
        let part = self.spool.inner.scratch.part(self.purpose)?;
        self.file = Some(blocking(move || TemporaryFile::create(spool, id, part)).await?);
        self.failed = false;
        self.flush().await?;
        // The buffer of a file is small and short-lived; it is not worth refusing.
        self.buffer = Vec::with_capacity(FILE_BUFFER);
        self.share.resize(0);
        Ok(())
    }

    /// Writes the buffer out. When this future is dropped, the file goes with the blocking thread's work.
    async fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if let Some(file) = &mut self.file
            && let Err(error) = file.part.grow(buffer.len() as u64)
        {
            // Nothing more will come of it: what it took is free at once.
            (self.failed, self.file) = (true, None);
            return Err(error);
        }
        let mut buffer = self
            .on_file(move |file| file.write_all(&buffer).map(|()| buffer))
            .await?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Does something to the file on a blocking thread. Once that failed, or was not awaited, the body is of no more use.
    async fn on_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(mut file) = self.file.take() else {
            return Err(broken());
        };
        self.failed = true;
        let (file, result) = blocking(move || work(&mut file.file).map(|result| (file, result))).await?;
        self.failed = false;
        self.file = Some(file);
        Ok(result)
    }

    fn check(&self) -> io::Result<()> {
        if self.failed { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> io::Error {
    io::Error::other("an earlier write of this body failed or was cancelled")
}

/// A file in `bodies/tmp`, removed when it is dropped before it was published.
#[derive(Debug)]
struct TemporaryFile {
    spool: Spool,
    id: QueueId,
    path: PathBuf,
    file: File,
    /// What it takes of the disk; given back after the file is gone.
    part: Part,
    published: bool,
}

impl TemporaryFile {
    fn create(spool: Spool, id: QueueId, part: Part) -> io::Result<Self> {
        let path = spool.folders().temporary_body(id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(TemporaryFile {
            spool,
            id,
            path,
            file,
            part,
            published: false,
        })
    }

    /// Leaves the file, and what it takes, to whoever has its path.
    fn keep(mut self) -> (PathBuf, Part) {
        self.published = true;
        let nothing = self.part.empty();
        (self.path.clone(), std::mem::replace(&mut self.part, nothing))
    }

    fn publish(mut self) -> io::Result<PathBuf> {
        let path = self.spool.folders().publish(&self.file, &self.path, self.id);
        // After a failed sync of the folder the file may have either name.
        if path.is_err() {
            let _ = std::fs::remove_file(self.spool.body_path(self.id));
        }
        self.published = path.is_ok();
        path
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
