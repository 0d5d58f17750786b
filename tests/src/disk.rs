//! Disks of their own for servers whose free space matters: what else the machine does with its disk is none of theirs. And a disk that hangs.

use crate::tools::{as_root, run};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where in the index of its log SQLite has its locks (`WALINDEX_LOCK_OFFSET`), and how many.
const LOCKS: (i64, i64) = (120, 8);

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

    /// Takes all the room that it has left.
    pub fn fill(&self) -> Filler {
        let path = self.join("filler");
        let mut dd = std::process::Command::new("/bin/dd");
        dd.args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", path.display()));
        let output = dd.output().expect("dd");
        assert!(!output.status.success(), "it ends when there is no more");
        Filler(path)
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

/// What takes the room of a disk until it is dropped.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whoever reads or writes a store waits until this is dropped, or fails after ten seconds, as on a disk that hangs: the locks of the log of its
/// database are taken.
pub struct Shut {
    _index: File,
}

impl Shut {
    /// Of the store in that folder.
    pub fn up(data: &Path) -> Shut {
        let path = data.join("smtp.db-shm");
        let index = File::options().read(true).write(true).open(&path);
        let index = index.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: LOCKS.0,
            l_len: LOCKS.1,
            l_pid: 0,
        };
        fcntl(&index, FcntlArg::F_SETLKW(&lock)).expect("the locks");
        Shut { _index: index }
    }
}
