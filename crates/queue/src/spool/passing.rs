//! A file that goes when nobody holds it any more.

use std::path::PathBuf;

/// Removes its file when it is dropped.
#[derive(Debug)]
pub struct Passing(pub(super) PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}
