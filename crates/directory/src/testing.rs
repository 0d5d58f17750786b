//! A shelf in memory, for the tests of whoever builds on this crate. It is no feature of the crate: that would have everything compiled twice.

use crate::shelf::{Contents, Edit, Shelf, ShelfError};
use async_trait::async_trait;
use parking_lot::Mutex;

/// Keeps records for as long as it lives.
#[derive(Debug, Default)]
pub struct MemoryShelf {
    contents: Mutex<Contents>,
}

impl MemoryShelf {
    /// One that holds `contents`.
    pub fn with(contents: Contents) -> Self {
        MemoryShelf {
            contents: Mutex::new(contents),
        }
    }
}

#[async_trait]
impl Shelf for MemoryShelf {
    async fn load(&self) -> Result<Contents, ShelfError> {
        Ok(self.contents.lock().clone())
    }

    async fn apply(&self, revision: u64, edits: Vec<Edit>) -> Result<u64, ShelfError> {
        let mut contents = self.contents.lock();
        if contents.revision != revision {
            return Err(ShelfError::Moved);
        }
        for edit in edits {
            let (kind, name) = match &edit {
                Edit::Put(record) => (record.kind, &record.name),
                Edit::Delete(kind, name) => (*kind, name),
            };
            contents
                .records
                .retain(|old| old.kind != kind || old.name != *name);
            if let Edit::Put(record) = edit {
                contents.records.push(record);
            }
        }
        contents.revision += 1;
        Ok(contents.revision)
    }

    async fn revision(&self) -> Result<u64, ShelfError> {
        Ok(self.contents.lock().revision)
    }
}
