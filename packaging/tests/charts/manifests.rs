//! The chart makes what k8s/ has: its `embedded` and `postgresql` values files against the overlays of those names.

use crate::charts::rendering::{CHART, template};
use blackbox::server::binary;
use blackbox::tools::run;
use packaging::render::{kustomize, objects};
use packaging::tools::{Release, root};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// The chart's names that are others in k8s/: its own are made of the release's, so that there can be several in a
/// namespace.
const NAMES: [(&str, &str); 11] = [
    ("smtp-server-config", "smtp-config"),
    ("smtp-server-default-deny-all", "default-deny-all"),
    ("smtp-server-allow-smtp-ingress", "allow-smtp-ingress"),
    ("smtp-server-allow-smtp-egress", "allow-smtp-egress"),
    ("smtp-server-allow-api-server", "allow-api-server"),
    ("smtp-server-allow-database", "allow-database"),
    ("smtp-server-allow-database-ingress", "allow-database-ingress"),
    ("smtp-server-limits", "smtp-limits"),
    ("smtp-server-quota", "smtp-quota"),
    ("smtp-server-tls", "smtp-tls"),
    ("smtp-server-secrets", "smtp-secrets"),
];

/// Labels of Helm's, and the one that tells releases apart.
const LABELS: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

#[test]
fn embedded_is_the_overlay() {
    compare("embedded", &kustomize(Release::Helm4, "k8s/overlays/embedded"));
}

#[test]
fn scale_aware_is_the_component() {
    let place = root().join("target/kustomize");
    std::fs::create_dir_all(&place).expect("a folder");
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let k8s = "../../../k8s";
    let text = format!("resources: [{k8s}/overlays/embedded]\ncomponents: [{k8s}/components/scale-aware]\n");
    std::fs::write(folder.path().join("kustomization.yaml"), text).expect("kustomization.yaml");
    let path = folder.path().strip_prefix(root()).expect("within the workspace");
    compare(
        "scale-aware",
        &kustomize(Release::Helm4, path.to_str().expect("UTF-8")),
    );
}

#[test]
fn postgresql_is_the_overlay() {
    compare(
        "postgresql",
        &kustomize(Release::Helm4, "k8s/overlays/postgresql"),
    );
}

fn compare(values: &str, overlay: &str) {
    let chart = template(&root().join(CHART).join(format!("ci/{values}-values.yaml")));
    let overlay = objects(overlay);
    // The chart's test, which runs when it is asked for; and what the chart takes as made: the namespace, and the Secrets, of
    // which the overlay has placeholders.
    let chart = chart
        .into_iter()
        .filter(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_null());
    let overlay = overlay
        .into_iter()
        .filter(|object| object["kind"] != "Namespace" && object["kind"] != "Secret");
    let (chart, overlay) = (by_name(chart), by_name(overlay));
    let (ours, theirs): (Vec<_>, Vec<_>) = (chart.keys().collect(), overlay.keys().collect());
    assert_eq!(ours, theirs, "the chart's objects, and the overlay's");
    for (name, object) in &chart {
        assert!(
            *object == overlay[name],
            "{name} of the chart:\n{object:#}\nof the overlay:\n{:#}",
            overlay[name]
        );
    }
}

