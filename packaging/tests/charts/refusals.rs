//! Values that cannot work are refused, and told why.

use crate::charts::rendering::{CHART, ci, each, folder, name, refused, try_template};
use packaging::tools::{Release, root};
use serde_json::{Value, json};

/// The text that a file of `refused/` expects: its first line.
fn expected(file: &std::path::Path) -> String {
    let text = std::fs::read_to_string(file).expect("a file");
    let first = text.lines().next().expect("a line");
    first
        .strip_prefix("# ")
        .unwrap_or_else(|| panic!("{}: no text", file.display()))
        .to_owned()
}

#[test]
fn what_cannot_work_is_refused() {
    let chart = root().join(CHART);
    let files = refused();
    let calls: Vec<_> = files
        .iter()
        .flat_map(|file| Release::ALL.map(|release| (release, file)))
        .collect();
    each(&calls, |(release, file)| {
        let output = try_template(*release, &chart, file, &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{release:?} renders {}", name(file));
        let expected = expected(file);
        assert!(
            text.contains(&expected),
            "{release:?} {}: {expected:?} is not in\n{text}",
            name(file)
        );
        // One thing is wrong with it, and nothing else is said.
        assert_eq!(
            text.matches("\n* ").count(),
            1,
            "{release:?} {}: {text}",
            name(file)
        );
    });
}

/// Each refusal of the chart has a file that meets with it.
#[test]
fn every_refusal_is_tried() {
    let guards =
        std::fs::read_to_string(root().join(CHART).join("templates/guards.yaml")).expect("the guards");
    let expected: Vec<String> = refused().iter().map(|file| expected(file)).collect();
    let mut count = 0;
    for line in guards
        .lines()
        .filter(|line| line.contains("append $problems") || line.contains("$say = printf"))
    {
        let Some(text) = line.split('"').nth(1) else {
            continue;
        };
        // Between the words that are filled in.
        let parts = text.split("%s").flat_map(|part| part.split("%d"));
        let mut parts = parts.map(str::trim).filter(|part| part.len() > 12);
        let tried = parts.any(|part| {
            let start: String = part.chars().take(30).collect();
            expected.iter().any(|text| text.contains(start.trim()))
        });
        count += 1;
        assert!(tried, "no file in refused/ for {text:?}");
    }
    assert!(count >= 30, "{count} refusals found");
}

/// All of it at once, not one after the other.
#[test]
fn all_that_is_wrong_is_said() {
    let folder = folder();
    let values = folder.path().join("values.yaml");
    let wrong = json!({"autoscaling": {"enabled": true}, "terminationGracePeriodSeconds": 30, "tls": {"existingSecret": ""}});
    std::fs::write(&values, wrong.to_string()).expect("written");
    for release in Release::ALL {
        let output = try_template(release, &root().join(CHART), &values, &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in [
            "hostname has to be set",
            "no source of a certificate",
            "autoscaling needs",
            "is too short",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

/// A quota of what no container of ours asks for keeps nobody out; claims are counted where there are some.
#[test]
fn quotas_of_other_things_are_taken() {
    let folder = folder();
    let file = folder.path().join("values.yaml");
    for (mode, hard) in [
        (
            "embedded",
            json!({"requests.nvidia.com/gpu": "4", "limits.ephemeral-storage": "10Gi"}),
        ),
        ("embedded", json!({"requests.storage": "20Gi"})),
        ("postgresql", json!({"requests.storage": "1Gi"})),
    ] {
        let values = json!({
            "mode": mode,
            "config": {"server": {"hostname": "mail.example.com"}},
            "replicaCount": 2,
            "persistence": {"size": "10Gi"},
            "resourceQuota": {"enabled": true, "hard": hard},
        });
        std::fs::write(&file, values.to_string()).expect("written");
        for release in Release::ALL {
            let output = try_template(release, &root().join(CHART), &file, &[]);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{release:?} {mode} {hard}: {text}");
        }
    }
}

/// Only the smtp listener relays for trusted networks; what the others do with a client of these is a test of reception's
/// (`submission_needs_authentication_first`). So nobody is asked whose addresses arrive there.
#[test]
fn submission_is_not_asked_about_trusted_networks() {
    let folder = folder();
    let file = folder.path().join("values.yaml");
    let trusting = |mx: Value| {
        json!({
            "config": {"server": {"hostname": "mail.example.com"}, "relay": {"networks": ["10.42.0.0/16"]}},
            "mx": mx,
            "submission": {"externalTrafficPolicy": "Cluster"},
        })
    };
    for (mx, taken) in [
        (json!({"clientAddressKept": true}), true),
        (json!({"enabled": false}), true),
        (json!({}), false),
    ] {
        std::fs::write(&file, trusting(mx.clone()).to_string()).expect("written");
        for release in Release::ALL {
            let output = try_template(release, &root().join(CHART), &file, &[]);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), taken, "{release:?} {mx}: {text}");
        }
    }
}

/// Whether two networks overlap, which Helm's functions cannot say.
#[test]
fn networks_are_compared_by_their_bits() {
    let chart = root().join(CHART);
    let cases = [
        ("10.0.0.0/8", "10.1.2.0/24", true),
        ("10.1.2.0/24", "10.0.0.0/8", true),
        ("10.1.2.0/24", "10.1.3.0/24", false),
        ("10.1.2.0/23", "10.1.3.0/24", true),
        ("172.16.0.0/12", "172.31.255.0/24", true),
        ("172.16.0.0/12", "172.32.0.0/16", false),
        ("100.64.0.0/10", "100.127.255.255/32", true),
        ("100.64.0.0/10", "100.128.0.0/16", false),
        ("192.0.2.128/25", "192.0.2.127/32", false),
        ("192.0.2.128/25", "192.0.2.129/32", true),
        ("0.0.0.0/0", "203.0.113.0/24", true),
        ("10.0.0.0/8", "::/0", false),
        ("fd00::/8", "fc00::/7", true),
        ("2001:db8::/32", "2001:db8:ffff::/48", true),
        ("2001:db8::/32", "2001:db9::/32", false),
        ("2001:db8:1:2::/63", "2001:db8:1:3::/64", true),
        ("2001:db8:1:2::/64", "2001:db8:1:3::/64", false),
        ("2001:db8::1/128", "2001:db8:0:0:0:0:0:1/128", true),
        ("2001:db8::1/128", "2001:db8::2/128", false),
        ("fe80::a:b:c:d/128", "fe80::/10", true),
    ];
    let folder = folder();
    let calls: Vec<_> = cases
        .iter()
        .flat_map(|case| Release::ALL.map(|release| (release, case)))
        .collect();
    each(&calls, |(release, (trusted, cluster, overlap))| {
        let values = json!({
            "config": {"server": {"hostname": "mail.example.com"}, "relay": {"networks": [trusted]}},
            "clusterCidrs": [cluster],
            "mx": {"externalTrafficPolicy": "Cluster"},
        });
        let file = folder
            .path()
            .join(format!("{release:?}-{trusted}-{cluster}").replace(['/', ':'], "_"));
        std::fs::write(&file, values.to_string()).expect("written");
        let output = try_template(*release, &chart, &file, &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            !output.status.success(),
            *overlap,
            "{release:?} {trusted} {cluster}: {text}"
        );
        assert_eq!(text.contains("hides clients"), *overlap, "{text}");
    });
}

/// No value is ignored: the schema knows all, and takes no others.
#[test]
fn unknown_values_are_refused() {
    let schema = std::fs::read_to_string(root().join(CHART).join("values.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let mut open = Vec::new();
    look("", &schema, &mut open);
    // Kubernetes' own objects, which the API server looks at; and what a parent chart passes to all.
    assert_eq!(
        open,
        [
            "/definitions/kubernetes",
            "/properties/extraObjects/items",
            "/properties/global"
        ]
    );
    let chart = root().join(CHART);
    let wrong = [
        "replicas=3",
        "mx.prot=25",
        "config.limits.max_recipient=50",
        "config.nonsense.key=1",
        "config.profile=testing",
        "config.storage.path=/tmp/x.db",
        "persistence.accessModes={ReadWriteMany}",
        "mode=cluster",
        "probes.liveness.initialDelaySeconds=10",
        "image.pullPolicy=Sometimes",
        "replicaCount=0",
        // Not what a Service may be called.
        "fullnameOverride=mail.relay",
        "fullnameOverride=2nd-relay",
        "nameOverride=mail.relay",
    ];
    let calls: Vec<_> = wrong
        .iter()
        .flat_map(|set| Release::ALL.map(|release| (release, *set)))
        .collect();
    each(&calls, |(release, set)| {
        let output = try_template(*release, &chart, &ci()[0], &["--set", set]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{release:?} takes {set}");
        assert!(
            text.contains("values don't meet the specifications of the schema"),
            "{set}: {text}"
        );
    });
}

fn look(pointer: &str, schema: &Value, open: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            let is_object = match &schema["type"] {
                Value::String(kind) => kind == "object",
                Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
                _ => false,
            };
            let closed =
                schema["additionalProperties"] == false || schema["additionalProperties"].is_object();
            if is_object && !closed {
                open.push(pointer.to_owned());
            }
            for (key, value) in map {
                look(&format!("{pointer}/{key}"), value, open);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                look(&format!("{pointer}/{at}"), value, open);
            }
        }
        _ => {}
    }
}
