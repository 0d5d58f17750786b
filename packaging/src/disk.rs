//! Disks of their own for servers whose free space matters: what else the machine does with its disk is none of theirs.

use blackbox::tools::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted when dropped.
pub struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `size` as mount takes it: `64m`.
    pub fn new(size: &str) -> Tmpfs {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={size},mode=777");
        run(as_root("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path()));
        Tmpfs(folder)
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder in it, not made yet.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A program as root, by sudo where the tests are somebody else.
fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
