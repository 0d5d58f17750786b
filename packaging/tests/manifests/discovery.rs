//! Which kinds of objects there are, as an API server says it.

use serde_json::{Value, json};

/// A kind: group and version, plural, name; its category `all` and its short names as Kubernetes has them.
pub(crate) type Kind = (&'static str, &'static str, &'static str, &'static [&'static str]);

const KINDS: [Kind; 13] = [
    ("v1", "namespaces", "Namespace", &["ns"]),
    ("v1", "configmaps", "ConfigMap", &["cm"]),
    ("v1", "secrets", "Secret", &[]),
    ("v1", "services", "Service", &["all", "svc"]),
    ("v1", "serviceaccounts", "ServiceAccount", &["sa"]),
    ("v1", "pods", "Pod", &["all", "po"]),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", &["pvc"]),
    ("apps/v1", "deployments", "Deployment", &["all", "deploy"]),
    ("apps/v1", "replicasets", "ReplicaSet", &["all", "rs"]),
    ("apps/v1", "statefulsets", "StatefulSet", &["all", "sts"]),
    (
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        &["all", "hpa"],
    ),
    (
        "networking.k8s.io/v1",
        "networkpolicies",
        "NetworkPolicy",
        &["netpol"],
    ),
    (
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        &["pdb"],
    ),
];

/// The kind whose objects are at paths that end in this plural, and its version.
pub(crate) fn kind_of(plural: &str) -> Option<(&'static str, &'static str)> {
    let found = KINDS.iter().find(|(_, name, ..)| *name == plural)?;
    Some((found.0, found.2))
}

/// Where an object is.
pub(crate) fn path_of(object: &Value) -> String {
    let (version, kind) = (&object["apiVersion"], &object["kind"]);
    let known = KINDS.iter().find(|known| *version == known.0 && *kind == known.2);
    let (version, plural, ..) = known.unwrap_or_else(|| panic!("no kind {kind} of {version}"));
    let root = if *version == "v1" { "api" } else { "apis" };
    let name = object["metadata"]["name"].as_str().expect("a name");
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("/{root}/{version}/{plural}/{name}"),
    }
}

/// Which kinds there are, and that the server checks their fields itself.
pub(crate) fn discovery(path: &str) -> Option<Value> {
    let base = |version: &str| {
        if version == "v1" {
            "api/v1".to_owned()
        } else {
            format!("apis/{version}")
        }
    };
    let versions = || {
        let mut versions: Vec<&str> = KINDS.iter().map(|(version, ..)| *version).collect();
        versions.dedup();
        versions
    };
    if path == "/api" {
        return Some(json!({"kind": "APIVersions", "versions": ["v1"]}));
    }
    if path == "/apis" {
        let groups: Vec<Value> = versions()
            .into_iter()
            .filter_map(|version| {
                let (group, number) = version.split_once('/')?;
                let version = json!({"groupVersion": version, "version": number});
                Some(json!({"name": group, "versions": [version], "preferredVersion": version}))
            })
            .collect();
        return Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}));
    }
    if path == "/openapi/v3" {
        let paths = versions().into_iter().map(|version| {
            let base = base(version);
            let at = json!({"serverRelativeURL": format!("/openapi/v3/{base}")});
            (base, at)
        });
        return Some(json!({"paths": serde_json::Map::from_iter(paths)}));
    }
    for version in versions() {
        let kinds = KINDS.iter().filter(|(of, ..)| *of == version);
        let (group, number) = version.split_once('/').unwrap_or(("", version));
        if path == format!("/{}", base(version)) {
            let resources: Vec<Value> = kinds
                .map(|(_, plural, kind, more)| {
                    let categories: Vec<&&str> = more.iter().filter(|word| **word == "all").collect();
                    let short: Vec<&&str> = more.iter().filter(|word| **word != "all").collect();
                    json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": *kind != "Namespace",
                           "kind": kind, "verbs": ["get", "list", "watch", "create", "patch"],
                           "categories": categories, "shortNames": short})
                })
                .collect();
            return Some(json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources}));
        }
        if path == format!("/openapi/v3/{}", base(version)) {
            let paths = kinds.map(|(_, plural, kind, _)| {
                let patch = json!({
                    "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "responses": {}
                });
                (format!("/{}/{plural}", base(version)), json!({"patch": patch}))
            });
            let info = json!({"title": "Kubernetes", "version": "v1"});
            return Some(
                json!({"openapi": "3.0.0", "info": info, "paths": serde_json::Map::from_iter(paths)}),
            );
        }
    }
    None
}
