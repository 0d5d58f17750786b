//! Volumes as a kubelet lays them out on the node.

use nix::unistd::{Gid, Uid, chown};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Files that change all at once, as the keys of a ConfigMap or Secret do: each name is a link into `..data`, and
/// `..data` a link to a folder that is replaced by renaming. (Kubernetes' AtomicWriter.)
pub(super) struct Projected {
    pub(super) folder: PathBuf,
    mode: u32,
    group: Option<u32>,
    /// What is there.
    shown: Mutex<BTreeMap<String, Laid>>,
}

/// A file of such a volume.
#[derive(PartialEq, Eq)]
pub(super) struct Laid {
    pub(super) octets: Vec<u8>,
    /// Whose it is, and but for the group nobody else's, whatever the volume's mode says: a token.
    pub(super) owner: Option<u32>,
}

impl Projected {
    pub(super) fn new(folder: PathBuf, mode: u32, group: Option<u32>) -> Projected {
        std::fs::create_dir_all(&folder).expect("a volume");
        give(&folder, group, 0o755);
        Projected {
            folder,
            mode,
            group,
            shown: Mutex::default(),
        }
    }

    /// Puts these contents there, in place of what was. What is there already is left alone.
    pub(super) fn write(&self, content: BTreeMap<String, Laid>) {
        let mut shown = self.shown.lock().expect("a volume");
        if *shown != content {
            self.replace(&content);
            *shown = content;
        }
    }

    fn replace(&self, content: &BTreeMap<String, Laid>) {
        static GENERATION: AtomicU32 = AtomicU32::new(1);
        let name = format!("..generation_{}", GENERATION.fetch_add(1, Ordering::Relaxed));
        let new = self.folder.join(&name);
        std::fs::create_dir(&new).expect("a generation");
        give(&new, self.group, 0o755);
        for (key, laid) in content {
            let path = new.join(key);
            std::fs::write(&path, &laid.octets).expect("a key's file");
            // With an fsGroup its members may read, whatever the mode says.
            let group = if self.group.is_some() { 0o440 } else { 0 };
            let mode = if laid.owner.is_some() { 0o600 } else { self.mode };
            give(&path, self.group, mode | group);
            if let Some(owner) = laid.owner {
                chown(&path, Some(Uid::from_raw(owner)), None::<Gid>).expect("chown");
            }
        }
        let data = self.folder.join("..data");
        let old = std::fs::read_link(&data).ok();
        let next = self.folder.join("..data_tmp");
        symlink(&name, &next).expect("..data_tmp");
        std::fs::rename(&next, &data).expect("..data");
        for key in content.keys() {
            let link = self.folder.join(key);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(key), link).expect("a key's link");
            }
        }
        let entries = std::fs::read_dir(&self.folder).expect("a volume").flatten();
        for entry in entries {
            let name = entry.file_name().into_string().expect("UTF-8");
            if !name.starts_with("..") && !content.contains_key(&name) {
                std::fs::remove_file(entry.path()).expect("a link that goes");
            }
        }
        if let Some(old) = old {
            std::fs::remove_dir_all(self.folder.join(old)).expect("the old generation");
        }
    }
}

/// A folder that the pod may write: an emptyDir or a claim. It belongs to the fsGroup, at once with all that is
/// in it, unless its root shows that this was done (`OnRootMismatch`).
pub(super) fn writable(folder: &Path, group: Option<u32>) {
    std::fs::create_dir_all(folder).expect("a volume");
    match group {
        // Anybody's, as the kubelet makes an emptyDir.
        None => give(folder, None, 0o777),
        Some(gid) => {
            let root = std::fs::metadata(folder).expect("a volume");
            if root.gid() != gid || root.mode() & 0o2770 != 0o2770 {
                hand_over(folder, gid);
            }
        }
    }
}

fn hand_over(path: &Path, gid: u32) {
    let meta = path.symlink_metadata().expect("metadata");
    if meta.is_symlink() {
        return;
    }
    let more = if meta.is_dir() { 0o2770 } else { 0o660 };
    give(path, Some(gid), meta.mode() & 0o7777 | more);
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder").flatten() {
            hand_over(&entry.path(), gid);
        }
    }
}

fn give(path: &Path, group: Option<u32>, mode: u32) {
    if let Some(group) = group {
        chown(path, None::<Uid>, Some(Gid::from_raw(group))).expect("chown");
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

/// What a ConfigMap or Secret holds, by key.
pub fn contents(object: &Value) -> BTreeMap<String, Vec<u8>> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let entries = |field: &str| object[field].as_object().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let is_secret = object["kind"] == "Secret";
    let mut found = BTreeMap::new();
    for (key, value) in entries("data") {
        let value = text(&value);
        let octets = match is_secret {
            true => engine.decode(value).expect("base64"),
            false => value.into_bytes(),
        };
        found.insert(key, octets);
    }
    for (key, value) in entries("binaryData") {
        found.insert(key, engine.decode(text(&value)).expect("base64"));
    }
    for (key, value) in entries("stringData") {
        found.insert(key, text(&value).into_bytes());
    }
    found
}
