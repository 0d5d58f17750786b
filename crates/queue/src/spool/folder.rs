//! The spool's own folder: made durably, and had by one process at a time.

use super::{file_error, sync_folder};
use crate::store::StoreError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The lock's file, one for the folder: the bodies beside the database are shared by name.
const LOCK: &str = "spool.lock";

/// Makes a folder and those above it; each new name is durable.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_folder(above)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    sync_folder(above)
}

/// Takes the spool for this process. The system gives the lock back when the process ends, however it ends.
pub(crate) fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let failed = |error: &io::Error| file_error(&format!("cannot lock {}", path.display()), error);
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = open.map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another process has the spool {} (it holds {}): stop it first, or set storage.path to another folder",
            folder.display(),
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// The folder that a database's spool is.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
