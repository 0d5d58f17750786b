//! A node.

use super::api::{Api, Asked, Tokens};
use super::group::Group;
use super::identity::Identity;
use super::network::{Attached, Network, forward};
use super::pod::Pod;
use super::spec::{FilesOf, on_the_nodes_network};
use super::volumes::{Laid, Projected, contents};
use crate::image::{NAME, Storage};
use crate::net::cluster::{Cluster, Host};
use blackbox::disk::Tmpfs;
use blackbox::dns::Dns;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// A node, and of the API as much as a kubelet reads. Dropped after its pods, it leaves nothing behind.
pub struct Node {
    // Dropped in this order: containers, then the network, then the files.
    pub(super) storage: Storage,
    pub(super) group: Group,
    pub(super) network: Arc<Network>,
    /// Times of templates are divided by it.
    pace: u32,
    /// What else this machine does with its disk is none of its pods'.
    disk: Tmpfs,
    /// The cluster's name server: what is not in it does not exist.
    pub names: Dns,
    objects: Mutex<Vec<Value>>,
    /// The API server, when pods may ask it.
    api: OnceLock<Api>,
    tokens: Tokens,
    /// Volumes that follow what they are made of.
    following: Mutex<Vec<Follower>>,
    /// Variables that the image is taken to have.
    of_the_image: Mutex<BTreeMap<String, String>>,
}

/// A pod's volume, with what it is made of.
#[derive(Clone)]
struct Follower {
    sources: Vec<FilesOf>,
    pod: Arc<Identity>,
    volume: Weak<Projected>,
}

impl Node {
    /// A node with the image, and these objects in its API. It is this machine; its pods are on a bridge.
    pub fn new(objects: Vec<Value>) -> Node {
        let node = Node::with(objects, Network::bridge(), Dns::start(), 1);
        forward::names(node.address(), node.names.address);
        node
    }

    /// The node of a cluster, where `kube_dns` resolves names; its pods are on hosts of the cluster. The times of templates
    /// (probes, preStop, grace, the back-off) are divided by `pace`.
    pub fn of(cluster: &Cluster, kube_dns: &Host, objects: Vec<Value>, pace: u32) -> Node {
        let names = kube_dns.space.inside(|| Dns::on("0.0.0.0:53"));
        Node::with(objects, Network::cluster(cluster, kube_dns), names, pace)
    }

    fn with(objects: Vec<Value>, network: Network, names: Dns, pace: u32) -> Node {
        let node = Node {
            storage: Storage::new(),
            group: Group::new(),
            network: Arc::new(network),
            pace,
            disk: Tmpfs::new("1g"),
            names,
            objects: Mutex::new(objects),
            api: OnceLock::new(),
            tokens: Tokens::default(),
            following: Mutex::default(),
            of_the_image: Mutex::default(),
        };
        node.storage.build(NAME);
        node
    }

    /// The node's address in its pods' network.
    pub fn address(&self) -> Ipv4Addr {
        self.network.node()
    }

