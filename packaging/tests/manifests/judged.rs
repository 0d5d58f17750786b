//! What programs of others say of the manifests.

use crate::manifests::rendered::{OVERLAYS, all, overlay, single_files};
use packaging::judges::{Complaint, checkov, custom, monokle, schemas};
use packaging::render::objects;
use packaging::tools::Release;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every version of Kubernetes takes all of it, as the whole and file by file.
#[test]
fn every_version_of_kubernetes_knows_every_field() {
    let folder = tempfile::tempdir().expect("a folder");
    // The files as they are, and each rendered object once: most are in many overlays.
    let rendered = all(Release::Helm4).into_iter().flat_map(|one| one.objects);
    let rendered: BTreeSet<String> = rendered.map(|object| format!("---\n{object}\n")).collect();
    let mut files = single_files();
    files.push(write(
        folder.path(),
        "rendered",
        &Vec::from_iter(rendered).concat(),
    ));
    let found = schemas(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // It does look.
    let misspelt =
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\nautomountServiceAcountToken: false\n";
    let found = schemas(&[write(folder.path(), "misspelt", misspelt)]);
    assert_eq!(found.len(), packaging::render::KUBERNETES.len(), "{found:?}");
}

/// What controllers read, by their own schemas.
#[test]
fn every_controller_knows_every_field() {
    let mut all_of_them: Vec<_> = all(Release::Helm4)
        .into_iter()
        .flat_map(|one| one.objects)
        .collect();
    let monitor =
        std::fs::read_to_string(packaging::tools::root().join("k8s/monitoring/servicemonitor.yaml"));
    all_of_them.extend(objects(&monitor.expect("servicemonitor.yaml")));
    let kinds: BTreeSet<&str> = all_of_them
        .iter()
        .filter(|object| packaging::judges::is_custom(object))
        .filter_map(|object| object["kind"].as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(packaging::judges::CUSTOM_KINDS));
    let found = custom(&all_of_them);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // It does look: a wrong value, and a field that is not there.
    let name = json!({"name": "x"});
    let wrong = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": name,
        "spec": {"scaleTargetRef": {"name": "x"}, "triggers": [], "minReplicaCount": "three"}});
    let misspelt = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": name,
        "spec": {"selector": {}, "podMetricsEndpoints": [{"port": "http", "intervall": "3s"}]}});
    assert_eq!(
        custom(&[wrong, misspelt]),
        [
            "ScaledObject/x: data/spec/minReplicaCount must be integer",
            "PodMonitor/x: unknown field /spec/podMetricsEndpoints/0/intervall"
        ]
    );
}

/// Pod Security `restricted` everywhere but on the host's network, and no reference into the void.
#[test]
fn pods_are_restricted_and_references_lead_somewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = monokle(&overlays(folder.path()));
    let mut unexpected: Vec<Complaint> = found.iter().filter(|one| !excused(one)).cloned().collect();
    unexpected.dedup();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    // What is excused is there: an excuse that nothing needs would hide something one day.
    for (rule, resource) in EXCUSED {
        let needed = found
            .iter()
            .any(|one| one.rule == rule && one.resource.starts_with(resource));
        assert!(needed, "{rule} of {resource} needs no excuse");
    }
}

/// What Monokle says and why it is right as it is.
const EXCUSED: [(&str, &str); 5] = [
    // The edge's namespace is privileged for this: the host's network, and with it its ports.
    ("PSS102", "smtp-server.mail-edge.statefulset"),
    ("PSS106", "smtp-server.mail-edge.statefulset"),
    // Pods that others bring: kube-dns, PostgreSQL.
    ("LNK001", "allow-smtp-egress.mail.networkpolicy"),
    ("LNK001", "allow-database.mail.networkpolicy"),
    ("LNK001", "allow-database-ingress.mail.networkpolicy"),
];

fn excused(one: &Complaint) -> bool {
    EXCUSED.contains(&(one.rule.as_str(), one.resource.as_str()))
}

/// Checks of checkov that are not followed, and why. Each was looked at in all overlays.
const SKIPPED: [(&str, &str); 4] = [
    (
        "CKV_K8S_11",
        "CPU limits throttle: greetings come late, and nothing is saved",
    ),
    (
        "CKV_K8S_15",
        "a version's image does not change, so it need not be pulled each time",
    ),
    (
        "CKV_K8S_40",
        "the guide fixed UID 1000; on a node it is an ordinary user's at worst, and has no capability",
    ),
    (
        "CKV_K8S_43",
        "the digest is known when the image is published: overlays have a place for it",
    ),
];
/// On the host's network by intention, so its port too.
const SKIPPED_AT_THE_EDGE: [&str; 2] = ["CKV_K8S_19", "CKV_K8S_26"];

#[test]
fn checkov_finds_nothing_that_was_not_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = checkov(&overlays(folder.path()));
    for one in &found {
        let edge = one.file == "edge.yaml" && SKIPPED_AT_THE_EDGE.contains(&one.rule.as_str());
        let skipped = SKIPPED.iter().any(|(rule, _)| *rule == one.rule);
        assert!(edge || skipped, "{one:?}");
    }
    for rule in SKIPPED.iter().map(|(rule, _)| *rule).chain(SKIPPED_AT_THE_EDGE) {
        assert!(
            found.iter().any(|one| one.rule == rule),
            "{rule} needs not be skipped"
        );
    }
}

fn overlays(folder: &Path) -> Vec<PathBuf> {
    OVERLAYS
        .iter()
        .map(|name| write(folder, name, &overlay(name).yaml))
        .collect()
}

fn write(folder: &Path, name: &str, yaml: &str) -> PathBuf {
    let path = folder.join(format!("{}.yaml", name.replace('/', "-")));
    std::fs::write(&path, yaml).expect("a file");
    path
}