/// What components add: their objects are the chart's too.
#[test]
fn components_are_the_charts_too() {
    let folder = crate::charts::rendering::folder();
    let values = folder.path().join("values.yaml");
    let with = |monitor: &str| {
        let values_of = json!({
            "mode": "postgresql",
            "config": {"server": {"hostname": "mail.example.com"}},
            "keda": {"enabled": true},
            "limitRange": {"enabled": true},
            "resourceQuota": {"enabled": true},
            "gateway": {"enabled": true},
            "tls": {"certManager": {"enabled": true}},
            "externalSecrets": {"enabled": true, "dataFrom": [{"extract": {"key": "smtp-server"}}]},
            "prometheusRule": {"enabled": true},
            (monitor): {"enabled": true},
        });
        std::fs::write(&values, values_of.to_string()).expect("written");
        by_name(template(&values).into_iter())
    };
    for (kind, name, file, monitor) in [
        (
            "PodMonitor",
            "smtp-server",
            "monitoring/podmonitor.yaml",
            "podMonitor",
        ),
        (
            "ServiceMonitor",
            "smtp-server",
            "monitoring/servicemonitor.yaml",
            "serviceMonitor",
        ),
        (
            "PrometheusRule",
            "smtp-server-alerts",
            "monitoring/prometheusrule.yaml",
            "podMonitor",
        ),
        (
            "LimitRange",
            "smtp-limits",
            "components/limits/limits.yaml",
            "podMonitor",
        ),
        (
            "ResourceQuota",
            "smtp-quota",
            "components/limits/limits.yaml",
            "podMonitor",
        ),
        (
            "TCPRoute",
            "smtp-server-smtp",
            "components/gateway-api/tcproutes.yaml",
            "podMonitor",
        ),
        (
            "TCPRoute",
            "smtp-server-smtps",
            "components/gateway-api/tcproutes.yaml",
            "podMonitor",
        ),
        (
            "TCPRoute",
            "smtp-server-submission",
            "components/gateway-api/tcproutes.yaml",
            "podMonitor",
        ),
        (
            "Certificate",
            "smtp-tls",
            "components/cert-manager/certificate.yaml",
            "podMonitor",
        ),
        (
            "ExternalSecret",
            "smtp-secrets",
            "components/external-secrets/externalsecret.yaml",
            "podMonitor",
        ),
        (
            "ScaledObject",
            "smtp-server",
            "components/keda/scaledobject.yaml",
            "podMonitor",
        ),
    ] {
        let chart = with(monitor);
        let kustomize = by_name(packaging::render::file(&format!("k8s/{file}")).into_iter());
        let name = format!("{kind}/{name}");
        let (ours, theirs) = (&chart[&name], &kustomize[&name]);
        if kind == "ResourceQuota" {
            // Helm keeps its history in Secrets: room for ten more.
            assert_eq!(
                (
                    &ours["spec"]["hard"]["secrets"],
                    &theirs["spec"]["hard"]["secrets"]
                ),
                (&json!("30"), &json!("20"))
            );
        }
        let (ours, theirs) = (comparable(ours), comparable(theirs));
        assert!(
            ours == theirs,
            "{name} of the chart:\n{ours:#}\nof k8s/:\n{theirs:#}"
        );
    }
}

/// Without what each has for a reason: the chart's defaults of a certificate's life, and its releases told apart.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    let spec = object["spec"].as_object_mut().expect("a spec");
    for key in ["duration", "renewBefore", "usages"] {
        spec.remove(key);
    }
    if let Some(hard) = spec.get_mut("hard").and_then(Value::as_object_mut) {
        hard.remove("secrets");
    }
    let text = object
        .to_string()
        .replace(r#",pod=~\"smtp-server-[a-z0-9]+-[a-z0-9]{5}\""#, "");
    serde_json::from_str(&text).expect("JSON")
}

fn by_name(objects: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    objects
        .map(|mut object| {
            // The overlay's ConfigMap has comments, and keys that are defaults: the server says what is in force.
            if let Some(text) = object["data"]["config.toml"].as_str() {
                object["data"]["config.toml"] = in_force(text);
            }
            let object = alike(object);
            let name = format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "");
            (name, object)
        })
        .collect()
}

/// The settings of a configuration, without where they come from.
fn in_force(config: &str) -> Value {
    let folder = crate::charts::rendering::folder();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, config).expect("written");
    let mut server = Command::new(binary());
    server
        .env_clear()
        .args(["config", "show", "--output", "json", "--config"])
        .arg(file);
    server
        .env("SMTP_PROFILE", "production")
        .env("SMTP_ADMIN_PASSWORD", blackbox::server::PASSWORD);
    let output = run(&mut server);
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let settings = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a setting"));
    settings
        .map(|setting| json!([setting["key"], setting["value"]]))
        .collect()
}

/// Without what is Helm's, with k8s/'s names, and without the order of what has names.
fn alike(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map = map.into_iter().filter(|(key, _)| !LABELS.contains(&key.as_str()));
            Value::Object(map.map(|(key, value)| (key, alike(value))).collect::<Map<_, _>>())
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(alike).collect();
            if list.iter().all(|one| one["name"].is_string()) {
                list.sort_by_key(|one| one["name"].to_string());
            }
            Value::Array(list)
        }
        Value::String(text) => {
            let other = NAMES.iter().find(|(ours, _)| *ours == text);
            Value::String(other.map_or(text, |(_, theirs)| (*theirs).to_owned()))
        }
        other => other,
    }
}
