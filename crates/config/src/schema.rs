//! `config schema`: a JSON Schema of the file, for editors and for checks before a rollout; `x-reload` says whether a changed
//! value takes effect `live` or with a `restart`.

use crate::descriptor::{ANY, Descriptor};
use crate::kinds::Profile;
use crate::lists::{LISTS, ListDescriptor, ListKey};
use crate::tree::{Config, SECTIONS, SETTINGS};
use crate::value::Value;
use serde_json::{Map, Value as Json, json};

/// The schema (draft 2020-12).
pub fn json_schema() -> Json {
    let mut properties = Map::new();
    let mut profile = Profile::schema();
    profile["description"] = "What the server is run for; decides defaults.".into();
    properties.insert("profile".into(), profile);
    for (section, doc) in SECTIONS {
        let settings = SETTINGS.iter().filter(|setting| setting.section == *section);
        let lists = LISTS.iter().filter_map(|list| {
            let (within, name) = list.name.split_once('.')?;
            (within == *section).then(|| (name.to_owned(), list_schema(list)))
        });
        let keys: Map<String, Json> = settings
            .map(|s| (s.key().to_owned(), setting_schema(s)))
            .chain(lists)
            .collect();
        let schema = json!({
            "type": "object", "description": one_line(doc), "additionalProperties": false, "properties": keys,
        });
        properties.insert((*section).into(), schema);
    }
    let lists = LISTS.iter().filter(|list| !list.name.contains('.'));
    properties.extend(lists.map(|list| (list.name.to_owned(), list_schema(list))));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "smtp-server configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn setting_schema(setting: &Descriptor) -> Json {
    let mut schema = (setting.schema)();
    schema["description"] = one_line(setting.doc).into();
    schema["x-reload"] = setting.reload.name().into();
    if setting.range != ANY {
        schema["minimum"] = setting.range.0.into();
        schema["maximum"] = setting.range.1.into();
    }
    let default = setting.shown(&Config::defaults(Profile::default()));
    let depends = !setting.default_words.is_empty() || !setting.follows.is_empty() || default.is_null();
    if !depends
        && Profile::ALL
            .iter()
            .all(|p| setting.shown(&Config::defaults(*p)) == default)
    {
        schema["default"] = default;
    }
    schema
}

fn list_schema(list: &ListDescriptor) -> Json {
    let key_schema = |key: &ListKey| {
        let mut schema = match key.many {
            true => json!({"type": "array", "items": {"type": "string"}}),
            false => json!({"type": "string"}),
        };
        schema["description"] = format!("{} {}.", key.doc, key.kind).into();
        (key.name.to_owned(), schema)
    };
    let keys: Map<String, Json> = list.keys.iter().map(key_schema).collect();
    let required: Vec<&str> = list
        .keys
        .iter()
        .filter(|key| key.default.is_empty())
        .map(|key| key.name)
        .collect();
    let item =
        json!({"type": "object", "additionalProperties": false, "properties": keys, "required": required});
    json!({"type": "array", "description": list.doc, "x-reload": list.reload.name(), "items": item})
}

/// Documentation in one line.
pub(crate) fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
