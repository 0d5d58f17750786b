//! That nothing is missing: each alert has its runbook and its test, what is generated is current, and promtool has nothing to say.

use super::files::{alerts, promtool, recording, rules, string, text, texts, write_rules, yaml};
use blackbox::tools::run;
use packaging::render::{KUBERNETES, chart};
use packaging::tools::{Release, root};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The names that the guide gave; alertmanagers route by them.
const GUIDE: [&str; 4] = [
    "SMTPServerDown",
    "SMTPHighErrorRate",
    "SMTPQueueBacklog",
    "SMTPHighMemory",
];

/// What somebody has to be told of, whatever else is thought of.
const PROMISED: [&str; 15] = [
    "SMTPServerDown",
    "SMTPNotReady",
    "SMTPOldestDue",
    "SMTPDeferralRatio",
    "SMTPBounceSpike",
    "SMTPTemporaryRefusals",
    "SMTPSpoolLow",
    "SMTPCertificateExpiry",
    "SMTPDKIMKeyMissing",
    "SMTPConfigRefused",
    "SMTPDNSFailing",
    "SMTPBruteForce",
    "SMTPLeaseStalls",
    "SMTPDrainSlow",
    "SMTPClientAddressLost",
];

#[test]
fn each_alert_has_its_runbook_and_its_test() {
    let alerts: BTreeSet<String> = alerts().into_keys().collect();
    let mut tests: BTreeSet<String> = texts("monitoring/tests", ".yaml").into_keys().collect();
    for file in recording().into_keys() {
        assert!(
            tests.remove(&format!("rules-{file}")),
            "the rules of {file} have no test"
        );
    }
    let mut runbooks: BTreeSet<String> = texts("docs/runbooks", ".md").into_keys().collect();
    assert!(runbooks.remove("README"), "the list of runbooks");
    assert_eq!(alerts, tests, "alerts and their tests");
    assert_eq!(alerts, runbooks, "alerts and their runbooks");
    for name in GUIDE.into_iter().chain(PROMISED) {
        assert!(alerts.contains(name), "{name}, which was promised");
    }
    let list = text(&root().join("docs/runbooks/README.md"));
    let page = text(&root().join("docs/monitoring.md"));
    for name in &alerts {
        assert!(
            list.contains(&format!("[{name}]({name}.md)")),
            "{name} in the list of runbooks"
        );
        assert!(
            page.contains(&format!("`{name}`")),
            "{name} in docs/monitoring.md"
        );
    }
}

#[test]
fn each_alert_says_what_is_wrong_and_what_to_read() {
    for (name, file) in alerts() {
        let rules = rules(&file);
        let mut severities = BTreeSet::new();
        for rule in &rules {
            assert_eq!(
                string(rule, "alert"),
                name,
                "one alert in a file, which is called like it"
            );
            let severity = string(&rule["labels"], "severity");
            assert!(
                ["critical", "warning", "info"].contains(&severity),
                "{name}: {severity}"
            );
            assert!(
                severities.insert(rule["labels"].to_string()),
                "{name}: two rules with the same labels"
            );
            let annotations = &rule["annotations"];
            assert!(string(annotations, "summary").len() > 15, "{name}: summary");
            assert!(
                string(annotations, "description").len() > 40,
                "{name}: description"
            );
            assert_eq!(string(annotations, "runbook"), format!("docs/runbooks/{name}.md"));
        }
    }
}

