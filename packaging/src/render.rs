//! Manifests and chart, as a cluster would get them.

use crate::tools::{Release, root};
use blackbox::tools::run;
use serde_json::Value;
use std::path::Path;

/// The Kubernetes versions that are supported.
pub const KUBERNETES: [&str; 8] = [
    "1.30.0", "1.31.0", "1.32.0", "1.33.0", "1.34.0", "1.35.0", "1.36.0", "1.37.0",
];

/// The lines of the guide's quick start, as they stand there.
pub const QUICK_START: [&str; 12] = [
    "kubectl create namespace mail",
    "kubectl apply -f k8s/namespace.yaml",
    "kubectl apply -f k8s/configmap.yaml",
    "kubectl apply -f k8s/secrets.yaml",
    "kubectl apply -f k8s/network-policies.yaml",
    "kubectl apply -f k8s/deployment.yaml",
    "kubectl apply -f k8s/service.yaml",
    "kubectl apply -f k8s/hpa.yaml",
    "kubectl apply -f k8s/pdb.yaml",
    "kubectl get all -n mail",
    "kubectl rollout status deployment/smtp-server -n mail",
    "kubectl logs -f -l app=smtp-server -n mail",
];

/// What the quick start applies, in its order, by the names of the files in `k8s/`: `namespace`, `configmap`, …
pub fn quick_start() -> Vec<&'static str> {
    let name = |line: &&'static str| line.strip_prefix("kubectl apply -f k8s/")?.strip_suffix(".yaml");
    QUICK_START.iter().filter_map(name).collect()
}

/// The objects of a text with YAML documents; empty documents are none.
pub fn objects(yaml: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{error}\n{yaml}")))
        .filter(|object| !object.is_null())
        .collect()
}

/// The objects of a file, whose path is relative to the workspace.
pub fn file(path: &str) -> Vec<Value> {
    let path = root().join(path);
    objects(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// What `kubectl kustomize` makes of a folder, relative to the workspace (`k8s/overlays/embedded`).
pub fn kustomize(release: Release, folder: &str) -> String {
    let output = run(release.kubectl().arg("kustomize").arg(root().join(folder)));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// An overlay of somebody's own, which adds components to one of ours.
pub fn customized(release: Release, overlay: &str, components: &[&str]) -> String {
    let place = root().join("target/kustomize");
    std::fs::create_dir_all(&place).expect("a folder");
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let k8s = "../../../k8s";
    let mut text = format!("resources:\n- {k8s}/overlays/{overlay}\n");
    if !components.is_empty() {
        text += "components:\n";
        for component in components {
            text += &format!("- {k8s}/{component}\n");
        }
    }
    std::fs::write(folder.path().join("kustomization.yaml"), text).expect("kustomization.yaml");
    let path = folder.path().strip_prefix(root()).expect("within the workspace");
    kustomize(release, path.to_str().expect("UTF-8"))
}

/// What `helm template` makes of the chart with a file of values.
pub fn chart(release: Release, values: Option<&Path>, kubernetes: &str, more: &[&str]) -> String {
    let mut helm = release.helm();
    helm.args(["template", "smtp-server"]);
    helm.arg(root().join("charts/smtp-server"));
    helm.args(["--namespace", "mail", "--kube-version", kubernetes]);
    if let Some(values) = values {
        helm.arg("--values").arg(values);
    }
    let output = run(helm.args(more));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The objects of a release of the chart by Helm 4: its name, its namespace, and values.
pub fn released(name: &str, namespace: &str, values: &Value) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), values.to_string()).expect("values");
    let mut helm = Release::Helm4.helm();
    helm.args(["template", name, "--namespace", namespace]);
    helm.arg(root().join("charts/smtp-server"));
    let output = run(helm.arg("--values").arg(file.path()));
    objects(&String::from_utf8(output.stdout).expect("UTF-8"))
}

/// Objects as the `namespace:` of somebody's overlay leaves them: in another namespace.
pub fn moved(mut objects: Vec<Value>, namespace: &str) -> Vec<Value> {
    for object in &mut objects {
        match object["kind"] == "Namespace" {
            true => object["metadata"]["name"] = namespace.into(),
            false => object["metadata"]["namespace"] = namespace.into(),
        }
    }
    objects
}

/// One object of a kind and name.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}
