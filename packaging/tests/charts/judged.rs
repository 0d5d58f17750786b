//! What others say of what the chart makes.

use crate::charts::rendering::{CHART, ci, each, folder, name, said, template, template_of, write};
use blackbox::tools::run;
use packaging::render::{KUBERNETES, file};
use packaging::semantic::findings_but;
use packaging::tools::{Release, node, python, root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Both lint it, and make the same of it for every version of Kubernetes.
#[test]
fn both_helms_make_the_same_for_every_kubernetes() {
    let chart = root().join(CHART);
    let files = ci();
    let all: Vec<_> = files
        .iter()
        .flat_map(|file| Release::ALL.map(|release| (release, file)))
        .flat_map(|(release, file)| KUBERNETES.map(|version| (release, file, version)))
        .collect();
    each(&all, |(release, file, version)| {
        let mut helm = release.helm();
        helm.args(["lint", "--strict", "--kube-version", version]);
        run(helm.arg(&chart).arg("--values").arg(file));
    });
    let rendered = each(&all, |(release, file, version)| {
        template_of(*release, &chart, file, &["--kube-version", version])
    });
    for ((release, file, version), objects) in all.iter().zip(&rendered) {
        let first = all
            .iter()
            .position(|(_, other, _)| other == file)
            .expect("the first of them");
        assert!(
            *objects == rendered[first],
            "{}: {release:?} makes something else for {version} than {:?} for {}",
            name(file),
            all[first].0,
            all[first].2
        );
    }
}

/// An older Kubernetes than `preStop: sleep` needs.
#[test]
fn older_kubernetes_is_refused() {
    for release in Release::ALL {
        let values = &ci()[0];
        let output = crate::charts::rendering::try_template(
            release,
            &root().join(CHART),
            values,
            &["--kube-version", "1.29.9"],
        );
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(">=1.30.0-0"), "{text}");
    }
}

/// The schemas of every version, of all that is Kubernetes' own.
#[test]
fn every_kubernetes_takes_it() {
    let folder = folder();
    let files = ci();
    let written: Vec<PathBuf> = each(&files, |values| {
        let path = folder.path().join(format!("{}.yaml", name(values)));
        let objects: Vec<Value> = template(values)
            .into_iter()
            .filter(|object| !packaging::judges::is_custom(object))
            .collect();
        write(&path, &objects);
        path
    });
    each(&KUBERNETES, |version| {
        let mut judge = python("kubernetes-validate", "kubernetes_validate");
        let output = run(judge.args(["--strict", "-k", version]).args(&written));
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let passed = text
            .lines()
            .filter(|line| line.contains(" passed for resource "))
            .count();
        // HPA is not always there, but these are, for each file.
        assert!(passed >= files.len() * 8, "{passed} objects looked at: {text}");
        for line in text.lines() {
            assert!(line.contains(" passed for resource "), "{version}: {line}");
        }
    });
}

/// The schemas of the controllers' own kinds.
#[test]
fn controllers_take_it() {
    let objects: Vec<Value> = ci()
        .iter()
        .flat_map(|values| template(values))
        .filter(packaging::judges::is_custom)
        .collect();
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(packaging::judges::CUSTOM_KINDS));
    // TCPRoute is v1 from Gateway API 1.6 on, with the fields of v1alpha2, which are the ones there is a schema for.
    let objects: Vec<Value> = objects
        .into_iter()
        .map(|mut object| {
            if object["kind"] == "TCPRoute" {
                object["apiVersion"] = "gateway.networking.k8s.io/v1alpha2".into();
            }
            object
        })
        .collect();
    let found = packaging::judges::custom(&objects);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What is wrong between objects; a values file says in its first lines what is meant to be found: `# finding: …`.
#[test]
fn objects_fit_each_other() {
    let outside = file("packaging/tests/charts/outside.yaml");
    let outside: Vec<(&str, &str)> = outside
        .iter()
        .filter_map(|object| Some((object["kind"].as_str()?, object["metadata"]["name"].as_str()?)))
        .collect();
    let mut wrong = Vec::new();
    for values in ci() {
        let found: BTreeSet<String> = findings_but(&template(&values), &outside).into_iter().collect();
        let meant: BTreeSet<String> = said(&values, "finding").into_iter().collect();
        let name = name(&values);
        wrong.extend(found.difference(&meant).map(|text| format!("{name}: {text}")));
        wrong.extend(
            meant
                .difference(&found)
                .map(|text| format!("{name}: not found any more: {text}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pod Security, and references that lead nowhere.
#[test]
fn pods_are_restricted_and_references_lead_somewhere() {
    let folder = folder();
    let outside = file("packaging/tests/charts/outside.yaml");
    let written = each(&ci(), |values| {
        let path = folder.path().join(format!("{}.yaml", name(values)));
        let mut objects = template(values);
        let id = |object: &Value| format!("{}/{}", object["kind"], object["metadata"]["name"]);
        let made: BTreeSet<String> = objects.iter().map(id).collect();
        objects.extend(
            outside
                .iter()
                .filter(|object| !made.contains(&id(object)))
                .cloned(),
        );
        write(&path, &objects);
        path
    });
    let output = run(node()
        .arg(root().join("packaging/judges/monokle.mjs"))
        .args(&written));
    let mut found: BTreeSet<String> = BTreeSet::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let one: Value = serde_json::from_str(line).expect("JSON");
        let file = PathBuf::from(one["file"].as_str().expect("a file"));
        let (rule, resource) = (
            one["rule"].as_str().expect("a rule"),
            one["resource"].as_str().expect("a resource"),
        );
        // Peers of policies are pods that others run: DNS, Prometheus, databases.
        if rule == "LNK001" && resource.ends_with(".networkpolicy") {
            continue;
        }
        found.insert(format!("{}: {rule} {resource}", name(&file)));
    }
    // The two ways to use a node's ports; both say that the namespace has to be privileged.
    let meant = [
        "edge: PSS102 smtp-server.mail.statefulset",
        "edge: PSS106 smtp-server.mail.statefulset",
        "host-ports: PSS106 smtp-server.mail.statefulset",
    ];
    assert_eq!(found, meant.map(str::to_owned).into());
}
