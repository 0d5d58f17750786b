//! A container, as podman is told to run it.

use super::identity::{Identity, NODE};
use super::network::Attached;
use super::node::Node;
use super::spec::{Mount, Security, Source, Spec, Volume};
use super::volumes::{Projected, contents, writable};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where every program looks for a token.
pub const TOKENS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What is known when a container is made.
pub(super) struct Container<'p> {
    pub(super) node: &'p Node,
    pub(super) spec: &'p Spec,
    pub(super) identity: &'p Arc<Identity>,
    pub(super) attached: &'p Attached,
    /// The pod's folder on the node.
    pub(super) folder: &'p Path,
}

impl Container<'_> {
    /// What podman is told to start it, and the volumes that follow an object, to be kept as long as the pod.
    pub(super) fn words(&self) -> (Vec<String>, Vec<Arc<Projected>>) {
        let mut words: Vec<String> = ["run", "--detach", "--pull=never", "--log-driver=k8s-file"]
            .map(String::from)
            .into();
        words.push(format!("--log-opt=path={}", self.folder.join("log").display()));
        self.names(&mut words);
        words.push(format!("--cgroup-parent=/{}", self.node.group.name()));
        confinement(&self.spec.security, &mut words);
        self.limits(&mut words);
        let mut volumes = Vec::new();
        for mount in &self.spec.mounts {
            words.push(self.mounted(mount, &mut volumes));
        }
        if self.spec.token {
            words.push(self.token());
        }
        self.variables(&mut words);
        self.program(&mut words);
        (words, volumes)
    }

    /// Its network, its name in it, and how it finds others.
    fn names(&self, words: &mut Vec<String>) {
        let (identity, address) = (self.identity, self.attached.address);
        // On the node's network it is called as the node.
        let name = match self.spec.host_network {
            true => NODE,
            false => identity.name.as_str(),
        };
        let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{address}\t{name}\n");
        let resolver = format!(
            "search {}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:{}\n",
            identity.namespace,
            self.node.network.resolver(),
            self.spec.ndots
        );
        words.push(format!("--network=ns:{}", self.attached.space.display()));
        words.push(format!("--hostname={name}"));
        for (file, text) in [("hosts", hosts), ("resolv.conf", resolver)] {
            let path = self.folder.join(file);
            std::fs::write(&path, text).expect("the pod's files");
            words.push(format!("--volume={}:/etc/{file}:ro", path.display()));
        }
    }

    fn limits(&self, words: &mut Vec<String>) {
        if let Some(memory) = self.spec.memory {
            // And no swap, as a kubelet has it by default.
            words.push(format!("--memory={memory}b"));
            words.push(format!("--memory-swap={memory}b"));
        }
        if let Some(cpus) = self.spec.cpus {
            // podman refuses more than there are; the kernel would not.
            let there = std::thread::available_parallelism().map_or(1, usize::from);
            let cpus = cpus.min(there as f64);
            words.push(format!("--cpus={cpus}"));
        }
    }

    /// One mount, with its volume laid out on the node.
    fn mounted(&self, mount: &Mount, volumes: &mut Vec<Arc<Projected>>) -> String {
        let declared = self
            .spec
            .volumes
            .iter()
            .find(|(volume, _)| *volume == mount.volume);
        let (_, volume) = declared.unwrap_or_else(|| panic!("no volume {}", mount.volume));
        let group = self.spec.security.fs_group;
        let source = self.folder.join("volumes").join(&mount.volume);
        let bind = |source: PathBuf, read_only: bool| {
            let options = if read_only { "ro" } else { "rw" };
            format!("--volume={}:{}:{options}", source.display(), mount.path)
        };
        match volume {
            Volume::Files { sources, mode } => {
                let projected = Arc::new(Projected::new(source.clone(), *mode, group));
                self.node.follow(sources, self.identity, &projected);
                volumes.push(projected);
                // They cannot be written to, whatever the mount says.
                bind(source, true)
            }
            Volume::Folder => {
                writable(&source, group);
                bind(source, mount.read_only)
            }
            Volume::Claim { name: claim } => {
                let source = self.node.claim(&claim.replace("{pod}", &self.identity.name));
                writable(&source, group);
                bind(source, mount.read_only)
            }
            Volume::Memory { size } => {
                let size = size.map(|size| format!(",tmpfs-size={size}")).unwrap_or_default();
                let path = &mount.path;
                format!("--mount=type=tmpfs,destination={path},tmpfs-mode=1777{size}")
            }
        }
    }

    /// The service account's token, which the API server adds to pods that do not refuse it.
    fn token(&self) -> String {
        let folder = self.folder.join("token");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("token"), "a token of the API server's").expect("a token");
        format!("--volume={}:{TOKENS}:ro", folder.display())
    }

    /// Variables: those that the image is taken to have, those of a cluster, those of the template, which win.
    fn variables(&self, words: &mut Vec<String>) {
        for (variable, value) in self.node.variables_of_the_image() {
            words.push(format!("--env={variable}={value}"));
        }
        // Of the Service `kubernetes`, which every pod has: enableServiceLinks is about the others.
        words.push(format!("--env=KUBERNETES_SERVICE_HOST={}", self.node.address()));
        words.push("--env=KUBERNETES_SERVICE_PORT=443".into());
        for (variable, source) in &self.spec.variables {
            words.push(format!("--env={variable}={}", self.value(source)));
        }
    }

    /// What a variable is set to.
    fn value(&self, source: &Source) -> String {
        match source {
            Source::Value(value) => value.clone(),
            Source::Key { kind, name, key } => {
                let object = self.node.object(kind, name);
                let octets = contents(&object).remove(key).expect("the key");
                String::from_utf8(octets).expect("UTF-8")
            }
            Source::Field(field) => self.identity.field(field),
        }
    }

    /// The command of a template takes the place of the image's entry point, the arguments that of its command.
    fn program(&self, words: &mut Vec<String>) {
        let mut command = self.spec.command.iter();
        if let Some(program) = command.next() {
            words.push(format!("--entrypoint={program}"));
        }
        let image = self.spec.image.trim_start_matches("localhost/");
        words.push(format!("localhost/{image}"));
        words.extend(command.chain(&self.spec.args).cloned());
    }
}

/// Who the process is, and what it may.
fn confinement(security: &Security, words: &mut Vec<String>) {
    words.push(format!("--user={}:{}", security.uid, security.gid));
    if !security.seccomp {
        words.push("--security-opt=seccomp=unconfined".into());
    }
    if let Some(group) = security.fs_group {
        words.push(format!("--group-add={group}"));
    }
    for capability in &security.drop {
        words.push(format!("--cap-drop={capability}"));
    }
    if security.read_only_root {
        // No writable folders but those that the template mounts.
        words.push("--read-only".into());
        words.push("--read-only-tmpfs=false".into());
    }
    if security.no_new_privileges {
        words.push("--security-opt=no-new-privileges".into());
    }
}
