//! The programs that `cargo xtask peers` brings.

pub use blackbox::tools::peer;
use blackbox::tools::{program, target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's folder.
pub fn root() -> PathBuf {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR"));
    packaging.parent().expect("the workspace").to_owned()
}

/// Which Helm and kubectl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Helm 3 and kubectl 1.32.
    Helm3,
    /// Helm 4 and kubectl 1.37.
    Helm4,
}

impl Release {
    pub const ALL: [Release; 2] = [Release::Helm3, Release::Helm4];

    fn folder(self) -> PathBuf {
        peer(match self {
            Release::Helm3 => "kubectl-v32",
            Release::Helm4 => "kubectl-v37",
        })
    }

    /// `helm`, with folders of its own, so that nobody's settings are read.
    pub fn helm(self) -> Command {
        let mut helm = program(&self.folder().join("helm").display().to_string());
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            helm.env(variable, target().join("helm").join(folder));
        }
        helm.env("KUBECONFIG", "/dev/null");
        helm
    }

    /// `kubectl`, without a cluster.
    pub fn kubectl(self) -> Command {
        let mut kubectl = program(&self.folder().join("kubectl").display().to_string());
        kubectl.env("KUBECONFIG", "/dev/null");
        kubectl
    }
}

/// A module of Python's from one of the folders that pip filled: `python3 -m MODULE`.
pub fn python(folder: &str, module: &str) -> Command {
    let mut python = program("/usr/bin/python3");
    python.env("PYTHONPATH", peer(folder)).args(["-m", module]);
    python
}

/// Node, with the packages that npm installed.
pub fn node() -> Command {
    let mut node = program("/usr/bin/node");
    node.env("NODE_PATH", peer("node").join("node_modules"));
    node.current_dir(peer("node"));
    node
}
