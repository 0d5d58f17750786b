//! Programs of others that judge manifests: schemas of each version of Kubernetes and of controllers, Pod Security, good
//! practice. All of them are asked for many files at once, since starting them takes longest.

use crate::render::KUBERNETES;
use crate::tools::{node, python, root};
use blackbox::tools::run;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Groups of objects whose schemas controllers bring, not Kubernetes.
const CUSTOM: [&str; 5] = [
    "monitoring.coreos.com/",
    "cert-manager.io/",
    "external-secrets.io/",
    "keda.sh/",
    "gateway.networking.k8s.io/",
];

/// The kinds of controllers that are shipped, by kustomize as by the chart.
pub const CUSTOM_KINDS: [&str; 7] = [
    "Certificate",
    "ExternalSecret",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
    "TCPRoute",
];

/// Whether a controller brings an object's schema.
pub fn is_custom(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    CUSTOM.iter().any(|group| version.starts_with(group))
}

/// What kubernetes-validate finds in files, strictly, against every version that is supported.
pub fn schemas(files: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for version in KUBERNETES {
        let mut validate = python("kubernetes-validate", "kubernetes_validate");
        validate.args(["--strict", "--quiet", "--kubernetes-version", version]);
        let output = validate.args(files).output().expect("kubernetes-validate");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // Of what controllers bring it knows nothing; `custom` does.
        let unknown = |line: &&str| {
            line.contains("Couldn't find schema") && CUSTOM.iter().any(|group| line.contains(group))
        };
        found.extend(
            text.lines()
                .filter(|line| !unknown(line))
                .map(|line| format!("{version}: {line}")),
        );
        if !output.status.success() && found.is_empty() {
            found.push(format!("{version}: {}", output.status));
        }
    }
    found
}

/// What the schemas of controllers find in objects; those that are Kubernetes' own are left out.
pub fn custom(objects: &[Value]) -> Vec<String> {
    let objects: Vec<&Value> = objects.iter().filter(|object| is_custom(object)).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), serde_json::to_string(&objects).expect("JSON")).expect("a file");
    let output = run(node()
        .arg(root().join("packaging/judges/custom.mjs"))
        .arg(file.path()));
    lines(&output.stdout)
        .iter()
        .map(|line| format!("{}: {}", word(line, "object"), word(line, "text")))
        .collect()
}

/// Something that a program complains of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The file's name without its folder.
    pub file: String,
    pub rule: String,
    pub resource: String,
}

/// Where files break Pod Security `restricted`, and where a reference leads nowhere within its file.
pub fn monokle(files: &[PathBuf]) -> Vec<Complaint> {
    let output = run(node()
        .arg(root().join("packaging/judges/monokle.mjs"))
        .args(files));
    let lines = lines(&output.stdout);
    let complaints = lines.iter().map(|line| Complaint {
        file: name(word(line, "file")),
        rule: word(line, "rule").into(),
        resource: word(line, "resource").into(),
    });
    complaints.collect()
}

/// What checkov finds wrong in a folder's files, in one run.
pub fn checkov(folder: &Path) -> Vec<Complaint> {
    let mut checkov = python("checkov", "checkov.main");
    checkov.args([
        "--framework",
        "kubernetes",
        "--compact",
        "--quiet",
        "--skip-download",
        "--output",
        "json",
    ]);
    let output = checkov.arg("--directory").arg(folder).output().expect("checkov");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        panic!("checkov: {error}\n{}", String::from_utf8_lossy(&said))
    });
    assert!(
        report["summary"]["passed"].as_u64() > Some(0),
        "checkov looked at nothing"
    );
    assert_eq!(
        report["summary"]["parsing_errors"], 0,
        "checkov could not read everything"
    );
    let failed = report["results"]["failed_checks"]
        .as_array()
        .expect("failed checks");
    failed
        .iter()
        .map(|one| Complaint {
            file: name(word(one, "file_path")),
            rule: word(one, "check_id").into(),
            resource: word(one, "resource").into(),
        })
        .collect()
}

fn lines(output: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(output);
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
