//! An overlay with a namespace of somebody's own: everything goes there, and what is watched is what is there.

use packaging::render::{kustomize, objects};
use packaging::tools::{Release, root};
use serde_json::Value;

/// An overlay of ours in another namespace, with these components and more resources.
fn moved(overlay: &str, components: &[&str]) -> Vec<Value> {
    let place = root().join("target/kustomize");
    std::fs::create_dir_all(&place).expect("a folder");
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let k8s = "../../../k8s";
    let mut text = format!("namespace: relay\nresources:\n- {k8s}/overlays/{overlay}\ncomponents:\n");
    for component in components {
        text += &format!("- {k8s}/{component}\n");
    }
    std::fs::write(folder.path().join("kustomization.yaml"), text).expect("kustomization.yaml");
    let path = folder.path().strip_prefix(root()).expect("within the workspace");
    objects(&kustomize(Release::Helm4, path.to_str().expect("UTF-8")))
}

/// A monitor without a selector of namespaces is about its own.
#[test]
fn monitors_follow_the_namespace() {
    for overlay in ["embedded", "postgresql", "edge"] {
        let objects = moved(overlay, &["monitoring"]);
        for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
            assert_eq!(
                object["metadata"]["namespace"], "relay",
                "{}",
                object["metadata"]["name"]
            );
        }
        let monitor = objects
            .iter()
            .find(|object| object["kind"] == "PodMonitor")
            .expect("a PodMonitor");
        assert!(monitor["spec"]["namespaceSelector"].is_null(), "{monitor:#}");
    }
    let service = &packaging::render::file("k8s/monitoring/servicemonitor.yaml")[0];
    assert!(service["spec"]["namespaceSelector"].is_null(), "{service:#}");
}

/// KEDA takes over the HPA that is there: it is told to, and both have one name.
#[test]
fn keda_takes_the_hpa_over() {
    let hpa = &packaging::render::file("k8s/hpa.yaml")[0];
    let scaled = &packaging::render::file("k8s/components/keda/scaledobject.yaml")[0];
    assert_eq!(
        scaled["metadata"]["annotations"]["scaledobject.keda.sh/transfer-hpa-ownership"],
        "true"
    );
    assert_eq!(
        scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"],
        hpa["metadata"]["name"]
    );
}

/// Tools that take away what is in their sources no more leave the namespace, and the claims in it.
#[test]
fn namespaces_are_not_pruned() {
    for file in [
        "components/namespace/namespace.yaml",
        "overlays/edge/namespace.yaml",
    ] {
        let namespace = &packaging::render::file(&format!("k8s/{file}"))[0];
        let annotations = &namespace["metadata"]["annotations"];
        assert_eq!(
            annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false",
            "{file}"
        );
        assert_eq!(
            annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled",
            "{file}"
        );
    }
}
