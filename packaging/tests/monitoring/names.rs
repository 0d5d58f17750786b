//! That everything asked for is there: each metric, label and value that an alert, a rule, a dashboard or a scaler names is in what a running server
//! exposes.

use super::expression::{Expression, Selector};
use super::files::{expressions, promtool, recording, rules, string, text, write_rules};
use blackbox::server::Server;
use blackbox::tools::run;
use packaging::tools::root;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Labels that a series gets when it is scraped.
const TARGET: [&str; 5] = ["namespace", "job", "pod", "instance", "container"];

/// Labels of series of kube-state-metrics.
const WORKLOADS: [&str; 3] = ["statefulset", "deployment", "persistentvolumeclaim"];

/// Series of others: Prometheus' own, the kubelet's (cAdvisor and volumes), and those of kube-state-metrics.
const OTHERS: [&str; 13] = [
    "up",
    "ALERTS",
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_periods_total",
    "kube_pod_status_phase",
    "kube_pod_container_resource_requests",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas",
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas",
    "kube_persistentvolumeclaim_status_phase",
];

type Labels = BTreeMap<String, String>;

/// What a running server exposes: every series of every metric.
struct Live(BTreeMap<String, Vec<Labels>>);

impl Live {
    fn look() -> Live {
        let server = Server::with("");
        let (status, text) = server.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let mut metrics: BTreeMap<String, Vec<Labels>> = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            let read = Expression::read(series);
            let Selector { metric, matchers } = read.selectors.into_iter().next().expect("a series");
            let labels = matchers
                .into_iter()
                .map(|(label, _, value)| (label, value))
                .collect();
            metrics.entry(metric).or_default().push(labels);
        }
        assert!(metrics.len() > 60, "{} metrics", metrics.len());
        Live(metrics)
    }

    fn labels(&self) -> BTreeSet<&str> {
        self.0
            .values()
            .flatten()
            .flat_map(|labels| labels.keys().map(String::as_str))
            .collect()
    }

    /// What is wrong with a selector: every value that it asks for has to be that of a series.
    fn wrong(&self, selector: &Selector) -> Option<String> {
        let Some(series) = self.0.get(&selector.metric) else {
            return Some(format!("no metric {}", selector.metric));
        };
        let of_ours = selector
            .matchers
            .iter()
            .filter(|(label, ..)| !TARGET.contains(&label.as_str()));
        // All that `=~` may be, one after the other.
        let mut wanted: Vec<Labels> = vec![Labels::new()];
        for (label, operator, value) in of_ours {
            let values: Vec<&str> = match operator.as_str() {
                "=" | "!=" => vec![value],
                "=~" | "!~" => value.split('|').collect(),
                operator => return Some(format!("{operator}?")),
            };
            if let Some(strange) = values.iter().find(|value| value.contains(['*', '+', '[', '('])) {
                return Some(format!(
                    "{label}=~{strange}: name the values, so that it can be checked"
                ));
            }
            let with = |labels: &Labels| {
                let labels = labels.clone();
                values.iter().map(move |value| {
                    let mut labels = labels.clone();
                    labels.insert(label.clone(), (*value).to_owned());
                    labels
                })
            };
            wanted = wanted.iter().flat_map(with).collect();
        }
        let missing = wanted.iter().find(|wanted| {
            !series.iter().any(|labels| {
                wanted
                    .iter()
                    .all(|(label, value)| labels.get(label) == Some(value))
            })
        });
        missing.map(|missing| format!("no {} with {missing:?}", selector.metric))
    }
}

#[test]
fn every_metric_label_and_value_is_a_running_servers() {
    let live = Live::look();
    let mut recorded = BTreeSet::new();
    for file in recording().values() {
        recorded.extend(rules(file).iter().map(|rule| string(rule, "record").to_owned()));
    }
    let mut used = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for (place, expr) in expressions() {
        let read = Expression::read(&expr);
        assert!(!read.selectors.is_empty(), "{place} asks for nothing: {expr}");
        for selector in &read.selectors {
            used.insert(selector.metric.clone());
            if recorded.contains(&selector.metric) || OTHERS.contains(&selector.metric.as_str()) {
                continue;
            }
            wrong.extend(live.wrong(selector).map(|wrong| format!("{place}: {wrong}")));
        }
        let labels = live.labels();
        let known = |label: &&String| {
            let label = label.as_str();
            labels.contains(label) || [&TARGET[..], &WORKLOADS, &["le"]].concat().contains(&label)
        };
        let strange = read.labels.iter().filter(|label| !known(label));
        wrong.extend(strange.map(|label| format!("{place}: no label {label}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unused: Vec<_> = recorded.difference(&used).collect();
    assert!(unused.is_empty(), "recorded, and asked for by nobody: {unused:?}");
}

/// Files of the manifests and the chart that are YAML or a template of it, without those that are generated from what is checked above.
fn manifests() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("entry").path();
            if path.ends_with("k8s/monitoring") {
                continue;
            } else if path.is_dir() {
                walk(&path, found);
            } else if path
                .extension()
                .is_some_and(|ending| ending == "yaml" || ending == "tpl")
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("k8s"), &mut found);
    walk(&root().join("charts/smtp-server/templates"), &mut found);
    found
}

/// Words that begin as our metrics do.
fn metric_words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("smtp_"))
        .map(str::to_owned)
        .collect()
}

