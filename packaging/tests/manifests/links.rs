//! The guide's files are the ones that everything else is made of.

use crate::manifests::rendered::{EMBEDDED, files, overlay};
use packaging::render::quick_start;
use packaging::tools::root;
use serde_json::Value;
use std::collections::BTreeMap;

/// Each file by the guide's name is a link, so that what somebody changes there is changed for the overlays too.
#[test]
fn the_guides_files_are_links_to_what_overlays_are_made_of() {
    let k8s = root().join("k8s").canonicalize().expect("k8s");
    for name in quick_start().iter().chain(&EMBEDDED).chain(&["limits", "rbac"]) {
        let path = k8s.join(format!("{name}.yaml"));
        let link = std::fs::read_link(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(link.is_relative(), "{name}");
        let real = path.canonicalize().expect("the file it leads to");
        assert!(
            real.starts_with(k8s.join("base")) || real.starts_with(k8s.join("components")),
            "{name}"
        );
    }
}

/// By file or by overlay, the same objects.
#[test]
fn the_quick_start_and_the_overlays_bring_the_same() {
    for (names, of) in [(&quick_start()[..], "postgresql"), (&EMBEDDED, "embedded")] {
        let by_file = by_name(files(names));
        let mut by_overlay = by_name(overlay(of).objects);
        // Single files have no patches: the embedded mode's have a rule and a key for a database that is not there.
        if of == "embedded" {
            let without = |objects: &BTreeMap<String, Value>, name: &str| objects[name].clone();
            for name in [
                "NetworkPolicy/allow-database",
                "NetworkPolicy/allow-database-ingress",
            ] {
                assert!(by_overlay.insert(name.into(), without(&by_file, name)).is_none());
            }
            let secret = by_overlay.get_mut("Secret/smtp-secrets").expect("the Secret");
            assert!(secret["stringData"]["SMTP_DATABASE_URL"].is_null());
            secret["stringData"]["SMTP_DATABASE_URL"] =
                by_file["Secret/smtp-secrets"]["stringData"]["SMTP_DATABASE_URL"].clone();
        }
        assert_eq!(
            by_file.keys().collect::<Vec<_>>(),
            by_overlay.keys().collect::<Vec<_>>(),
            "{of}"
        );
        for (name, object) in &by_file {
            assert_eq!(object, &by_overlay[name], "{of}: {name}");
        }
    }
}

/// Both workloads have one pod template, but for what their modes ask.
#[test]
fn both_workloads_have_the_same_pods() {
    let mut pods = ["deployment", "statefulset"].map(|name| {
        let objects = files(&[name]);
        let workload = objects.iter().find(|object| object["kind"] != "ServiceAccount");
        workload.expect("a workload")["spec"]["template"].clone()
    });
    for (place, pod) in pods.iter_mut().enumerate() {
        let spec = &mut pod["spec"];
        let grace = spec["terminationGracePeriodSeconds"].take();
        assert_eq!(grace, [120, 300][place]);
        for constraint in spec["topologySpreadConstraints"]
            .as_array_mut()
            .expect("constraints")
        {
            let label = constraint["matchLabelKeys"].take();
            assert_eq!(label[0], ["pod-template-hash", "controller-revision-hash"][place]);
        }
        let server = &mut spec["containers"][0];
        for kind in ["requests", "limits"] {
            server["resources"][kind]["ephemeral-storage"].take();
        }
        let env = server["env"].as_array_mut().expect("variables");
        let of_postgresql = ["SMTP_DATABASE_URL_FILE", "SMTP_STORAGE__SCRATCH_SIZE"];
        env.retain(|one| !of_postgresql.iter().any(|name| one["name"] == *name));
        spec["volumes"]
            .as_array_mut()
            .expect("volumes")
            .retain(|volume| volume["name"] != "data");
    }
    assert_eq!(pods[0], pods[1]);
}

/// The account comes by two files, since the quick start has one of them only.
#[test]
fn the_service_account_is_the_same_in_both_files() {
    let account = |name: &str| {
        let objects = files(&[name]);
        objects
            .into_iter()
            .find(|object| object["kind"] == "ServiceAccount")
            .expect("an account")
    };
    assert_eq!(account("deployment"), account("serviceaccount"));
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    objects
        .into_iter()
        .map(|object| {
            let word = |value: &Value| value.as_str().expect("a word").to_owned();
            (
                format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"])),
                object,
            )
        })
        .collect()
}
