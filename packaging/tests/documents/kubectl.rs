//! Whether a line of `kubectl` would find what it names.

use super::cluster::{Cluster, is_placeholder, kind};
use super::options::Line;
use packaging::render::{file, find};
use packaging::tools::root;
use serde_json::Value;

/// A line, and what it is held against.
pub(crate) struct Check<'a> {
    pub(crate) line: &'a Line,
    pub(crate) cluster: &'a Cluster,
    /// To be typed as it is; else it is in the middle of a sentence, and may leave things out.
    pub(crate) whole: bool,
}

impl Check<'_> {
    /// What is wrong.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.files(&mut wrong);
        self.namespace(&mut wrong);
        let path: Vec<&str> = self.line.path.iter().map(String::as_str).collect();
        let arguments = &self.line.arguments;
        match path[..] {
            ["kustomize"] => self.kustomization(arguments.first().map(String::as_str), &mut wrong),
            ["apply" | "diff"] => {}
            ["get" | "describe" | "delete" | "wait" | "scale" | "patch"] | ["rollout", _] => {
                self.objects(arguments, &mut wrong);
            }
            ["label" | "annotate" | "taint"] => {
                self.objects(arguments.get(..2).unwrap_or(arguments), &mut wrong)
            }
            ["set", "image"] => self.objects(arguments.get(..1).unwrap_or_default(), &mut wrong),
            ["logs" | "exec" | "debug"] => self.pod(arguments.first().map(String::as_str), &mut wrong),
            ["port-forward"] => {
                self.pod(arguments.first().map(String::as_str), &mut wrong);
                self.ports(arguments, &mut wrong);
            }
            ["top", "pod" | "node"] | ["run"] => {}
            ["auth", "can-i"] => self.rights(arguments, &mut wrong),
            ["create", "namespace"] => {
                let name = arguments.first().map(String::as_str).unwrap_or_default();
                if !self.cluster.namespaces().contains(name) {
                    wrong.push(format!("nothing is in the namespace {name}"));
                }
            }
            ["create", "secret", ..] => self.keys(arguments, &mut wrong),
            ref other => wrong.push(format!("nobody looks at `kubectl {}`", other.join(" "))),
        }
        self.selector(&mut wrong);
        self.containers(&mut wrong);
        wrong
    }

    fn files(&self, wrong: &mut Vec<String>) {
        for path in self.line.values("--filename") {
            if path != "-" && !is_placeholder(path) && !root().join(path).is_file() {
                wrong.push(format!("no file {path}"));
            }
        }
        for folder in self.line.values("--kustomize") {
            self.kustomization(Some(folder), wrong);
        }
        for patch in self.line.values("--patch") {
            if serde_json::from_str::<Value>(patch).is_err() {
                wrong.push(format!("no JSON: {patch}"));
            }
        }
    }

    fn kustomization(&self, folder: Option<&str>, wrong: &mut Vec<String>) {
        let folder = folder.unwrap_or_default();
        if !is_placeholder(folder) && !root().join(folder).join("kustomization.yaml").exists() {
            wrong.push(format!("nothing for kustomize in {folder:?}"));
        }
    }

    fn namespace(&self, wrong: &mut Vec<String>) {
        let known = self.cluster.namespaces();
        let strange = self
            .line
            .values("--namespace")
            .filter(|name| !is_placeholder(name) && !known.contains(name));
        wrong.extend(strange.map(|name| format!("no namespace {name}")));
    }

    /// Where the objects are; nothing for all namespaces.
    fn within(&self) -> Option<&str> {
        self.line
            .value("--namespace")
            .filter(|name| !is_placeholder(name))
    }

    /// Whoever types it is in no namespace of ours.
    fn placed(&self, wrong: &mut Vec<String>) {
        if self.whole && !self.line.has("--namespace") && !self.line.has("--all-namespaces") {
            wrong.push("says no namespace".into());
        }
    }

    /// Kinds and names: `pods,pvc`, `pod POD`, `deploy/smtp-server`.
    fn objects(&self, arguments: &[String], wrong: &mut Vec<String>) {
        let by_file = self.line.has("--filename") || self.line.has("--kustomize");
        let Some(first) = arguments.first() else {
            if self.whole && !by_file {
                wrong.push("names nothing".into());
            }
            return;
        };
        if is_placeholder(first) && !first.contains('/') {
            return;
        }
        let pairs: Vec<(&str, &str)> = match first.contains('/') {
            true => arguments.iter().filter_map(|one| one.split_once('/')).collect(),
            false => {
                let names = arguments[1..].iter().map(String::as_str);
                let names: Vec<&str> = if arguments.len() > 1 {
                    names.collect()
                } else {
                    vec!["…"]
                };
                let kinds = first.split(',');
                kinds
                    .flat_map(|kind| names.iter().map(move |name| (kind, *name)))
                    .collect()
            }
        };
        for (word, name) in pairs {
            let Some((kind, namespaced)) = kind(word) else {
                wrong.push(format!("nobody knows the kind {word}"));
                continue;
            };
            if namespaced {
                self.placed(wrong);
            }
            self.named(kind, name, wrong);
            self.field(kind, name, wrong);
        }
    }

    fn named(&self, kind: &str, name: &str, wrong: &mut Vec<String>) {
        let elsewhere = ["Node", "PersistentVolume", "Event", "EndpointSlice"].contains(&kind);
        let there = is_placeholder(name)
            || self.cluster.get(kind, name, self.within()).is_some()
            || self.cluster.is_outside(kind, name, self.within())
            || (kind == "Secret" && keys_of(name).is_some());
        if !elsewhere && !there {
            wrong.push(format!("no {kind} {name}"));
        }
    }

    /// What `-o jsonpath` asks for of one object is there.
    fn field(&self, kind: &str, name: &str, wrong: &mut Vec<String>) {
        let Some(path) = self
            .line
            .value("--output")
            .and_then(|output| output.strip_prefix("jsonpath="))
        else {
            return;
        };
        let path = path.trim_matches(['{', '}']);
        if path.starts_with(".items") {
            return;
        }
        let there = match (kind, path.strip_prefix(".data.")) {
            ("Secret", Some(key)) => {
                keys_of(name).is_some_and(|keys| keys.contains(&key.replace("\\.", ".")))
            }
            _ => {
                let object = self.cluster.get(kind, name, self.within());
                object.is_some_and(|object| object.pointer(&path.replace('.', "/")).is_some())
            }
        };
        if !there {
            wrong.push(format!("{kind} {name} has no {path}"));
        }
    }

    /// A pod, or what has pods.
    fn pod(&self, target: Option<&str>, wrong: &mut Vec<String>) {
        let Some(target) = target else {
            if self.whole && !self.line.has("--selector") {
                wrong.push("names no pod".into());
            }
            return;
        };
        self.placed(wrong);
        match target.split_once('/') {
            Some((word, name)) => match kind(word) {
                Some((kind, _)) => self.named(kind, name, wrong),
                None => wrong.push(format!("nobody knows the kind {word}")),
            },
            None => self.named("Pod", target, wrong),
        }
        let program = self.line.behind.first().map(|word| word.trim_start_matches('/'));
        let ours = self.line.path == ["exec"] && !is_placeholder(target);
        if (self.whole || ours) && self.line.path == ["exec"] && program != Some("smtp-server") {
            wrong.push(format!("the image has no {program:?}"));
        }
    }

    fn ports(&self, arguments: &[String], wrong: &mut Vec<String>) {
        let Some((target, ports)) = arguments.split_first() else {
            return;
        };
        let known = self.cluster.ports(target);
        for port in ports {
            let port = port.rsplit(':').next().expect("a port");
            if !known.contains(port) {
                wrong.push(format!("{target} has no port {port}"));
            }
        }
        if ports.is_empty() && self.whole {
            wrong.push("forwards no port".into());
        }
    }

    /// `get statefulsets/smtp-server`, asked as an account.
    fn rights(&self, arguments: &[String], wrong: &mut Vec<String>) {
        self.placed(wrong);
        let (word, name) = arguments
            .get(1)
            .and_then(|one| one.split_once('/'))
            .unwrap_or_default();
        match kind(word) {
            Some((kind, _)) => self.named(kind, name, wrong),
            None => wrong.push(format!("nobody knows the kind {word}")),
        }
        if let Some(account) = self.line.value("--as") {
            let (namespace, name) = account
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'))
                .unwrap_or_default();
            if self
                .cluster
                .get("ServiceAccount", name, Some(namespace))
                .is_none()
            {
                wrong.push(format!("no account {account}"));
            }
        }
    }

    /// The Secrets that one is told to make are those that pods read, with the keys that they look for.
    fn keys(&self, arguments: &[String], wrong: &mut Vec<String>) {
        self.placed(wrong);
        let Some(name) = arguments.first() else { return };
        let Some(keys) = keys_of(name) else {
            wrong.push(format!("nobody reads a Secret {name}"));
            return;
        };
        for given in self
            .line
            .values("--from-file")
            .chain(self.line.values("--from-literal"))
        {
            let (key, _) = given.split_once('=').unwrap_or_default();
            if !is_placeholder(given) && !keys.contains(&key.to_owned()) {
                wrong.push(format!("nobody reads {key} of {name}"));
            }
        }
    }

    fn selector(&self, wrong: &mut Vec<String>) {
        let Some(selector) = self.line.value("--selector").filter(|one| !is_placeholder(one)) else {
            return;
        };
        let kinds = match self.line.path[0].as_str() {
            "logs" => "pods",
            _ => self
                .line
                .arguments
                .first()
                .map(String::as_str)
                .unwrap_or_default(),
        };
        for word in kinds.split(',') {
            if let Some((kind, _)) = kind(word)
                && !self.cluster.labelled(kind, selector, self.within())
            {
                wrong.push(format!("no {kind} has {selector}"));
            }
        }
    }

    fn containers(&self, wrong: &mut Vec<String>) {
        let known = self.cluster.containers();
        let named = self.line.values("--container");
        let debugged = self.line.path == ["debug"];
        let target = self.line.values("--target").filter(|_| debugged);
        let strange = named.chain(target).filter(|name| !known.contains(name));
        wrong.extend(strange.map(|name| format!("no container {name}")));
    }
}

/// The keys of a Secret that pods read.
fn keys_of(name: &str) -> Option<Vec<String>> {
    let all = file("k8s/secrets.yaml");
    let named = |object: &&Value| object["metadata"]["name"] == name;
    all.iter().find(named)?;
    let secret = find(&all, "Secret", name);
    let keys = ["data", "stringData"]
        .iter()
        .filter_map(|part| secret[part].as_object());
    Some(keys.flat_map(|part| part.keys().cloned()).collect())
}
