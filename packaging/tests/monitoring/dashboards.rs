//! Dashboards: Grafana reads them, each panel is explained and in its place, and Prometheus understands what it asks.

use super::files::{dashboard_expressions, dashboards, panels, promtool, string, write_rules};
use blackbox::tools::run;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn dashboards_are_what_grafana_10_and_11_read() {
    let dashboards = dashboards();
    let names: Vec<&str> = dashboards.keys().map(String::as_str).collect();
    assert_eq!(names, ["capacity", "delivery", "overview", "reception"]);
    let mut uids = BTreeSet::new();
    for (name, dashboard) in &dashboards {
        assert!(uids.insert(string(dashboard, "uid")), "{name}: uid");
        assert!(string(dashboard, "uid").len() <= 40);
        assert_eq!(
            string(dashboard, "title").split(" / ").next(),
            Some("SMTP server"),
            "{name}"
        );
        let version = dashboard["schemaVersion"].as_u64().expect("schemaVersion");
        assert!(
            (36..=39).contains(&version),
            "{name}: the schema of Grafana 10 has at most 39"
        );
        assert!(
            dashboard["id"].is_null(),
            "{name}: a dashboard to import has no id"
        );
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let variables: Vec<&str> = variables
            .iter()
            .map(|variable| string(variable, "name"))
            .collect();
        assert_eq!(variables, ["datasource", "namespace", "job", "pod"], "{name}");
        let mut ids = BTreeSet::new();
        for panel in panels(dashboard) {
            let title = string(panel, "title");
            assert!(
                ids.insert(panel["id"].as_u64().expect("an id")),
                "{name}: {title} has another's id"
            );
            let place = &panel["gridPos"];
            let (x, w) = (place["x"].as_u64().expect("x"), place["w"].as_u64().expect("w"));
            assert!(
                x + w <= 24 && w > 0 && place["h"].as_u64() > Some(0),
                "{name}: {title} is out of the grid"
            );
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(
                panel["datasource"],
                json!({"type": "prometheus", "uid": "${datasource}"}),
                "{name}: {title}"
            );
            assert!(
                string(panel, "description").len() > 15,
                "{name}: {title} is not explained"
            );
            for target in panel["targets"].as_array().expect("targets") {
                let expr = string(target, "expr");
                assert!(
                    expr.contains("$namespace") && expr.contains("$"),
                    "{name}: {title} is about every namespace"
                );
                assert!(!string(target, "refId").is_empty());
            }
        }
        no_overlap(name, &panels(dashboard));
    }
}

/// Two panels in one place are a mess that Grafana sorts out in its own way.
fn no_overlap(name: &str, panels: &[&Value]) {
    let mut taken = BTreeMap::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                let other = taken.insert((x, y), string(panel, "title"));
                assert_eq!(other, None, "{name}: {} lies on another", string(panel, "title"));
            }
        }
    }
}

#[test]
fn promtool_parses_every_expression_of_the_dashboards() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rules = Vec::new();
    for (name, dashboard) in dashboards() {
        let expressions = dashboard_expressions(&dashboard);
        assert!(
            expressions.len() >= 10,
            "{name}: {} expressions",
            expressions.len()
        );
        for (place, expr) in expressions.iter().enumerate() {
            rules.push(json!({"record": format!("{name}:{place}"), "expr": expr}));
        }
    }
    let file = folder.path().join("dashboards.yaml");
    write_rules(
        &file,
        &json!({"groups": [{"name": "dashboards", "rules": rules}]}),
    );
    run(promtool().args(["check", "rules", "--lint=none"]).arg(&file));
}