/// What scales the pods asks for metrics too: HPA, prometheus-adapter, KEDA.
#[test]
fn scalers_ask_for_what_is_there() {
    let live = Live::look();
    let texts: Vec<(PathBuf, String)> = manifests()
        .into_iter()
        .map(|path| (path.clone(), text(&path)))
        .collect();
    // The adapter makes metrics of its own.
    let made: BTreeSet<String> = texts
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim().strip_prefix("as: "))
        .map(|name| name.trim_matches('"').to_owned())
        .collect();
    let mut queries = Vec::new();
    let mut seen = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for (path, text) in &texts {
        for line in text.lines() {
            for word in metric_words(line) {
                if !live.0.contains_key(&word) && !made.contains(&word) {
                    wrong.insert(format!("{}: no metric {word}", path.display()));
                }
                seen.insert(word);
            }
            let field = |name: &str| line.trim().trim_start_matches("- ").strip_prefix(name);
            let query = field("query: ")
                .or_else(|| field("metricsQuery: "))
                .or_else(|| field("seriesQuery: "));
            queries.extend(query.map(|query| (path.clone(), filled_in(query))));
        }
    }
    assert!(seen.contains("smtp_active_connections"), "{seen:?}");
    assert!(queries.len() >= 4, "{queries:?}");
    for (path, query) in &queries {
        for selector in Expression::read(query).selectors {
            // An empty value asks for series that have the label at all.
            let mut selector = selector;
            selector.matchers.retain(|(_, _, value)| !value.is_empty());
            wrong.extend(
                live.wrong(&selector)
                    .map(|wrong| format!("{}: {wrong} ({query})", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(place, (_, query))| json!({"record": format!("scaler:{place}"), "expr": query}))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scalers.yaml");
    write_rules(&file, &json!({"groups": [{"name": "scalers", "rules": rules}]}));
    run(promtool().args(["check", "rules", "--lint=none"]).arg(&file));
}

/// A query without the adapter's and Helm's own braces and quotes.
fn filled_in(query: &str) -> String {
    let query = query.trim().trim_matches('\'');
    let query = query.replace("<<.Series>>", "smtp_active_connections");
    let query = query
        .replace("<<.LabelMatchers>>", "namespace=\"mail\"")
        .replace("<<.GroupBy>>", "pod");
    let mut plain = String::new();
    let mut rest = query.as_str();
    // Helm puts label matchers in.
    while let Some((before, behind)) = rest.split_once("{{-") {
        let (_, behind) = behind.split_once("-}}").expect("the end of a template");
        plain.push_str(before.trim_end());
        plain.push_str("namespace=\"mail\"");
        rest = behind.trim_start();
    }
    plain + rest
}

#[test]
fn a_metric_that_is_not_there_is_noticed() {
    let live = Live::look();
    let wrong = |expr: &str| live.wrong(&Expression::read(expr).selectors[0]);
    assert_eq!(wrong("smtp_queue_depth{job=~\".*x\"}"), None);
    assert_eq!(wrong("smtp_deliveries_total{status=~\"sent|bounced\"}"), None);
    assert_eq!(wrong("smtp_delivery_seconds_bucket{le=\"300.0\"}"), None);
    assert!(wrong("smtp_delivery_seconds_bucket{le=\"300\"}").is_some());
    assert!(wrong("smtp_queue_length").is_some());
    assert!(wrong("smtp_deliveries_total{status=~\"sent|delivered\"}").is_some());
    assert!(wrong("smtp_deliveries_total{reason=\"sent\"}").is_some());
}
