//! Two releases in one namespace, with each of the values files: neither has an object, a pod, a rule or a figure of the other.

use crate::charts::rendering::{CHART, ci, each, name};
use blackbox::tools::run;
use packaging::render::objects;
use packaging::semantic::{Labels, Set, labels, selects};
use packaging::tools::{Release, root};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Names, neither of which is in anything else that the chart makes.
const RELEASES: [&str; 2] = ["birch", "maple"];

/// A release with a values file. Names that the file gives are each release's own.
fn render(release: &str, values: &Path) -> Vec<Value> {
    let mut helm = Release::Helm4.helm();
    helm.args(["template", release]).arg(root().join(CHART));
    helm.args(["--namespace", "mail", "--values"]).arg(values);
    let given = std::fs::read_to_string(values).expect("values");
    if given.contains("fullnameOverride:") {
        helm.args(["--set", &format!("fullnameOverride={release}-relay")]);
    }
    if given.contains("serviceAccount:") {
        helm.args(["--set", &format!("serviceAccount.name={release}-identity")]);
    }
    objects(&String::from_utf8(run(&mut helm).stdout).expect("UTF-8"))
}

/// Labels of all pods: the server's, and those of tests and Jobs.
fn pods(objects: &[Value]) -> Vec<Labels> {
    let set = Set::new(objects, &[]);
    set.all_pods().iter().map(|pods| pods.labels()).collect()
}

/// Every label selector in an object, however deep, with where it is.
fn selectors(place: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            if map.contains_key("matchLabels") || map.contains_key("matchExpressions") {
                found.push((place.to_owned(), value.clone()));
            }
            for (key, value) in map {
                selectors(&format!("{place}/{key}"), value, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| selectors(place, value, found)),
        _ => {}
    }
}

/// What of one release's objects reaches to the other's.
pub(super) fn reaches(one: &[Value], other: &[Value], of_other: &str) -> Vec<String> {
    let mut found = Vec::new();
    let id = |object: &Value| format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "");
    let names: BTreeSet<String> = other.iter().map(id).collect();
    let pods = pods(other);
    let services: Vec<Labels> = other
        .iter()
        .filter(|object| object["kind"] == "Service")
        .map(|object| labels(&object["metadata"]["labels"]))
        .collect();
    for object in one {
        let mut all = Vec::new();
        selectors("", object, &mut all);
        if object["kind"] == "Service" {
            all.push((
                "/spec/selector".into(),
                json!({"matchLabels": object["spec"]["selector"]}),
            ));
        }
        let selected = if object["kind"] == "ServiceMonitor" {
            &services
        } else {
            &pods
        };
        for (place, selector) in all {
            if selected.iter().any(|pod| selects(&selector, pod)) {
                found.push(format!("{}{place} selects the other's", id(object)));
            }
        }
        if names.contains(&id(object)) {
            found.push(format!("both have {}", id(object)));
        }
        // Accounts, Secrets, what is scaled, what routes lead to: nothing is called as the other's are.
        if object.to_string().contains(of_other) {
            found.push(format!("{} names the other release", id(object)));
        }
    }
    found
}

/// A policy about every pod of the namespace only denies: so it is the same thing twice.
fn denies_all(object: &Value) -> bool {
    let spec = &object["spec"];
    object["kind"] == "NetworkPolicy"
        && spec["podSelector"] == json!({})
        && spec["ingress"].is_null()
        && spec["egress"].is_null()
}

#[test]
fn releases_keep_apart() {
    let files = ci();
    let found = each(&files, |values| {
        let [one, two] = RELEASES.map(|release| render(release, values));
        assert_eq!(one.len(), two.len());
        for object in &one {
            let all = object["kind"] == "NetworkPolicy" && object["spec"]["podSelector"] == json!({});
            assert!(!all || denies_all(object), "{object:#}");
        }
        let both = [reaches(&one, &two, "maple"), reaches(&two, &one, "birch")].concat();
        let named = both.into_iter().map(|text| format!("{}: {text}", name(values)));
        named.collect::<Vec<_>>()
    });
    assert_eq!(found.concat(), Vec::<String>::new());
    // It does look: two of one name.
    let values = root().join(CHART).join("ci/monitoring-values.yaml");
    let one = render("birch", &values);
    let same = reaches(&one, &one, "birch-smtp-server");
    for expected in [
        "both have Deployment/birch-smtp-server",
        "Service/birch-smtp-server/spec/selector selects the other's",
        "PodMonitor/birch-smtp-server/spec/selector selects the other's",
        "PodDisruptionBudget/birch-smtp-server-pdb/spec/selector selects the other's",
        "NetworkPolicy/birch-smtp-server-allow-smtp-egress/spec/podSelector selects the other's",
        "PodMonitor/birch-smtp-server names the other release",
    ] {
        assert!(same.iter().any(|text| text == expected), "{expected}: {same:#?}");
    }
}

/// Rules and dashboards are about whatever Prometheus reads, so one release brings them for all: those of another are the same.
#[test]
fn rules_and_dashboards_are_the_same_for_all() {
    let values = root().join(CHART).join("ci/monitoring-values.yaml");
    let of = |release: &str| -> Vec<Value> {
        let mine = render(release, &values).into_iter();
        let mine = mine.filter(|object| {
            object["kind"] == "PrometheusRule" || !object["metadata"]["labels"]["grafana_dashboard"].is_null()
        });
        mine.map(|object| json!([object["spec"], object["data"]]))
            .collect()
    };
    let first = of("birch");
    assert_eq!(first.len(), 2, "the rules, and the dashboards");
    assert_eq!(first, of("maple"));
}
