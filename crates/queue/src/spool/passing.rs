//! A file that goes when nobody holds it any more.

use super::scratch::Part;
use std::path::PathBuf;

/// Removes its file when it is dropped.
#[derive(Debug)]
pub struct Passing {
    path: PathBuf,
    /// Given back after the file is gone.
    _part: Part,
}

impl Passing {
    pub(super) fn new(path: PathBuf, part: Part) -> Self {
        Passing { path, _part: part }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What stays is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}