/// Seen by its promtool test: each severity fires and nothing fires, at least once.
#[test]
fn each_test_sees_its_alert_fire_and_not_fire() {
    let tests = texts("monitoring/tests", ".yaml");
    for (name, file) in alerts() {
        let said = |rule: &&Value| {
            (
                string(&rule["labels"], "severity").to_owned(),
                string(&rule["annotations"], "summary").to_owned(),
            )
        };
        let rules: BTreeSet<_> = rules(&file).iter().map(said).collect();
        let mut fired = BTreeSet::new();
        let mut silent = 0;
        for test in yaml(&tests[&name])["tests"].as_array().expect("tests") {
            let checks = test["alert_rule_test"].as_array().expect("checks");
            let expected: Vec<&Value> = checks
                .iter()
                .inspect(|check| assert_eq!(string(check, "alertname"), name))
                .flat_map(|check| check["exp_alerts"].as_array().expect("exp_alerts"))
                .collect();
            silent += usize::from(expected.is_empty());
            for alert in expected {
                let severity = string(&alert["exp_labels"], "severity").to_owned();
                fired.insert((severity, string(&alert["exp_annotations"], "summary").to_owned()));
            }
        }
        assert_eq!(fired, rules, "what fires in the test of {name}");
        assert!(silent > 0, "no test of {name} in which it stays silent");
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let object = yaml(&text(&root().join("k8s/monitoring/prometheusrule.yaml")));
    let operator = folder.path().join("prometheusrule.yaml");
    write_rules(&operator, &object["spec"]);
    let mut check = promtool();
    check
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .arg(&operator);
    let all = ["alerts", "rules"].map(|kind| root().join("monitoring").join(kind));
    for folder in &all {
        check.args(
            std::fs::read_dir(folder)
                .expect("files")
                .map(|entry| entry.expect("entry").path()),
        );
    }
    run(&mut check);
    let tests = std::fs::read_dir(root().join("monitoring/tests")).expect("tests");
    run(promtool()
        .args(["test", "rules"])
        .args(tests.map(|entry| entry.expect("entry").path())));
}

/// The object holds each group of each file, and the chart has each file as it is.
#[test]
fn what_is_generated_is_current() {
    let object = yaml(&text(&root().join("k8s/monitoring/prometheusrule.yaml")));
    let files: Vec<Value> = recording().into_values().chain(alerts().into_values()).collect();
    let groups: Vec<Value> = files
        .iter()
        .flat_map(|file| file["groups"].as_array().expect("groups").clone())
        .collect();
    assert_eq!(object["spec"]["groups"], json!(groups), "run `cargo xtask docs`");
    assert_eq!(object["kind"], "PrometheusRule");
    assert_eq!(object["metadata"]["name"], "smtp-server-alerts");
    assert_eq!(object["metadata"]["namespace"], "mail");
    for (folder, ending) in [("alerts", ".yaml"), ("rules", ".yaml"), ("dashboards", ".json")] {
        let written = texts(&format!("monitoring/{folder}"), ending);
        let copies = texts(&format!("charts/smtp-server/files/{folder}"), ending);
        assert!(
            written == copies,
            "charts/smtp-server/files/{folder}: run `cargo xtask docs`"
        );
    }
    let map = yaml(&text(&root().join("k8s/monitoring/dashboards.yaml")));
    let written: BTreeMap<String, String> = texts("monitoring/dashboards", ".json");
    let held = map["data"].as_object().expect("data");
    assert_eq!(held.len(), written.len());
    for (name, text) in &written {
        assert!(
            held[&format!("{name}.json")] == text.as_str(),
            "{name}: run `cargo xtask docs`"
        );
    }
    // `kubectl apply` keeps what was applied in an annotation, which may have 256 KiB.
    let size: usize = written.values().map(String::len).sum();
    assert!(size < 200_000, "{size} octets of dashboards");
}

/// With an address for the runbooks, a label for routing, and without what was to be left out.
#[test]
fn the_chart_installs_the_same_rules() {
    let values = root().join("charts/smtp-server/ci/monitoring-values.yaml");
    let more = [
        "--show-only=templates/prometheusrule.yaml",
        "--set=prometheusRule.runbookBaseUrl=https://runbooks.example/smtp/",
        "--set=prometheusRule.excludeRules={SMTPLogLinesDropped}",
    ];
    for release in Release::ALL {
        let object = yaml(&chart(release, Some(&values), KUBERNETES[0], &more));
        let mut rendered: Vec<Value> = rules(&object["spec"]).into_iter().cloned().collect();
        for rule in rendered.iter_mut().filter(|rule| rule["alert"].is_string()) {
            let page = format!("https://runbooks.example/smtp/{}.md", string(rule, "alert"));
            let annotations = rule["annotations"].as_object_mut().expect("annotations");
            assert_eq!(annotations.remove("runbook_url"), Some(json!(page)));
            let labels = rule["labels"].as_object_mut().expect("labels");
            assert_eq!(labels.remove("team"), Some(json!("mail")));
        }
        let written: Vec<Value> = recording().into_values().chain(alerts().into_values()).collect();
        let written: Vec<Value> = written.iter().flat_map(rules).cloned().collect();
        let kept: Vec<Value> = written
            .into_iter()
            .filter(|rule| rule["alert"] != "SMTPLogLinesDropped")
            .collect();
        assert_eq!(rendered, kept, "{release:?}");
    }
}

#[test]
fn each_runbook_has_what_is_needed_at_night() {
    for (name, page) in texts("docs/runbooks", ".md") {
        if name == "README" {
            continue;
        }
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {name}");
        let wanted = [
            title.as_str(),
            "## What it means",
            "## Is mail in danger",
            "## Look",
            "## Do",
            "## When it is false",
        ];
        assert_eq!(headings, wanted, "{name}");
        let sections: Vec<&str> = page.split("\n## ").collect();
        for section in &sections[1..] {
            let (heading, text) = section.split_once('\n').expect("a text");
            assert!(text.trim().len() > 25, "{name}: {heading} says nothing");
        }
        assert!(sections[3].contains("```sh"), "{name}: how to look");
    }
}
