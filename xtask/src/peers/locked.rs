//! Peers whose files are locked with their hashes.

use crate::run::{root, target};
use std::path::{Path, PathBuf};

/// A file of `xtask/peers`, which says how to change it.
pub(super) fn lock(file: &str) -> PathBuf {
    root().join("xtask/peers").join(file)
}

/// A peer whose files are locked. It is installed again when its lock file has changed.
pub(super) struct Locked {
    folder: PathBuf,
    /// The lock files' text. A copy stands in the folder when everything else does.
    locked: String,
}

impl Locked {
    pub(super) fn new(name: &str, locks: &[&str]) -> Result<Self, String> {
        let mut locked = String::new();
        for file in locks {
            let path = lock(file);
            let text = std::fs::read_to_string(&path);
            locked += &text.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(Locked {
            folder: target().join("peers").join(name),
            locked,
        })
    }

    fn is_there(&self) -> bool {
        std::fs::read_to_string(self.folder.join(".locked")).is_ok_and(|text| text == self.locked)
    }

    /// Has `bring` fill the folder, unless it is filled.
    pub(super) fn install(&self, bring: impl FnOnce(&Path) -> Result<bool, String>) -> Result<(), String> {
        if self.is_there() {
            return Ok(());
        }
        let io = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).map_err(io)?;
        }
        std::fs::create_dir_all(&self.folder).map_err(io)?;
        if !bring(&self.folder)? {
            return Err(format!("{} could not be installed", self.folder.display()));
        }
        std::fs::write(self.folder.join(".locked"), &self.locked).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_lock_file_installs_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let peer = |locked: &str| Locked {
            folder: folder.path().join("peer"),
            locked: locked.into(),
        };
        let brought = |peer: Locked, succeeds: bool| {
            let mut asked = false;
            let result = peer.install(|folder| {
                asked = true;
                assert_eq!(
                    std::fs::read_dir(folder).expect("a folder").count(),
                    0,
                    "left over"
                );
                std::fs::write(folder.join("program"), "").expect("written");
                Ok(succeeds)
            });
            (asked, result.is_ok())
        };
        assert_eq!(brought(peer("one"), false), (true, false));
        assert_eq!(brought(peer("one"), true), (true, true));
        assert_eq!(brought(peer("one"), true), (false, true));
        assert_eq!(brought(peer("two"), true), (true, true));
    }
}
