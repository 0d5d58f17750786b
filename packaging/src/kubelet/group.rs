//! The control group of a node's containers.

use crate::image::end_group;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group with everything in it ended when it is dropped. Its name begins with `kubelet-`.
pub(super) struct Group(String);

impl Group {
    pub(super) fn new() -> Group {
        sweep();
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Group(format!("kubelet-{}-{number}", std::process::id()))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end_group(&self.0);
    }
}

/// Ends what was left by tests that were killed: their process, which is in the name, is gone.
fn sweep() {
    let folders = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let root = Path::new("/sys/fs/cgroup");
    // Of version 2 they are there, of version 1 in each hierarchy.
    let hierarchies = folders(root).flat_map(|hierarchy| folders(&hierarchy.path()));
    for folder in folders(root).chain(hierarchies) {
        let name = folder.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix("kubelet-")
            .and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            end_group(&name);
        }
    }
}
