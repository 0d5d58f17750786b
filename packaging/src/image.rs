//! The container image, made as `cargo xtask image` makes it, and a place for containers that goes with the test.

use blackbox::tools::{program, run, target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the image is called in the tests, and in the manifests without its first part.
pub const NAME: &str = concat!("localhost/smtp-server:", env!("CARGO_PKG_VERSION"));

/// The files of the image, as `cargo xtask test` has laid them out before it starts the tests.
pub fn files() -> PathBuf {
    given("SMTP_SERVER_IMAGE", "image/release")
}

/// The program behind `cargo xtask`.
pub fn xtask() -> Command {
    program(&given("SMTP_SERVER_XTASK", "release/xtask").display().to_string())
}

/// What a variable names, or what is in the target folder since it was last made.
fn given(variable: &str, usual: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| target().join(usual), PathBuf::from);
    assert!(
        path.exists(),
        "{} is missing: `cargo xtask test` makes it",
        path.display()
    );
    path
}

/// Images and containers of one test: nobody else's are seen, and nothing is left behind.
pub struct Storage {
    folder: tempfile::TempDir,
}

impl Storage {
    pub fn new() -> Storage {
        let folder = tempfile::Builder::new()
            .prefix("containers-")
            .tempdir()
            .expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            path("images"),
            path("run")
        );
        // Limits that a root without CAP_SYS_RESOURCE may set; locks and state that no other podman shares.
        let containers = format!(
            "[containers]\n\
             default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
             [engine]\n\
             runtime = \"runc\"\n\
             cgroup_manager = \"cgroupfs\"\n\
             events_logger = \"none\"\n\
             lock_type = \"file\"\n\
             tmp_dir = \"{}\"\n\
             [network]\n\
             network_backend = \"netavark\"\n\
             network_config_dir = \"{}\"\n",
            path("state"),
            path("networks")
        );
        std::fs::write(folder.path().join("storage.conf"), storage).expect("storage.conf");
        std::fs::write(folder.path().join("containers.conf"), containers).expect("containers.conf");
        Storage { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a program's containers and images those of this storage.
    pub fn used_by(&self, mut command: Command) -> Command {
        command
            .env("CONTAINERS_STORAGE_CONF", self.path().join("storage.conf"))
            .env("CONTAINERS_CONF", self.path().join("containers.conf"))
            .env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// The control group for its containers, for `podman run --cgroup-parent`: one that is left is ended with the
    /// storage, where podman's own would stay.
    pub fn group(&self) -> String {
        let name = self.path().file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }

    pub fn podman(&self) -> Command {
        self.used_by(program("/usr/bin/podman"))
    }

    pub fn buildah(&self) -> Command {
        self.used_by(program("/usr/bin/buildah"))
    }

    pub fn skopeo(&self) -> Command {
        self.used_by(program("/usr/bin/skopeo"))
    }

    /// Builds the image. Gives its id.
    pub fn build(&self, name: &str) -> String {
        let mut image = self.used_by(xtask());
        image.args(["image", "--tag", name, "--files"]).arg(files());
        said(&mut image).rsplit(' ').next().expect("an id").to_owned()
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Containers first: they have mounts in the folder.
        let mut remove = self.podman();
        let _ = remove.args(["rm", "--all", "--force", "--time", "0"]).output();
        end_group(&self.group());
    }
}

/// The folders that a control group has: one in each hierarchy of version 1, the one of version 2.
fn group_folders(name: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let hierarchies = hierarchies.map(|entry| entry.path().join(name));
    let folders = hierarchies.chain([PathBuf::from("/sys/fs/cgroup").join(name)]);
    folders.filter(|folder| folder.exists()).collect()
}

/// The groups within a group.
fn inner_groups(group: &Path) -> Vec<PathBuf> {
    let inner = std::fs::read_dir(group).into_iter().flatten().flatten();
    inner
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Removes a control group that nobody is in.
pub fn end_group_if_empty(name: &str) {
    for group in group_folders(name) {
        // The kernel refuses to remove one with processes or groups in it.
        for group in inner_groups(&group).into_iter().chain([group]) {
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// Ends what is left in a control group, and removes it.
pub(crate) fn end_group(name: &str) {
    for group in group_folders(name) {
        for group in inner_groups(&group).into_iter().chain([group]) {
            let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for process in processes.lines().filter_map(|line| line.parse().ok()) {
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
            // Removed as soon as the last one is gone, which takes a moment.
            let end = Instant::now() + Duration::from_secs(5);
            while group.exists() && std::fs::remove_dir(&group).is_err() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// What a program says, which has to succeed.
pub fn said(command: &mut Command) -> String {
    let output = run(command);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
