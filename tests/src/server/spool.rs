//! What is in a store's folder.

use std::path::Path;

/// Bodies under a folder, which has to be there, at any depth: files but the mark that says whose they are.
pub fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    count(entries)
}

fn count(entries: std::fs::ReadDir) -> usize {
    let of = |entry: std::fs::DirEntry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        // One that has just gone has none.
        true => std::fs::read_dir(entry.path()).map_or(0, count),
        false => usize::from(entry.file_name() != "owner"),
    };
    entries.flatten().map(of).sum()
}
