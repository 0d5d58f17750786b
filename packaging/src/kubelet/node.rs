//! A node.

use super::network::{Bridge, forward, forward_names};
use super::pod::Pod;
use super::volumes::{Projected, contents};
use crate::image::{NAME, Storage};
use blackbox::dns::Dns;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A node, and of the API as much as a kubelet reads. Dropped after its pods, it leaves nothing behind.
pub struct Node {
    // Dropped in this order: containers, then the network, then the files.
    pub(super) storage: Storage,
    pub(super) bridge: Bridge,
    folder: tempfile::TempDir,
    /// The cluster's name server: what is not in it does not exist.
    pub names: Dns,
    objects: Mutex<Vec<Value>>,
    /// Volumes that follow an object.
    following: Mutex<Vec<(String, String, Weak<Projected>)>>,
    hosts: AtomicU8,
}

impl Node {
    /// A node with the image, and these objects in its API.
    pub fn new(objects: Vec<Value>) -> Node {
        let node = Node {
            storage: Storage::new(),
            bridge: Bridge::new(),
            folder: tempfile::Builder::new()
                .prefix("kubelet-")
                .tempdir()
                .expect("a folder"),
            names: Dns::start(),
            objects: Mutex::new(objects),
            following: Mutex::default(),
            hosts: AtomicU8::new(10),
        };
        node.storage.build(NAME);
        forward_names(node.address(), node.names.address);
        node
    }

    /// The node's address in its pods' network.
    pub fn address(&self) -> Ipv4Addr {
        self.bridge.address()
    }

    /// An address of the node's.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address()), port)
    }

    /// Lets pods reach what listens on this machine's loopback, at a port of the node's.
    pub fn lends(&self, port: u16, to: SocketAddr) {
        forward(self.at(port), to);
    }

    /// An object by its kind and name; a generator's suffix may follow the name.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let objects = self.objects.lock().expect("objects");
        let found = objects.iter().find(|object| is(object, kind, name));
        found.unwrap_or_else(|| panic!("no {kind} {name}")).clone()
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
        let content = contents(object);
        let full_name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        for (of, name, volume) in self.following.lock().expect("volumes").iter() {
            if let (true, Some(volume)) = (of == kind && *name == full_name, volume.upgrade()) {
                volume.write(&content);
            }
        }
    }

    pub(super) fn follow(&self, kind: &str, name: &str, volume: &Arc<Projected>) {
        volume.write(&contents(&self.object(kind, name)));
        let mut following = self.following.lock().expect("volumes");
        following.push((kind.to_owned(), name.to_owned(), Arc::downgrade(volume)));
    }

    /// Starts a pod of a StatefulSet (by its ordinal) or of a Deployment.
    pub fn start(&self, kind: &str, name: &str, ordinal: u32) -> Pod {
        Pod::start(self, &self.object(kind, name), ordinal)
    }

    /// Changes an object; pods that are started from then on follow.
    pub fn edit(&self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut objects = self.objects.lock().expect("objects");
        let object = objects.iter_mut().find(|object| is(object, kind, name));
        change(object.unwrap_or_else(|| panic!("no {kind} {name}")));
    }

    /// Its images and containers.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where a claim's files are; they stay when a pod goes.
    pub fn claim(&self, name: &str) -> PathBuf {
        self.folder.path().join("claims").join(name)
    }

    pub(super) fn pod_folder(&self, name: &str) -> PathBuf {
        self.folder.path().join("pods").join(name)
    }

    pub(super) fn next_host(&self) -> u8 {
        self.hosts.fetch_add(1, Ordering::Relaxed)
    }
}

fn is(object: &Value, kind: &str, name: &str) -> bool {
    let full = object["metadata"]["name"].as_str().unwrap_or_default();
    // kustomize's generators append a hash of the content.
    let hashed = full.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let is_hash = hashed.is_some_and(|hash| hash.len() == 10 && !hash.contains('-'));
    object["kind"] == kind && (full == name || is_hash)
}
