//! What probes, monitors and whatever scales the pods ask for, a server answers that runs.

use crate::manifests::rendered::{OVERLAYS, all, files, overlay};
use blackbox::server::Setup;
use blackbox::tools::{program, run};
use packaging::render::find;
use packaging::semantic::Set;
use packaging::tools::{Release, root};
use serde_json::{Value, json};

/// The probes, and what Prometheus and the HPA ask for, are answered by a server that runs.
#[test]
fn a_running_server_answers_probes_and_has_the_metrics() {
    let server = Setup::new("").start();
    let mut asked = 0;
    for name in OVERLAYS {
        let objects = overlay(name).objects;
        for workload in Set::new(&objects, &[]).workloads() {
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let path = workload.server().expect("the server")[probe]["httpGet"]["path"].as_str();
                let (status, body) = server.get(path.expect("a path"));
                assert_eq!(status, 200, "{name}: {probe}: {body}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, OVERLAYS.len() * 3);
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    let has = |name: &str| {
        metrics
            .lines()
            .any(|line| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{")))
    };
    for name in ["smtp_active_connections", "smtp_queue_due_recipients"] {
        assert!(has(name), "{name}");
        assert!(
            expressions().iter().any(|expression| expression.contains(name)),
            "nobody asks for {name}"
        );
    }
    let mut named: Vec<String> = expressions()
        .iter()
        .flat_map(|expression| words(expression))
        .filter(|word| word.starts_with("smtp_"))
        .collect();
    named.sort();
    named.dedup();
    for name in named {
        assert!(has(&name), "no metric {name}");
    }
    for monitor in ["podmonitor", "servicemonitor"] {
        let object = &files(&[&format!("monitoring/{monitor}")])[0];
        let endpoints = [
            &object["spec"]["podMetricsEndpoints"],
            &object["spec"]["endpoints"],
        ];
        let endpoint = endpoints.iter().find(|one| one.is_array()).expect("endpoints");
        let (status, _) = server.get(endpoint[0]["path"].as_str().expect("a path"));
        assert_eq!(status, 200, "{monitor}");
    }
}

/// Queries of KEDA and prometheus-adapter, with what the adapter puts into its templates.
fn expressions() -> Vec<String> {
    let keda = files(&["components/keda/scaledobject"]);
    let triggers = keda[0]["spec"]["triggers"].as_array().expect("triggers").iter();
    let mut all: Vec<String> = triggers
        .filter_map(|trigger| trigger["metadata"]["query"].as_str().map(str::to_owned))
        .collect();
    let adapter = &files(&["components/hpa-metrics/prometheus-adapter"])[0]["rules"];
    for rule in ["custom", "external"]
        .iter()
        .flat_map(|kind| adapter[*kind].as_array().expect("rules"))
    {
        let series = rule["seriesQuery"].as_str().expect("a series");
        let query = rule["metricsQuery"].as_str().expect("a query");
        all.push(series.to_owned());
        all.push(
            query
                .replace("<<.Series>>", series.split('{').next().expect("a name"))
                .replace("<<.LabelMatchers>>", "namespace=\"mail\"")
                .replace("<<.GroupBy>>", "pod"),
        );
    }
    all
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(str::to_owned)
        .collect()
}

#[test]
fn prometheus_understands_what_scales_the_pods() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules: Vec<Value> = expressions()
        .iter()
        .enumerate()
        .map(|(place, expression)| json!({"record": format!("r{place}"), "expr": expression}))
        .collect();
    assert_eq!(rules.len(), 6);
    let file = folder.path().join("rules.json");
    let groups = json!({"groups": [{"name": "g", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).expect("a file");
    run(program("/usr/bin/promtool").args(["check", "rules"]).arg(&file));
    // What the HPA asks for is what the adapter offers.
    let hpa = all(Release::Helm4)
        .into_iter()
        .find(|one| one.name == "postgresql+hpa-metrics")
        .expect("rendered");
    let metrics = find(&hpa.objects, "HorizontalPodAutoscaler", "smtp-server-hpa")["spec"]["metrics"].clone();
    let adapter = std::fs::read_to_string(root().join("k8s/components/hpa-metrics/prometheus-adapter.yaml"));
    let adapter = adapter.expect("the adapter's rules");
    let metrics = metrics.as_array().expect("metrics");
    assert_eq!(metrics.len(), 3);
    for name in metrics.iter().filter_map(|one| {
        let of = if one["type"] == "Pods" {
            &one["pods"]
        } else {
            &one["external"]
        };
        of["metric"]["name"].as_str()
    }) {
        assert!(adapter.contains(name), "{name}");
    }
}
