//! Whether a line of `helm` names the chart, values that it has, and files that are there.

use super::cluster::{Cluster, is_placeholder};
use super::options::Line;
use packaging::tools::root;
use serde_json::Value;

/// A values file of the reader's.
const THEIRS: &str = "my-values.yaml";

/// The chart's schema.
pub(crate) fn schema() -> Value {
    let file = root().join("charts/smtp-server/values.schema.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("the schema")).expect("JSON")
}

/// What is wrong with a line; `whole` if it is to be typed as it is.
pub(crate) fn wrong(line: &Line, cluster: &Cluster, schema: &Value, whole: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let path: Vec<&str> = line.path.iter().map(String::as_str).collect();
    let most = match path[..] {
        ["install" | "upgrade" | "template"] => 2,
        ["test" | "uninstall" | "history"] => 1,
        ["rollback"] => 2,
        ref other => {
            wrong.push(format!("nobody looks at `helm {}`", other.join(" ")));
            0
        }
    };
    let arguments = &line.arguments;
    let unfinished = arguments.iter().any(|one| is_placeholder(one));
    if arguments.len() > most || (whole && !unfinished && arguments.len() < most && path != ["rollback"]) {
        wrong.push(format!("{} names, not {most}", arguments.len()));
    }
    if let (2, Some(chart)) = (most, arguments.get(1).filter(|_| path != ["rollback"]))
        && !is_placeholder(chart)
        && !root().join(chart).join("Chart.yaml").exists()
    {
        wrong.push(format!("no chart {chart}"));
    }
    for file in line.values("--values").filter(|file| *file != THEIRS) {
        if !root().join(file).exists() {
            wrong.push(format!("no values file {file}"));
        }
    }
    for namespace in line.values("--namespace") {
        if !cluster.namespaces().contains(namespace) {
            wrong.push(format!("no namespace {namespace}"));
        }
    }
    if whole && !line.has("--namespace") {
        wrong.push("says no namespace".into());
    }
    for set in line.values("--set").chain(line.values("--set-string")) {
        wrong.extend(unknown(schema, set));
    }
    wrong
}

/// The value that `a.b=c` sets, if the schema has none such.
pub(crate) fn unknown(schema: &Value, set: &str) -> Option<String> {
    let path = set.split('=').next().expect("a path");
    let mut at = schema;
    for step in path.split('.') {
        let reference = at["$ref"].as_str().or(at["allOf"][0]["$ref"].as_str());
        if let Some(reference) = reference {
            at = schema
                .pointer(reference.trim_start_matches('#'))
                .expect("what is referred to");
        }
        let (name, place) = step
            .split_once('[')
            .map_or((step, false), |(name, _)| (name, true));
        let next = &at["properties"][name];
        if next.is_null() {
            let anything = at["additionalProperties"] == true || at["additionalProperties"].is_object();
            return (!anything).then(|| format!("no value {path}"));
        }
        at = if place { &next["items"] } else { next };
    }
    None
}
