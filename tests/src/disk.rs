//! Disks of their own for servers whose free space matters: what else the machine does with its disk is none of theirs.

use crate::tools::{as_root, run};
use std::path::{Path, PathBuf};

/// A file system in memory, unmounted when dropped.
pub struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `size` as mount takes it: `64m`.
    pub fn new(size: &str) -> Tmpfs {
        let folder = tempfile::Builder::new()
            .prefix("smtp-server-disk-")
            .tempdir()
            .expect("a folder");
        let options = format!("size={size},mode=777");
        run(as_root("/bin/mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path()));
        Tmpfs(folder)
    }

    /// Makes it larger or smaller; what is on it stays.
    pub fn resize(&self, size: &str) {
        run(as_root("/bin/mount")
            .args(["-o", &format!("remount,size={size}"), "tmpfs"])
            .arg(self.0.path()));
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder or file in it, not made yet.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = as_root("/bin/umount").arg("-l").arg(self.0.path()).status();
    }
}
