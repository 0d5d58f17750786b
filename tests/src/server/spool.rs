//! What is in a store's folder.

use std::path::Path;

/// Bodies under a folder, at any depth: files but the mark that says whose they are. 0 when it is not there.
pub fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        true => files(&entry.path()),
        false => usize::from(entry.file_name() != "owner"),
    };
    entries.flatten().map(count).sum()
}
