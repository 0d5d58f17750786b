//! The store inside the process: SQLite in WAL mode with `synchronous=FULL`, one writer thread, group commit.

use crate::spool::Spool;
use crate::store::StoreError;
use std::path::PathBuf;
use std::sync::Arc;

/// Where and how to open the store.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The database file; bodies, quarantine and the lock live beside it.
    pub path: PathBuf,
    /// Octets that must stay free on the disk.
    pub min_free: u64,
    /// Octets of received bodies held in memory at once.
    pub memory_budget: usize,
}

/// The SQLite store.
#[derive(Debug)]
pub struct SqliteStore {}

impl SqliteStore {
    /// Opens the store: checks the file system, takes the lock, migrates, recovers. Blocking.
    pub fn open(settings: SqliteSettings, observer: smtp_observe::Observer) -> Result<(Arc<Self>, Spool), StoreError> {
        let _ = (settings, observer);
        todo!()
    }
}
