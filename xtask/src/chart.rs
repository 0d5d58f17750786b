//! What is generated of the chart: its README from the comments of values.yaml, and within the schema of its values what
//! `config` may hold, from the settings that the server knows, and the descriptions, from the same comments.

use crate::run::root;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::path::PathBuf;

const FOLDER: &str = "charts/smtp-server";

/// The files with what should be in them.
pub(crate) fn files() -> Result<Vec<(PathBuf, String)>, String> {
    let folder = root().join(FOLDER);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let values = entries(&read("values.yaml")?)?;
    let schema: Value =
        serde_json::from_str(&read("values.schema.json")?).map_err(|error| error.to_string())?;
    let schema = self::schema(schema, &values)?;
    let readme = format!("{}\n{}", read("README.head.md")?, table(&values));
    Ok(vec![
        (folder.join("README.md"), readme),
        (folder.join("values.schema.json"), schema),
    ])
}

/// A documented value.
struct Entry {
    /// `mx.port`.
    path: Vec<String>,
    doc: String,
    /// As it is written in values.yaml; none where the values within have documentation of their own.
    default: Option<String>,
}

/// The values of a values.yaml, in its order. A key whose children have no comments is explained as a whole.
fn entries(yaml: &str) -> Result<Vec<Entry>, String> {
    let lines: Vec<&str> = yaml.lines().collect();
    // The first comment is about the file.
    let start = lines.iter().position(|line| line.is_empty()).unwrap_or_default();
    let mut entries = Vec::new();
    read_block(&lines[start..], &[], &mut entries)?;
    Ok(entries)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn read_block(lines: &[&str], parent: &[String], entries: &mut Vec<Entry>) -> Result<(), String> {
    let Some(depth) = lines
        .iter()
        .find(|line| !line.is_empty())
        .map(|line| indent(line))
    else {
        return Ok(());
    };
    let mut doc = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if line.trim().is_empty() {
            doc.clear();
            continue;
        }
        if let Some(comment) = line.trim_start().strip_prefix('#') {
            doc.push(comment.trim());
            continue;
        }
        let (key, inline) = line
            .trim()
            .split_once(':')
            .ok_or_else(|| format!("values.yaml: no key in `{line}`"))?;
        let within = |line: &&&str| {
            line.trim().is_empty()
                || indent(line) > depth
                || (indent(line) == depth && line.trim().starts_with("- "))
        };
        let mut body: Vec<&str> = lines[at..].iter().take_while(within).copied().collect();
        at += body.len();
        while body.last().is_some_and(|line| line.trim().is_empty()) {
            body.pop();
        }
        let path: Vec<String> = parent.iter().cloned().chain([key.to_owned()]).collect();
        if doc.is_empty() {
            return Err(format!("values.yaml: {} has no comment", path.join(".")));
        }
        let documented_within = body.first().is_some_and(|line| line.trim().starts_with('#'));
        let default = (!documented_within).then(|| match body.first() {
            None => inline.trim().to_owned(),
            Some(first) => {
                let margin = indent(first);
                let lines: Vec<&str> = body
                    .iter()
                    .map(|line| line.get(margin..).unwrap_or_default())
                    .collect();
                lines.join("\n")
            }
        });
        entries.push(Entry {
            path: path.clone(),
            doc: doc.join(" "),
            default,
        });
        if documented_within {
            read_block(&body, &path, entries)?;
        }
        doc.clear();
    }
    Ok(())
}

fn table(values: &[Entry]) -> String {
    let mut page = String::from("## Values\n\n| value | default | |\n| --- | --- | --- |\n");
    for entry in values {
        let default = match &entry.default {
            None => String::new(),
            Some(text) if text.contains('\n') => {
                let text = text.replace('|', "\\|").replace('<', "&lt;");
                format!("<pre>{}</pre>", text.replace('\n', "<br>"))
            }
            Some(text) => format!("`{text}`"),
        };
        let doc = entry.doc.replace('|', "\\|");
        let _ = writeln!(page, "| `{}` | {default} | {doc} |", entry.path.join("."));
    }
    page
}

/// The schema of the values, with what is generated of it.
fn schema(mut schema: Value, values: &[Entry]) -> Result<String, String> {
    let mut config = smtp_config::json_schema();
    if let Some(top) = config.as_object_mut() {
        top.remove("$schema");
        top.remove("title");
    }
    without_secrets(&mut config);
    // The first is the value `profile`, the second the chart's own: a variable says where the queue is mounted.
    remove(&mut config, &["properties"], "profile")?;
    remove(&mut config, &["properties", "storage", "properties"], "path")?;
    schema["properties"]["config"] = config;
    // What is within `config` says itself what it is.
    for entry in values
        .iter()
        .filter(|entry| entry.path[0] != "config" || entry.path.len() == 1)
    {
        let pointer = pointer(&schema, &entry.path);
        let node = schema.pointer_mut(&pointer).and_then(Value::as_object_mut);
        let node =
            node.ok_or_else(|| format!("values.schema.json does not know {}", entry.path.join(".")))?;
        describe(node, &entry.doc);
    }
    let text = serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Where a value is in the schema: through definitions that it refers to.
fn pointer(schema: &Value, path: &[String]) -> String {
    path.iter().fold(String::new(), |pointer, key| {
        let node = schema.pointer(&pointer).unwrap_or(&Value::Null);
        let reference = node["$ref"]
            .as_str()
            .or_else(|| node["allOf"][0]["$ref"].as_str());
        let node = reference.map_or(pointer, |reference| reference.trim_start_matches('#').to_owned());
        format!("{node}/properties/{key}")
    })
}

/// In draft 7 nothing counts beside a `$ref`, so that goes into an `allOf` of its own.
fn describe(node: &mut Map<String, Value>, doc: &str) {
    if let Some(reference) = node.remove("$ref") {
        node.insert("allOf".into(), serde_json::json!([{ "$ref": reference }]));
    }
    node.insert("description".into(), doc.into());
}

/// Takes out every key that holds a secret: the configuration becomes a ConfigMap, and secrets are files.
fn without_secrets(schema: &mut Value) {
    let secret = |schema: &Value| {
        schema["writeOnly"] == true
            || schema["description"]
                .as_str()
                .is_some_and(|doc| doc.contains("Never shown"))
    };
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.retain(|_, property| !secret(property));
            }
            map.values_mut().for_each(without_secrets);
        }
        Value::Array(list) => list.iter_mut().for_each(without_secrets),
        _ => {}
    }
}

fn remove(schema: &mut Value, within: &[&str], key: &str) -> Result<(), String> {
    within
        .iter()
        .try_fold(schema, |node, key| node.get_mut(key))
        .and_then(Value::as_object_mut)
        .and_then(|properties| properties.remove(key))
        .map(drop)
        .ok_or_else(|| format!("the configuration has no {key} any more"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn chart_is_current() {
        for (path, text) in super::files().expect("generated") {
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                written == text,
                "{} is stale: run `cargo xtask docs`",
                path.display()
            );
        }
    }
}
