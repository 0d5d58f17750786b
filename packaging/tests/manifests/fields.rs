//! What makes each overlay and component what it is, field by field. Most of it no other judge would miss: without its toleration a
//! pod is as valid as with it.

use crate::manifests::rendered::{OVERLAYS, customized};
use packaging::render::{find, objects};
use packaging::tools::{Release, root};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// An overlay, and components on top of it.
    of: Vec<String>,
    /// Objects that must not be there.
    #[serde(default)]
    gone: Vec<String>,
    /// What objects have.
    #[serde(default)]
    has: BTreeMap<String, BTreeMap<String, Value>>,
}

fn table() -> Vec<Row> {
    let path = root().join("packaging/tests/manifests/fields.yaml");
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).expect("the table")).expect("a table")
}

/// What stands at a JSON pointer in which `[name]` is an array's item of that name.
fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer[1..].split('/').try_fold(object, |value, step| {
        match step.strip_prefix('[').and_then(|step| step.strip_suffix(']')) {
            Some(name) => value
                .as_array()?
                .iter()
                .find(|item| item["name"] == name || item["metadata"]["name"] == name),
            None => value.pointer(&format!("/{step}")),
        }
    })
}

#[test]
fn overlays_and_components_do_what_they_are_for() {
    let mut faults = String::new();
    for row in table() {
        let (overlay, components) = row.of.split_first().expect("an overlay");
        let components: Vec<&str> = components.iter().map(String::as_str).collect();
        let all = objects(&customized(Release::Helm4, overlay, &components));
        let object = |name: &str| {
            let (kind, name) = name.split_once('/').expect("kind/name");
            all.iter()
                .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        };
        let of = row.of.join(" + ");
        for name in &row.gone {
            if object(name).is_some() {
                faults += &format!("{of}: {name} is there\n");
            }
        }
        for (name, fields) in &row.has {
            let Some(object) = object(name) else {
                faults += &format!("{of}: no {name}\n");
                continue;
            };
            for (pointer, expected) in fields {
                let found = at(object, pointer).unwrap_or(&Value::Null);
                if found != expected {
                    faults += &format!("{of}: {name} {pointer}: {found} in place of {expected}\n");
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn each_overlay_and_component_has_its_row() {
    let table = table();
    let named = |name: &str| {
        table
            .iter()
            .any(|row| row.of.last().is_some_and(|last| last == name))
    };
    // These are held against the chart's objects, field by field.
    const PAIRED: [&str; 7] = [
        "admin-port",
        "hpa-metrics",
        "https-egress",
        "keda",
        "limits",
        "namespace",
        "scale-aware",
    ];
    for overlay in OVERLAYS {
        assert!(named(overlay), "{overlay}");
    }
    for entry in std::fs::read_dir(root().join("k8s/components")).expect("the components") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(
            PAIRED.contains(&name.as_str()) || named(&format!("components/{name}")),
            "{name}"
        );
    }
}

/// The smarthost's configuration is the base's and `[relay]`, without what is only for PostgreSQL.
#[test]
fn the_configuration_with_a_smarthost_is_the_others_and_relay() {
    let of = |overlay: &str| -> toml::Table {
        let all = objects(&customized(Release::Helm4, overlay, &[]));
        let map = find(&all, "ConfigMap", "smtp-config");
        map["data"]["config.toml"]
            .as_str()
            .expect("a text")
            .parse()
            .expect("TOML")
    };
    let (mut base, mut smarthost) = (of("embedded"), of("smarthost"));
    let relay = smarthost.remove("relay").expect("[relay]");
    assert_eq!(
        relay["password_file"].as_str(),
        Some("/run/secrets/smtp/SMTP_RELAY_PASSWORD")
    );
    assert!(
        relay["smarthost"]
            .as_str()
            .is_some_and(|url| url.starts_with("smtp://USER@"))
    );
    base.remove("storage").expect("[storage]");
    assert_eq!(base, smarthost);
}
