//! What there is to look at: each overlay, and components on top of them.

pub(crate) use packaging::render::customized;
use packaging::render::{kustomize, objects};
use packaging::tools::{Release, root};
use serde_json::Value;
use std::path::PathBuf;

pub(crate) const OVERLAYS: [&str; 5] = ["dev", "edge", "embedded", "postgresql", "smarthost"];

/// The other order in `k8s/README.md`.
pub(crate) const EMBEDDED: [&str; 9] = [
    "namespace",
    "serviceaccount",
    "configmap",
    "secrets",
    "network-policies",
    "service-headless",
    "statefulset",
    "service",
    "pdb",
];

/// Components for both kinds of workload, by their folders.
const BOTH: [&str; 13] = [
    "components/admin-port",
    "components/aws-nlb",
    "components/cert-manager",
    "components/existing-secrets",
    "components/external-secrets",
    "components/gateway-api",
    "components/https-egress",
    "components/limits",
    "components/memory-volumes",
    "components/namespace",
    "components/proxy-protocol",
    "components/scrape-annotations",
    "monitoring",
];
/// Those that need pods with claims of their own.
const EACH_ITS_OWN: [&str; 1] = ["components/scale-aware"];
/// Those that need an HPA.
const SCALED: [&str; 2] = ["components/hpa-metrics", "components/keda"];

/// Pairs that exclude each other: two that scale, two ways to be found by Prometheus.
const INSTEAD: [[&str; 2]; 2] = [
    ["components/hpa-metrics", "components/keda"],
    ["components/scrape-annotations", "monitoring"],
];

/// Several at once, as somebody would have them.
const TOGETHER: [(&str, &[&str]); 4] = [
    (
        "postgresql",
        &[
            "components/limits",
            "components/memory-volumes",
            "components/hpa-metrics",
            "components/https-egress",
            "components/admin-port",
            "components/aws-nlb",
            "components/proxy-protocol",
            "components/cert-manager",
            "components/external-secrets",
            "monitoring",
        ],
    ),
    (
        "postgresql",
        &[
            "components/keda",
            "components/gateway-api",
            "components/proxy-protocol",
            "components/existing-secrets",
        ],
    ),
    (
        "embedded",
        &[
            "components/limits",
            "components/memory-volumes",
            "components/gateway-api",
            "components/proxy-protocol",
            "components/existing-secrets",
            "components/scale-aware",
            "components/scrape-annotations",
        ],
    ),
    (
        "smarthost",
        &[
            "components/cert-manager",
            "components/external-secrets",
            "components/limits",
            "components/scale-aware",
            "monitoring",
        ],
    ),
];

/// Something rendered.
pub(crate) struct Rendered {
    /// The overlay and its components.
    pub(crate) name: String,
    pub(crate) yaml: String,
    pub(crate) objects: Vec<Value>,
    /// Made by somebody else, as the component `existing-secrets` says.
    pub(crate) outside: Vec<(&'static str, &'static str)>,
}

/// An overlay as it is.
pub(crate) fn overlay(name: &str) -> Rendered {
    rendered(Release::Helm4, name, &[])
}

/// Everything: overlays alone, each component alone on top of one, several together.
pub(crate) fn all(release: Release) -> Vec<Rendered> {
    let mut all: Vec<Rendered> = OVERLAYS.iter().map(|name| rendered(release, name, &[])).collect();
    for component in BOTH {
        for overlay in ["embedded", "postgresql"] {
            // They have it.
            if component != "components/namespace" {
                all.push(rendered(release, overlay, &[component]));
            }
        }
    }
    for component in SCALED {
        all.push(rendered(release, "postgresql", &[component]));
    }
    for component in EACH_ITS_OWN {
        all.push(rendered(release, "embedded", &[component]));
    }
    for (overlay, components) in TOGETHER {
        all.push(rendered(release, overlay, components));
    }
    all
}

/// Every two components that may be together.
pub(crate) fn pairs() -> Vec<Rendered> {
    let components: Vec<&str> = BOTH.into_iter().chain(SCALED).collect();
    let mut pairs = Vec::new();
    for (place, one) in components.iter().enumerate() {
        for other in &components[place + 1..] {
            let both = [*one, *other];
            let twice = both.contains(&"components/namespace");
            let excluded = INSTEAD
                .iter()
                .any(|pair| pair.iter().all(|one| both.contains(one)));
            if !twice && !excluded {
                pairs.push(rendered(Release::Helm4, "postgresql", &both));
            }
        }
    }
    pairs
}

fn rendered(release: Release, overlay: &str, components: &[&str]) -> Rendered {
    let name = [&[overlay], components]
        .concat()
        .join("+")
        .replace("components/", "");
    let yaml = if components.is_empty() {
        kustomize(release, &format!("k8s/overlays/{overlay}"))
    } else {
        customized(release, overlay, components)
    };
    let outside = if components.contains(&"components/existing-secrets") {
        vec![("Secret", "smtp-secrets"), ("Secret", "smtp-tls")]
    } else {
        Vec::new()
    };
    Rendered {
        objects: objects(&yaml),
        name,
        yaml,
        outside,
    }
}

/// Files beside each other in `k8s/`, as `kubectl apply -f` reads them one after the other.
pub(crate) fn files(names: &[&str]) -> Vec<Value> {
    names
        .iter()
        .flat_map(|name| packaging::render::file(&format!("k8s/{name}.yaml")))
        .collect()
}

/// Every file with Kubernetes' objects in `k8s/`, links included.
pub(crate) fn single_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("k8s")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().expect("UTF-8");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".yaml") && name != "kustomization.yaml" && !is_part(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Patches in overlays, and values for another chart, are no objects by themselves.
fn is_part(path: &std::path::Path) -> bool {
    let text = path.display().to_string();
    [
        "overlays/dev/statefulset.yaml",
        "overlays/edge/statefulset.yaml",
        "overlays/edge/service.yaml",
        "prometheus-adapter.yaml",
    ]
    .iter()
    .any(|part| text.ends_with(part))
}

#[test]
fn both_versions_of_kustomize_make_the_same() {
    let (old, new) = (all(Release::Helm3), all(Release::Helm4));
    assert_eq!(old.len(), new.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(old.objects, new.objects, "{}", old.name);
    }
}

/// None is forgotten above.
#[test]
fn every_overlay_and_component_is_looked_at() {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root().join(folder))
            .expect("a folder")
            .flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("k8s/overlays"), OVERLAYS);
    let mut known: Vec<&str> = BOTH
        .iter()
        .chain(&SCALED)
        .chain(&EACH_ITS_OWN)
        .filter_map(|path| path.strip_prefix("components/"))
        .collect();
    known.sort_unstable();
    assert_eq!(names("k8s/components"), known);
    // All of these are in every overlay that may have them, so alone they were looked at there.
    for name in OVERLAYS {
        let namespaces: Vec<_> = overlay(name)
            .objects
            .into_iter()
            .filter(|object| object["kind"] == "Namespace")
            .collect();
        assert_eq!(namespaces.len(), 1, "{name}");
    }
}
