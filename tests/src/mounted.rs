//! A file as a kubelet mounts it from a ConfigMap or a Secret.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A file whose content is replaced as a kubelet does it. Dropped, it is gone.
pub struct Mounted {
    folder: tempfile::TempDir,
    name: &'static str,
    version: u32,
}

impl Mounted {
    pub fn new(name: &'static str, content: &str) -> Mounted {
        let folder = tempfile::tempdir().expect("a folder");
        symlink(format!("..data/{name}"), folder.path().join(name)).expect("link");
        let mut new = Mounted {
            folder,
            name,
            version: 0,
        };
        new.swap(content);
        new
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Replaces what is in it: a new folder, and `..data` renamed over the old link.
    pub fn swap(&mut self, content: &str) {
        self.version += 1;
        let version = format!("..2026_{}", self.version);
        let path = |name: &str| self.folder.path().join(name);
        std::fs::create_dir(path(&version)).expect("folder");
        std::fs::write(path(&version).join(self.name), content).expect("file");
        symlink(version, path("..data_tmp")).expect("link");
        std::fs::rename(path("..data_tmp"), path("..data")).expect("rename");
    }
}
