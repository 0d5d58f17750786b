//! Manifests that a page shows in part are what Kubernetes takes, and what the page says of them.

use super::tree::{pages, text};
use packaging::judges::schemas;
use packaging::render::objects;
use packaging::tools::root;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The blocks of a page in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), inside) {
            (Some(begins), None) => {
                inside = Some(begins.trim() == language);
                if inside == Some(true) {
                    found.push(String::new());
                }
            }
            (Some(_), Some(_)) => inside = None,
            (None, Some(true)) => {
                let block = found.last_mut().expect("a block");
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// All YAML of all pages: the page, and what it shows.
fn shown() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for page in pages() {
        let name = page.strip_prefix(root()).expect("in the workspace");
        for block in blocks(&text(&page), "yaml") {
            all.extend(
                objects(&block)
                    .into_iter()
                    .map(|one| (name.display().to_string(), one)),
            );
        }
    }
    all
}

/// A pod that has these volumes, each of them mounted.
fn pod_with(volumes: &Value) -> Value {
    let volumes_of = volumes.as_array().expect("a list of volumes").iter();
    let mounts: Vec<Value> = volumes_of
        .map(|volume| json!({ "name": volume["name"], "mountPath": format!("/mnt/{}", volume["name"].as_str().expect("a name")) }))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "shown" },
        "spec": { "volumes": volumes, "containers": [{ "name": "shown", "image": "shown:1", "volumeMounts": mounts }] },
    })
}

/// Nothing is shown that nobody looks at.
#[test]
fn yaml_of_pages_is_what_it_is_taken_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut manifests, mut others) = (Vec::new(), Vec::new());
    for (number, (page, value)) in shown().into_iter().enumerate() {
        let keys: Vec<&str> = value
            .as_object()
            .expect("a mapping")
            .keys()
            .map(String::as_str)
            .collect();
        let manifest = match keys[..] {
            ["volumes"] => pod_with(&value["volumes"]),
            ["inhibit_rules"] => {
                inhibits(&page, &value["inhibit_rules"]);
                others.push(page);
                continue;
            }
            _ if keys.contains(&"apiVersion") => value.clone(),
            _ => panic!("{page}: nobody knows what {keys:?} belongs to"),
        };
        let path = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&path, manifest.to_string()).expect("a file");
        manifests.push(path);
    }
    assert!(!manifests.is_empty() && !others.is_empty(), "nothing is shown");
    let found = schemas(&manifests);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // It does look.
    let misspelt = json!([{ "name": "x", "projected": { "sources": [{ "serviceAccountToken": { "path": "token", "audiance": "smtp" } }] } }]);
    let path = folder.path().join("misspelt.yaml");
    std::fs::write(&path, pod_with(&misspelt).to_string()).expect("a file");
    assert!(!schemas(&[path]).is_empty());
}

/// A pod's token that a page has projected is for whom the page's configuration takes it.
#[test]
fn the_token_that_is_shown_is_for_the_server_that_is_shown() {
    let page = text(&root().join("docs/accounts.md"));
    let volumes: Vec<Value> = blocks(&page, "yaml")
        .iter()
        .flat_map(|block| objects(block))
        .collect();
    let token = &volumes[0]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
    let configuration = blocks(&page, "toml")
        .into_iter()
        .find(|block| block.contains("[oauth]"));
    let configuration: toml::Table = configuration.expect("[oauth]").parse().expect("TOML");
    let taken = configuration["oauth"]["audience"].as_array().expect("audiences");
    let wanted = token["audience"].as_str().expect("an audience");
    assert!(taken.iter().any(|one| one.as_str() == Some(wanted)), "{taken:?}");
}

/// Rules of Alertmanager's name alerts that there are, and labels that they have in common.
fn inhibits(page: &str, rules: &Value) {
    let alerts: BTreeSet<String> = std::fs::read_dir(root().join("monitoring/alerts"))
        .expect("alerts")
        .flatten()
        .filter_map(|entry| Some(Path::new(&entry.file_name()).file_stem()?.to_str()?.to_owned()))
        .collect();
    for rule in rules.as_array().expect("a list of rules") {
        for side in ["source_matchers", "target_matchers"] {
            for matcher in rule[side].as_array().expect("matchers") {
                let matcher = matcher.as_str().expect("text");
                let (label, rest) = matcher.split_once('=').expect("a matcher");
                if label != "alertname" {
                    assert_eq!(label, "severity", "{page}: {matcher}");
                    continue;
                }
                for name in rest.trim_matches(['~', '"']).split('|') {
                    let known = name == "SMTP.+" || alerts.contains(name);
                    assert!(known, "{page}: no alert {name}");
                }
            }
        }
    }
}
