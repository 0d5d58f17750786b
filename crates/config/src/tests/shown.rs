//! What is printed: values, reference, schema.

use super::Case;
use crate::*;

#[test]
fn secrets_are_masked_everywhere() {
    let loaded = Case::new("").env("SMTP_ADMIN_PASSWORD", "hunter2hunter2").load();
    for text in [show_table(&loaded), show_json(&loaded), format!("{loaded:?}")] {
        assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    }
}

#[test]
fn what_is_shown_is_valid_in_a_file() {
    let file = "[[domains]]\nname = \"a.example\"\ndeliver = \"capture\"\n[relay]\nsmarthost = \"smtp://h.example:26\"\n";
    let loaded = Case::new(file).load();
    let mut again = String::new();
    let mut lists = String::new();
    for line in show_json(&loaded).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (key, value) = (row["key"].as_str().unwrap(), &row["value"]);
        match value.as_array() {
            Some(items) if LISTS.iter().any(|list| list.name == key) => {
                for item in items {
                    lists += &format!("[[{key}]]\n");
                    for (name, value) in item.as_object().unwrap() {
                        lists += &format!("{name} = {value}\n");
                    }
                }
            }
            _ if value.is_null() => {}
            _ => again += &format!("{key} = {value}\n"),
        }
    }
    assert_eq!(Case::new(&(again + &lists)).load().config, loaded.config);
}

#[test]
fn the_reference_and_the_schema_know_every_setting() {
    let (page, schema) = (reference_markdown(), json_schema());
    for setting in SETTINGS {
        assert!(
            page.contains(&format!("| `{}` |", setting.key())),
            "{}",
            setting.name
        );
        let entry = &schema["properties"][setting.section]["properties"][setting.key()];
        assert!(
            entry["description"].as_str().is_some_and(|text| text.len() > 10),
            "{}",
            setting.name
        );
        assert_eq!(entry["x-reload"], setting.reload.name());
    }
    assert!(!page.contains("***"));
}

#[test]
fn the_printed_reference_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/configuration.md"
    );
    let printed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        printed == reference_markdown(),
        "docs/reference/configuration.md is stale: run `cargo xtask docs`"
    );
}