    /// An address of the node's.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address()), port)
    }

    /// Lets pods reach what listens on this machine's loopback, at a port of the node's.
    pub fn lends(&self, port: u16, to: SocketAddr) {
        forward::connections(self.at(port), to);
    }

    /// An object by its kind and name; a generator's suffix may follow the name.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let objects = self.objects.lock().expect("objects");
        let found = objects.iter().find(|object| is(object, kind, name));
        found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
    }

    /// The name of the ConfigMap with that key: the chart calls it after its release.
    pub(super) fn config_map(&self, key: &str) -> String {
        let objects = self.objects.lock().expect("objects");
        let mut maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
        let map = maps.find(|map| map["data"][key].is_string());
        let name = map.and_then(|map| map["metadata"]["name"].as_str());
        name.unwrap_or_else(|| panic!("no ConfigMap with {key}"))
            .to_owned()
    }

    /// The text of a key of a ConfigMap or Secret.
    pub fn value(&self, kind: &str, name: &str, key: &str) -> String {
        let found = contents(&self.object(kind, name)).remove(key);
        let octets = found.unwrap_or_else(|| panic!("no key {key} in {kind} {name}"));
        String::from_utf8(octets).expect("UTF-8")
    }

    /// Changes keys of a ConfigMap or Secret, which has to be there. Volumes of running pods follow at once
    /// (a real kubelet takes up to a minute).
    pub fn change(&self, kind: &str, name: &str, values: &[(&str, &str)]) {
        let mut objects = self.objects.lock().expect("objects");
        let object = objects.iter_mut().find(|object| is(object, kind, name));
        let object = object.unwrap_or_else(|| panic!("no {kind} {name}"));
        let field = if kind == "Secret" { "stringData" } else { "data" };
        if !object[field].is_object() {
            object[field] = json!({});
        }
        for (key, value) in values {
            object[field][*key] = json!(value);
        }
        drop(objects);
        self.changed();
    }

    /// Running pods and the API server have what is there now.
    fn changed(&self) {
        let following = self.following.lock().expect("volumes").clone();
        let volumes = following.iter().filter_map(|one| {
            let volume = one.volume.upgrade()?;
            Some((volume, self.laid(&one.sources, &one.pod)))
        });
        let volumes: Vec<_> = volumes.collect();
        // Before a pod can show its token.
        self.tell();
        for (volume, laid) in volumes {
            volume.write(laid);
        }
    }

    fn tell(&self) {
        if let Some(api) = self.api.get() {
            api.knows(&self.tokens, &self.objects.lock().expect("objects"));
        }
    }

    /// Lays a volume's files out for a pod, and keeps them as they are to be.
    pub(super) fn follow(&self, sources: &[FilesOf], pod: &Arc<Identity>, volume: &Arc<Projected>) {
        let laid = self.laid(sources, pod);
        self.tell();
        volume.write(laid);
        self.following.lock().expect("volumes").push(Follower {
            sources: sources.to_vec(),
            pod: pod.clone(),
            volume: Arc::downgrade(volume),
        });
    }

    /// The files of a volume, by their paths.
    fn laid(&self, sources: &[FilesOf], pod: &Identity) -> BTreeMap<String, Laid> {
        let mut laid = BTreeMap::new();
        let mut lay = |path: &str, octets: Vec<u8>, owner: Option<u32>| {
            let before = laid.insert(path.to_owned(), Laid { octets, owner });
            assert!(before.is_none(), "two files {path} in a volume");
        };
        for source in sources {
            match source {
                FilesOf::Object { kind, name, items } => {
                    let mut content = contents(&self.object(kind, name));
                    let all = || content.keys().map(|key| (key.clone(), key.clone())).collect();
                    for (key, path) in items.clone().unwrap_or_else(all) {
                        let octets = content.remove(&key);
                        lay(
                            &path,
                            octets.unwrap_or_else(|| panic!("no key {key} in {name}")),
                            None,
                        );
                    }
                }
                FilesOf::Token(path) => lay(path, self.tokens.of(pod).into(), Some(pod.uid)),
                FilesOf::Fields(fields) => {
                    for (field, path) in fields {
                        lay(path, pod.field(field).into(), None);
                    }
                }
            }
        }
        laid
    }

    /// Lets pods ask the API server for these objects, at the address that every pod has in its variables. Its authority is in the
    /// ConfigMap that every namespace has.
    pub fn serve(&self) {
        let api = self.api.get_or_init(|| Api::start(self.address()));
        self.add(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "kube-root-ca.crt", "namespace": "mail" },
            "data": { "ca.crt": api.authority() },
        }));
        self.lends(443, api.address());
    }

    /// What the API server was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.api.get().expect("a served API").asked()
    }

    /// The tokens that pods have are good no longer.
    pub fn expire_tokens(&self) {
        self.tokens.expire();
        self.tell();
    }

    /// New tokens for all pods, as a kubelet gets them when an hour is nearly over.
    pub fn renew_tokens(&self) {
        self.expire_tokens();
        self.changed();
    }

    /// Adds an object.
    pub fn add(&self, object: Value) {
        self.objects.lock().expect("objects").push(object);
        self.changed();
    }

    /// From now on pods are started as if their image brought this variable. What a template says wins.
    pub fn image_says(&self, variable: &str, value: &str) {
        let mut variables = self.of_the_image.lock().expect("variables");
        variables.insert(variable.to_owned(), value.to_owned());
    }

    pub(super) fn variables_of_the_image(&self) -> BTreeMap<String, String> {
        self.of_the_image.lock().expect("variables").clone()
    }

    /// Starts a pod of a StatefulSet (by its ordinal), of a Deployment or a Job: on the bridge, or on the network of a cluster's node
    /// if its template says so.
    pub fn start(&self, kind: &str, name: &str, ordinal: u32) -> Pod {
        let workload = self.object(kind, name);
        let attached = match on_the_nodes_network(&workload) {
            true => self.network.of_the_node(),
            false => self.network.attach(),
        };
        Pod::start(self, &workload, ordinal, attached)
    }

    /// Starts a pod on a host of the cluster.
    pub fn start_on(&self, host: &Arc<Host>, kind: &str, name: &str, ordinal: u32) -> Pod {
        let workload = self.object(kind, name);
        assert!(!on_the_nodes_network(&workload), "{name} has its node's network");
        Pod::start(self, &workload, ordinal, Attached::to(host.clone()))
    }

    pub(super) fn pace(&self) -> u32 {
        self.pace
    }

    /// Changes an object; pods that are started from then on follow.
    pub fn edit(&self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut objects = self.objects.lock().expect("objects");
        let object = objects.iter_mut().find(|object| is(object, kind, name));
        change(object.unwrap_or_else(|| panic!("no {kind} {name}")));
        drop(objects);
        self.tell();
    }

    /// Its images and containers.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where a claim's files are; they stay when a pod goes.
    pub fn claim(&self, name: &str) -> PathBuf {
        self.disk.join("claims").join(name)
    }

    pub(super) fn pod_folder(&self, name: &str) -> PathBuf {
        self.disk.join("pods").join(name)
    }
}

fn is(object: &Value, kind: &str, name: &str) -> bool {
    let full = object["metadata"]["name"].as_str().unwrap_or_default();
    // kustomize's generators append a hash of the content.
    let hashed = full.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let is_hash = hashed.is_some_and(|hash| hash.len() == 10 && !hash.contains('-'));
    object["kind"] == kind && (full == name || is_hash)
}
