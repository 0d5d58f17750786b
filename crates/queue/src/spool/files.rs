//! The folders beside the database, and what makes a file in them durable.

use super::sync_path;
use crate::id::QueueId;
use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where bodies live. Made at open; cheap enough to clone.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    bodies: PathBuf,
    temporary: PathBuf,
    quarantine: PathBuf,
    /// Folders `xx` whose names are durable.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Folders {
    /// Makes the folders of a spool, durably and for its owner only.
    pub(crate) fn create(spool: &Path) -> io::Result<Self> {
        let bodies = spool.join("bodies");
        let folders = Folders {
            temporary: bodies.join("tmp"),
            quarantine: spool.join("quarantine"),
            bodies,
            durable: Arc::default(),
        };
        for folder in [&folders.bodies, &folders.temporary, &folders.quarantine] {
            make_private(folder)?;
        }
        sync_folder(&folders.bodies)?;
        sync_folder(spool)?;
        Ok(folders)
    }

    pub(crate) fn bodies(&self) -> &Path {
        &self.bodies
    }

    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    pub(crate) fn quarantine(&self) -> &Path {
        &self.quarantine
    }

    /// `bodies/xx/ID`, by the last two characters: the first ones are the time and would fill one folder.
    pub(crate) fn body(&self, id: QueueId) -> PathBuf {
        let name = id.to_string();
        let shard = name.get(24..).unwrap_or("00");
        self.bodies.join(shard).join(&name)
    }

    /// A name of its own each time: a message that is read back twice has two files.
    pub(super) fn temporary_body(&self, id: QueueId) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.temporary.join(format!("{id}-{number}"))
    }

    /// Removes what an earlier process left unfinished.
    pub(crate) fn clear_temporary(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.temporary)? {
            fs::remove_file(file?.path())?;
        }
        Ok(())
    }

    /// Gives a complete file its lasting name. On return it survives a power cut.
    pub(super) fn publish(&self, file: &File, temporary: &Path, id: QueueId) -> io::Result<PathBuf> {
        // First the content: a name must never lead to half a body.
        file.sync_all()?;
        let path = self.body(id);
        let shard = path.parent().unwrap_or(&self.bodies);
        // A folder that is there may just have been made by another thread that has not synced its name yet.
        if !self.durable.lock().contains(shard) {
            self.make_shard(shard)?;
        }
        if let Err(error) = fs::rename(temporary, &path) {
            // Somebody removed it.
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            self.make_shard(shard)?;
            fs::rename(temporary, &path)?;
        }
        // Then the name itself.
        sync_folder(shard)?;
        Ok(path)
    }

    pub(super) fn make_shard(&self, shard: &Path) -> io::Result<()> {
        make_private(shard)?;
        sync_folder(&self.bodies)?;
        self.durable.lock().insert(shard.to_owned());
        Ok(())
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes what was created, renamed or removed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    sync_path(folder)
}

/// Octets that an ordinary user may still write, and all octets of the file system.
#[allow(clippy::unnecessary_cast, reason = "the types differ between platforms")]
pub(super) fn free_of_all(folder: &Path) -> io::Result<(u64, u64)> {
    let system = statvfs(folder).map_err(io::Error::from)?;
    let octets = |blocks: u64| blocks.saturating_mul(system.fragment_size() as u64);
    Ok((
        octets(system.blocks_available() as u64),
        octets(system.blocks() as u64),
    ))
}
