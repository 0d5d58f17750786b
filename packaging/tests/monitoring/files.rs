//! What is in `monitoring/`, read.

use blackbox::tools::program;
use packaging::tools::root;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a folder with their texts, by name without ending; the folder is relative to the workspace.
pub(crate) fn texts(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let path = root().join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut texts = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let name = name
            .strip_suffix(ending)
            .unwrap_or_else(|| panic!("{} does not end with {ending}", path.display()));
        texts.insert(name.to_owned(), text(&path));
    }
    assert!(!texts.is_empty(), "{} is empty", path.display());
    texts
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one document of a YAML text.
pub(crate) fn yaml(text: &str) -> Value {
    let mut objects = packaging::render::objects(text);
    assert_eq!(objects.len(), 1, "one document:\n{text}");
    objects.remove(0)
}

/// The alerts' files, by name.
pub(crate) fn alerts() -> BTreeMap<String, Value> {
    parsed("monitoring/alerts")
}

/// The files of recording rules, by name.
pub(crate) fn recording() -> BTreeMap<String, Value> {
    parsed("monitoring/rules")
}

fn parsed(folder: &str) -> BTreeMap<String, Value> {
    let texts = texts(folder, ".yaml");
    texts
        .into_iter()
        .map(|(name, text)| (name, yaml(&text)))
        .collect()
}

/// The dashboards, by name.
pub(crate) fn dashboards() -> BTreeMap<String, Value> {
    let texts = texts("monitoring/dashboards", ".json");
    let json = |text: String| serde_json::from_str(&text).expect("JSON");
    texts.into_iter().map(|(name, text)| (name, json(text))).collect()
}

/// The rules of a file's groups.
pub(crate) fn rules(file: &Value) -> Vec<&Value> {
    let groups = file["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .map(|group| group["rules"].as_array().expect("rules"));
    rules.flatten().collect()
}

pub(crate) fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text {key} in {value:#}"))
}

/// Every expression of alerts, recording rules and dashboards, with where it is from.
pub(crate) fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, file) in alerts().into_iter().chain(recording()) {
        for rule in rules(&file) {
            found.push((name.clone(), string(rule, "expr").to_owned()));
        }
    }
    for (name, dashboard) in dashboards() {
        let of_it = super::files::dashboard_expressions(&dashboard);
        found.extend(of_it.into_iter().map(|expr| (format!("dashboard {name}"), expr)));
    }
    found
}

/// The expressions of a dashboard's panels and variables, with Grafana's variables filled in.
pub(crate) fn dashboard_expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        found.extend(targets.iter().map(|target| filled_in(string(target, "expr"))));
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            let query = string(&variable["query"], "query");
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|rest| rest.rsplit_once(','))
                .unwrap_or_else(|| panic!("not label_values(series, label): {query}"));
            found.push(filled_in(inner.0));
        }
    }
    found
}

/// Every panel, those within rows too.
pub(crate) fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        found.push(panel);
        found.extend(panel["panels"].as_array().into_iter().flatten());
    }
    found
}

/// What Grafana puts for its variables before it asks.
fn filled_in(expr: &str) -> String {
    let mut expr = expr.to_owned();
    for (variable, value) in [
        ("$__rate_interval", "5m"),
        ("$__range", "1h"),
        ("$namespace", "mail"),
        ("$job", "mail/smtp-server"),
        ("$pod", "smtp-server-0|smtp-server-1"),
    ] {
        expr = expr.replace(variable, value);
    }
    assert!(!expr.contains('$'), "a variable that is not known: {expr}");
    expr
}

pub(crate) fn promtool() -> Command {
    program("/usr/bin/promtool")
}

/// Writes rules as a file that promtool and Prometheus read.
pub(crate) fn write_rules(path: &PathBuf, rules: &Value) {
    let text = serde_yaml_ng::to_string(rules).expect("YAML");
    std::fs::write(path, text).expect("rules");
}
