//! What a release is called: text, whatever it looks like; and beside the files of k8s/ in one namespace something else than they.

use super::releases::reaches;
use crate::charts::rendering::{CHART, ci, each, name};
use blackbox::tools::run;
use packaging::render::{customized, file, objects};
use packaging::semantic::network::{End, Policies, Protocol, Way};
use packaging::semantic::{Set, Workload};
use packaging::tools::{Release, root};
use serde_json::{Value, json};
use std::path::Path;

/// A release of the chart: its name and namespace, a file of values, and more options.
fn rendered(release: &str, namespace: &str, values: &Path, more: &[&str]) -> Vec<Value> {
    let mut helm = Release::Helm4.helm();
    helm.args(["template", release]).arg(root().join(CHART));
    helm.args(["--namespace", namespace, "--values"]).arg(values);
    objects(&String::from_utf8(run(helm.args(more)).stdout).expect("UTF-8"))
}

/// Where one of two has a text, and the other has something else.
fn no_text(place: &str, usual: &Value, odd: &Value, found: &mut Vec<String>) {
    match (usual, odd) {
        (Value::String(_), Value::String(_)) => {}
        (Value::String(usual), odd) => found.push(format!("{place}: {odd} in place of {usual:?}")),
        (Value::Object(usual), odd) => {
            for (key, value) in usual {
                no_text(&format!("{place}/{key}"), value, &odd[key], found);
            }
        }
        (Value::Array(usual), odd) => {
            for (at, value) in usual.iter().enumerate() {
                no_text(&format!("{place}/{at}"), value, &odd[at], found);
            }
        }
        _ => {}
    }
}

/// Words that every YAML takes for a truth or a number (`no` and `on` are texts in that of the tests, and none in Kubernetes'), each where the
/// other release has a name.
#[test]
fn names_are_text() {
    let named = |[release, namespace, name, full]: [&str; 4], values: &Path| {
        let set = format!("nameOverride={name},fullnameOverride={full}");
        rendered(release, namespace, values, &["--set-string", &set])
    };
    let found = each(&ci(), |values| {
        let usual = named(["maple", "birch", "oak", "elm"], values);
        let odd = named(["false", "456", "123", "true"], values);
        let mut found = Vec::new();
        for (usual, odd) in usual.iter().zip(&odd) {
            let place = format!("{}: {}", name(values), usual["kind"]);
            no_text(&place, usual, odd, &mut found);
        }
        assert!(usual.len() > 5 && usual.len() == odd.len());
        found
    });
    assert_eq!(found.concat(), Vec::<String>::new());
}

/// The release that docs/kubernetes.md has installed while the files are there, and what it sets for that.
fn told() -> (String, String) {
    let page = std::fs::read_to_string(root().join("docs/kubernetes.md")).expect("the page");
    let (before, rest) = page
        .split_once(" charts/smtp-server -n mail --set nameOverride=")
        .expect("the command");
    let release = before.rsplit(' ').next().expect("a name");
    let set = rest.split('`').next().expect("its end");
    (release.to_owned(), format!("nameOverride={set}"))
}

/// From files to the chart: nothing of either finds the other's pods, and both get to the database.
#[test]
fn a_release_stands_beside_the_files() {
    let (release, set) = told();
    for mode in ["embedded", "postgresql"] {
        let mut files = objects(&customized(Release::Helm4, mode, &["monitoring"]));
        files.extend(file("k8s/monitoring/servicemonitor.yaml"));
        let values = root().join(CHART).join(format!("ci/{mode}-values.yaml"));
        let meet = |chart: &[Value]| {
            // No object of the chart's has anything like the second.
            [reaches(&files, chart, &release), reaches(chart, &files, "k8s/")].concat()
        };
        let closed = ["--set", "networkPolicy.denyNamespace=false", "--set", &set];
        let chart = rendered(&release, "mail", &values, &closed);
        assert_eq!(meet(&chart), Vec::<String>::new(), "{mode}");
        // It does look: without it the files' objects take the chart's pods for their own.
        let found = meet(&rendered(&release, "mail", &values, &[]));
        for expected in [
            "PodDisruptionBudget/smtp-server-pdb/spec/selector",
            "Service/smtp-server/spec/selector",
            "Service/smtp-server-lb/spec/selector",
            "PodMonitor/smtp-server/spec/selector",
            "ServiceMonitor/smtp-server/spec/selector",
            "NetworkPolicy/allow-smtp-egress/spec/podSelector",
            match mode {
                "embedded" => "StatefulSet/smtp-server/spec/selector",
                // The HPA counts the pods of this one.
                _ => "Deployment/smtp-server/spec/selector",
            },
        ] {
            let expected = format!("{expected} selects the other's");
            assert!(found.contains(&expected), "{expected}: {found:#?}");
        }
        if mode == "postgresql" {
            both_get_to_the_database(&[files, chart].concat());
        }
    }
}

/// In this namespace, where everything is denied that is not allowed.
fn both_get_to_the_database(all: &[Value]) {
    let policies = Policies::of(all);
    let pod = json!({"kind": "Pod", "metadata": {"name": "db", "namespace": "mail", "labels": {"app": "postgresql"}}});
    let servers = Set::new(all, &[]).workloads();
    assert_eq!(servers.len(), 2);
    for server in servers {
        let from = End::Pod("mail".into(), server.labels());
        let to = End::pod("mail", &[("app", "postgresql")]);
        let database = Workload { object: &pod };
        let gets_there = policies.let_through(server, Way::Out, &to, Protocol::Tcp, 5432)
            && policies.let_through(database, Way::In, &from, Protocol::Tcp, 5432);
        assert!(gets_there, "{}", server.name());
    }
}
