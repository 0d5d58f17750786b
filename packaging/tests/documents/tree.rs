//! The files of the tree, and the pages among them.

use packaging::tools::root;
use std::path::{Path, PathBuf};

/// The files below a folder of the workspace, as paths from the workspace, in order. What is built, and what begins with
/// a dot, is left out.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if name == "target" || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(root()).expect("in the workspace");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every page of the workspace.
pub(crate) fn pages() -> Vec<PathBuf> {
    let pages = files("").into_iter().filter(|file| file.ends_with(".md"));
    pages.map(|page| root().join(page)).collect()
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backticks.
pub(crate) fn quoted(page: &str) -> Vec<&str> {
    page.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}
