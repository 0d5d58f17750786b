//! The chart with each of its values files.

use blackbox::tools::target;
use packaging::render::objects;
use packaging::tools::{Release, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

pub const CHART: &str = "charts/smtp-server";

/// The values files for CI, by name.
pub fn ci() -> Vec<PathBuf> {
    let files = yaml_files(&root().join(CHART).join("ci"));
    assert!(files.len() >= 12, "{files:?}");
    files
}

/// The values files that must be refused.
pub fn refused() -> Vec<PathBuf> {
    yaml_files(&root().join("packaging/tests/charts/refused"))
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// `embedded` of `…/ci/embedded-values.yaml`.
pub fn name(file: &Path) -> String {
    let stem = file.file_stem().expect("a name").to_string_lossy();
    stem.trim_end_matches("-values").to_owned()
}

/// What a file's leading comment says after a word: `# finding: …`.
pub fn said(file: &Path, word: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a file");
    let start = format!("# {word}: ");
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix(&start))
        .map(str::to_owned)
        .collect()
}

/// `helm template` as it ends.
pub fn try_template(release: Release, chart: &Path, values: &Path, more: &[&str]) -> Output {
    let mut helm = release.helm();
    helm.args(["template", "smtp-server"]).arg(chart);
    helm.args(["--namespace", "mail", "--values"]).arg(values);
    helm.args(more).output().expect("helm")
}

/// Its objects.
pub fn template_of(release: Release, chart: &Path, values: &Path, more: &[&str]) -> Vec<Value> {
    let output = try_template(release, chart, values, more);
    assert!(
        output.status.success(),
        "{}: {}",
        values.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    objects(&String::from_utf8(output.stdout).expect("UTF-8"))
}

/// With Helm 4 and the newest Kubernetes.
pub fn template(values: &Path) -> Vec<Value> {
    template_of(
        Release::Helm4,
        &root().join(CHART),
        values,
        &["--kube-version", "1.37.0"],
    )
}

/// Calls a function with each, several at a time; in the order of the list.
pub fn each<T: Sync, R: Send>(list: &[T], call: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results: Vec<std::sync::Mutex<Option<R>>> =
        list.iter().map(|_| std::sync::Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let Some(one) = list.get(at) else { return };
                    *results[at].lock().expect("a result") = Some(call(one));
                }
            });
        }
    });
    results
        .into_iter()
        .map(|result| result.into_inner().expect("a result").expect("it was called"))
        .collect()
}

/// A folder of a test's own.
pub fn folder() -> tempfile::TempDir {
    std::fs::create_dir_all(target().join("tmp")).expect("a folder");
    // Not a hidden one: checkov passes over these.
    let mut folder = tempfile::Builder::new();
    folder
        .prefix("chart-")
        .tempdir_in(target().join("tmp"))
        .expect("a folder")
}

/// Writes objects as YAML documents; JSON is YAML.
pub fn write(path: &Path, objects: &[Value]) {
    let documents: Vec<String> = objects
        .iter()
        .map(|object| format!("---\n{object:#}\n"))
        .collect();
    std::fs::write(path, documents.concat()).expect("written");
}

/// The chart's folder, copied.
pub fn copied_chart(to: &Path) -> PathBuf {
    let chart = to.join("smtp-server");
    copy(&root().join(CHART), &chart);
    chart
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry").path();
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("copied");
        }
    }
}
