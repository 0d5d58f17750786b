//! What programs of others say of the manifests.

use crate::manifests::rendered::{all, overlay, single_files};
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
    let mut files: Vec<PathBuf> = all(Release::Helm4)
        .iter()
        .map(|one| {
            write(
                folder.path(),
                &one.name,
                &(one.yaml.clone() + &made_elsewhere(&one.name)),
            )
        })
        .collect();
    let job = overlay("embedded").yaml + "---\n" + &job() + CLAIM;
    files.push(write(folder.path(), "job", &job));
    let found = monokle(&files);
    let mut unexpected: Vec<Complaint> = found.iter().filter(|one| !excused(one)).cloned().collect();
    unexpected.dedup();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    // What is excused is there: an excuse that nothing needs would hide something one day.
    for (rule, resource) in EXCUSED {
        let needed = found
            .iter()
            .any(|one| one.rule == rule && one.resource == resource);
        assert!(needed, "{rule} of {resource} needs no excuse");
    }
}

/// The Job that moves a queue, and the policy beside it, which are in no overlay.
fn job() -> String {
    let text = |file: &str| {
        std::fs::read_to_string(packaging::tools::root().join("k8s/jobs").join(file)).expect("a file")
    };
    text("migrate-queue.yaml") + "---\n" + &text("migrate-ingress.yaml")
}

/// What a StatefulSet made for its first pod.
const CLAIM: &str = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-smtp-server-0, namespace: mail}\n";

/// Secrets that a controller, or somebody, makes where a component says so.
fn made_elsewhere(name: &str) -> String {
    let secret = |components: &[&str], name_of_it: &str| match components.iter().any(|one| name.contains(one))
    {
        true => {
            format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name_of_it}, namespace: mail}}\n")
        }
        false => String::new(),
    };
    secret(&["existing-secrets", "external-secrets"], "smtp-secrets")
        + &secret(&["existing-secrets", "cert-manager"], "smtp-tls")
}

/// What Monokle says and why it is right as it is.
const EXCUSED: [(&str, &str); 7] = [
    // The edge's namespace is privileged for this: the host's network, and with it its ports.
    ("PSS102", "smtp-server.mail-edge.statefulset"),
    ("PSS106", "smtp-server.mail-edge.statefulset"),
    // Pods that others bring: kube-dns, PostgreSQL.
    ("LNK001", "allow-smtp-egress.mail.networkpolicy"),
    ("LNK001", "allow-database.mail.networkpolicy"),
    ("LNK001", "allow-database-ingress.mail.networkpolicy"),
    ("LNK001", "allow-migrate.mail.networkpolicy"),
    ("LNK001", "allow-migrate-ingress.mail.networkpolicy"),
];

fn excused(one: &Complaint) -> bool {
    EXCUSED.contains(&(one.rule.as_str(), one.resource.as_str()))
}

/// A check of checkov that is not followed.
struct Reviewed {
    rule: &'static str,
    /// The files and resources that it is about; nothing for all.
    files: &'static [&'static str],
    resources: &'static [&'static str],
    reason: &'static str,
}

const fn reviewed(rule: &'static str, reason: &'static str) -> Reviewed {
    Reviewed {
        rule,
        files: &[],
        resources: &[],
        reason,
    }
}

/// Each was looked at in all that is rendered.
const REVIEWED: [Reviewed; 10] = [
    reviewed(
        "CKV_K8S_11",
        "CPU limits throttle: greetings come late, and nothing is saved",
    ),
    reviewed(
        "CKV_K8S_15",
        "a version's image does not change, so it need not be pulled each time",
    ),
    reviewed(
        "CKV_K8S_40",
        "the guide fixed UID 1000; on a node it is an ordinary user's at worst, and has no capability",
    ),
    reviewed(
        "CKV_K8S_43",
        "the digest is known when the image is published: overlays and the chart have a place for it",
    ),
    Reviewed {
        files: &["edge.yaml", "chart-edge.yaml"],
        resources: &[
            "StatefulSet.mail-edge.smtp-server",
            "StatefulSet.mail.smtp-server",
        ],
        ..reviewed("CKV_K8S_19", "on the host's network by intention")
    },
    Reviewed {
        files: &["edge.yaml", "chart-edge.yaml", "chart-host-ports.yaml"],
        resources: &[
            "StatefulSet.mail-edge.smtp-server",
            "StatefulSet.mail.smtp-server",
        ],
        ..reviewed("CKV_K8S_26", "port 25 of the node is what these are for")
    },
    Reviewed {
        resources: &["Pod.mail.smtp-server-test", "Pod.mail.mail-relay-test"],
        ..reviewed("CKV_K8S_8", "liveness of the test's pod, which ends")
    },
    Reviewed {
        resources: &["Pod.mail.smtp-server-test", "Pod.mail.mail-relay-test"],
        ..reviewed("CKV_K8S_9", "readiness of the test's pod, which ends")
    },
    Reviewed {
        files: &["chart-extras.yaml"],
        resources: &["StatefulSet.mail.smtp-server"],
        ..reviewed(
            "CKV_K8S_8",
            "a container that somebody adds, without what is its own",
        )
    },
    Reviewed {
        files: &["chart-extras.yaml"],
        resources: &["StatefulSet.mail.smtp-server"],
        ..reviewed("CKV_K8S_9", "the same")
    },
];

impl Reviewed {
    fn is(&self, one: &Complaint) -> bool {
        let among = |list: &[&str], what: &str| list.is_empty() || list.contains(&what);
        self.rule == one.rule && among(self.files, &one.file) && among(self.resources, &one.resource)
    }
}

/// All of it in one run: every overlay, every component, the Job, and the chart with every values file.
#[test]
fn checkov_finds_nothing_that_was_not_looked_at() {
    // Not a hidden folder: checkov passes over these.
    let folder = tempfile::Builder::new()
        .prefix("checkov-")
        .tempdir()
        .expect("a folder");
    for one in all(Release::Helm4) {
        write(folder.path(), &one.name, &one.yaml);
    }
    write(folder.path(), "job", &job());
    let ci = packaging::tools::root().join("charts/smtp-server/ci");
    let mut charts = 0;
    for entry in std::fs::read_dir(ci).expect("values files") {
        let values = entry.expect("an entry").path();
        let name = values
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .replace("-values", "");
        let yaml = packaging::render::chart(Release::Helm4, Some(&values), "1.37.0", &[]);
        write(folder.path(), &format!("chart-{name}"), &yaml);
        charts += 1;
    }
    assert!(charts >= 12, "{charts}");
    let found = checkov(folder.path());
    let unexpected: Vec<&Complaint> = found
        .iter()
        .filter(|one| !REVIEWED.iter().any(|reviewed| reviewed.is(one)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    for reviewed in &REVIEWED {
        let needed = found.iter().any(|one| reviewed.is(one));
        assert!(
            needed,
            "{} ({}) needs not be skipped",
            reviewed.rule, reviewed.reason
        );
    }
}

fn write(folder: &Path, name: &str, yaml: &str) -> PathBuf {
    let path = folder.join(format!("{}.yaml", name.replace('/', "-")));
    std::fs::write(&path, yaml).expect("a file");
    path
}
