//! Each value does something: changed, it changes what is rendered.

use crate::charts::rendering::{CHART, each, folder, try_template};
use packaging::tools::{Release, root};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// What values need beside them to matter: everything that is off by default, on.
fn everything(mode: &str) -> Value {
    let postgresql = mode == "postgresql";
    json!({
        "mode": mode,
        "config": {"server": {"hostname": "mail.example.com"}, "domains": [{"name": "example.com", "deliver": "capture"}]},
        "externalSecrets": {"enabled": true, "dataFrom": [{"extract": {"key": "smtp-server"}}]},
        "tls": {"certManager": {"enabled": true}},
        "database": {"existingSecret": "db", "caSecret": "db-ca"},
        "autoscaling": {"enabled": postgresql},
        "gateway": {"enabled": true},
        "limitRange": {"enabled": true},
        "resourceQuota": {"enabled": true, "hard": {"requests.cpu": "100", "requests.memory": "100Gi", "limits.memory": "100Gi", "pods": "100"}},
        "podMonitor": {"enabled": true},
        "scaleAware": {"enabled": !postgresql, "apiServer": {"cidrs": ["192.0.2.6/32"]}},
        "prometheusRule": {"enabled": true},
        "dashboards": {"enabled": true},
        "networkPolicy": {"denyNamespace": true},
    })
}

/// Values that matter with others only: what else to set, for both renderings.
fn beside(path: &str) -> Value {
    match path {
        "secrets.existingSecret" => json!({"externalSecrets": {"enabled": false}}),
        path if path.starts_with("secrets.values") || path == "secrets.create" => json!({
            "externalSecrets": {"enabled": false},
            "secrets": {"create": path != "secrets.create", "values": {"adminPassword": "correct horse battery"}},
        }),
        "tls.existingSecret" => json!({"tls": {"certManager": {"enabled": false}}}),
        "serviceAccount.name" | "serviceAccount.create" => json!({"serviceAccount": {"name": "somebody"}}),
        path if path.starts_with("keda.") => {
            json!({"autoscaling": {"enabled": false}, "keda": {"enabled": path != "keda.enabled"}})
        }
        path if path.starts_with("serviceMonitor.") => {
            json!({"podMonitor": {"enabled": false}, "serviceMonitor": {"enabled": path != "serviceMonitor.enabled"}})
        }
        "autoscaling.backlogLabels" => json!({"autoscaling": {"targetBacklog": 2000}}),
        "hostNetwork" => json!({"podMonitor": {"enabled": false}}),
        "replicaCount" | "mode" => json!({"autoscaling": {"enabled": false}}),
        "persistence.type" => json!({"replicaCount": 1, "profile": "testing"}),
        "mx.nodePort" => json!({"mx": {"type": "NodePort"}}),
        "submission.smtpsNodePort" | "submission.submissionNodePort" => {
            json!({"submission": {"type": "NodePort"}})
        }
        // A network is trusted, so that it matters where nodes may be.
        "clusterCidrs" => {
            json!({"config": {"relay": {"networks": ["198.51.100.0/24"]}}, "mx": {"externalTrafficPolicy": "Cluster"}, "gateway": {"enabled": false}})
        }
        "mx.clientAddressKept" => {
            json!({"config": {"relay": {"networks": ["10.42.0.0/16"]}}, "gateway": {"enabled": false}})
        }
        _ => json!({}),
    }
}

/// Another value than the default, where the schema or the guards do not take any.
fn another(path: &str, default: &Value) -> Value {
    match path {
        "mode" => return json!("embedded"),
        "profile" => return json!("testing"),
        "nameOverride" | "fullnameOverride" => return json!("other"),
        "commonLabels" | "podLabels" | "commonAnnotations" | "podAnnotations" | "nodeSelector" => {
            return json!({"a.example.com/b": "c"});
        }
        "image.digest" => return json!(format!("sha256:{}", "0".repeat(64))),
        "image.pullPolicy" => return json!("Always"),
        "image.pullSecrets" => return json!([{"name": "registry"}]),
        "image.repository" => return json!("registry.example.com/smtp-server"),
        "secrets.values.adminPassword" => return json!("another long password"),
        "secrets.values.databaseUrl" => return json!("postgresql://db/smtp"),
        "tls.certManager.issuerRef" => return json!({"name": "other", "kind": "Issuer"}),
        "tls.certManager.privateKey" => return json!({"algorithm": "RSA", "size": 4096}),
        "tls.certManager.duration" | "tls.certManager.renewBefore" => return json!("48h"),
        "externalSecrets.secretStoreRef" => return json!({"name": "other"}),
        "externalSecrets.data" => return json!({"KEY": {"key": "a"}}),
        "externalSecrets.dataFrom" => return json!([{"extract": {"key": "other"}}]),
        "persistence.type" => return json!("emptyDir"),
        "persistence.accessModes" => return json!(["ReadWriteOnce"]),
        "persistence.retention" => return json!({"whenScaled": "Delete"}),
        "terminationGracePeriodSeconds" => return json!(450),
        "deploymentStrategy" => return json!({"rollingUpdate": {"maxSurge": 2}}),
        "tolerations" => return json!([{"operator": "Exists"}]),
        "affinity" => return json!({"nodeAffinity": {}}),
        "topologySpread" => return json!([]),
        "hostPorts" => return json!({"smtp": 25}),
        "hostUsers" => return json!(false),
        "dnsPolicy" => return json!("Default"),
        "dnsConfig" => return json!({"options": [{"name": "ndots", "value": "1"}]}),
        "podSecurityContext" => return json!({"runAsUser": 1001}),
        "securityContext" => return json!({"privileged": false}),
        "resources" => return json!({"requests": {"cpu": "1m"}}),
        "extraEnv" => return json!([{"name": "A", "value": "b"}]),
        "extraVolumes" => return json!([{"name": "a", "emptyDir": {}}]),
        "extraVolumeMounts" => return json!([{"name": "tmp", "mountPath": "/a"}]),
        "extraInitContainers" | "extraContainers" => return json!([{"name": "a", "image": "b:1"}]),
        "gateway.apiVersion" => return json!("gateway.networking.k8s.io/v1"),
        "gateway.parentRef" => return json!({"name": "other"}),
        "gateway.listeners" => return json!({"smtp": ""}),
        "scaleAware.apiServer.cidrs" => return json!(["192.0.2.7/32"]),
        "scaleAware.apiServer.ports" => return json!([6443]),
        "service.trafficDistribution" => return json!("PreferClose"),
        "clusterCidrs" => return json!(["198.51.100.0/25"]),
        "networkPolicy.nextHops" => {
            return json!([{"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [24]}]);
        }
        "networkPolicy.extraIngress" | "networkPolicy.extraEgress" => {
            return json!([{"ports": [{"port": 4318}]}]);
        }
        "autoscaling.maxReplicas" | "keda.maxReplicas" => return json!(19),
        "autoscaling.backlogLabels" => return json!({"job": "mx-smtp-server"}),
        "autoscaling.extraMetrics" => return json!([{"type": "Resource"}]),
        "autoscaling.behavior" | "keda.behavior" => {
            return json!({"scaleUp": {"stabilizationWindowSeconds": 7}});
        }
        "keda.prometheus" => return json!("http://other:9090"),
        "keda.extraTriggers" => return json!([{"type": "cron", "metadata": {}}]),
        "limitRange.limits" => return json!([{"type": "Pod", "max": {"memory": "1Gi"}}]),
        "resourceQuota.hard" => return json!({"pods": "150"}),
        "tests.recipient" => return json!("ann@example.com"),
        "prometheusRule.excludeRules" => return json!(["SMTPConfigRefused"]),
        "extraObjects" => {
            return json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}]);
        }
        _ => {}
    }
    let key = path.rsplit('.').next().unwrap_or_default();
    match (key, default) {
        ("type", _) => json!("NodePort"),
        ("externalTrafficPolicy", _) => json!("Cluster"),
        ("ipFamilyPolicy", _) => json!("RequireDualStack"),
        ("ipFamilies", _) => json!(["IPv6", "IPv4"]),
        ("runbookBaseUrl", _) => json!("https://runbooks.example.com"),
        ("medium", _) => json!("Memory"),
        ("nodePort" | "healthCheckNodePort" | "smtpsNodePort" | "submissionNodePort", _) => json!(30123),
        ("loadBalancerSourceRanges" | "mailFrom", _) => json!(["203.0.113.0/24"]),
        ("externalIPs", _) => json!(["203.0.113.7"]),
        ("metricsFrom" | "adminFrom" | "dns" | "database", _) => {
            json!([{"podSelector": {"matchLabels": {"a": "b"}}}])
        }
        ("relabelings" | "metricRelabelings", _) => json!([{"action": "labeldrop", "regex": "a"}]),
        ("startup" | "liveness" | "readiness", _) => json!({"periodSeconds": 4}),
        ("interval" | "scrapeTimeout" | "refreshInterval", _) => json!("7s"),
        ("dnsNames", _) => json!(["a.example.com"]),
        (_, Value::Bool(on)) => json!(!on),
        (_, Value::Number(number)) => json!(number.as_u64().expect("a whole number") + 1),
        (_, Value::String(text)) if text.ends_with("Gi") || text.ends_with("Mi") => json!("123Mi"),
        (_, Value::String(_)) => json!("other"),
        (_, Value::Object(_)) => json!({"a": "b"}),
        _ => panic!("no other value is known for {path}"),
    }
}

/// Values, one by one: maps that have no documentation within count as one.
fn leaves(path: &str, value: &Value, documented: &[String], found: &mut Vec<(String, Value)>) {
    let within = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value.as_object() {
        Some(map) if map.keys().any(|key| documented.contains(&within(key))) => {
            for (key, value) in map {
                leaves(&within(key), value, documented, found);
            }
        }
        _ => found.push((path.to_owned(), value.clone())),
    }
}

fn set(values: &mut Value, path: &str, value: Value) {
    let mut at = values;
    for key in path.split('.') {
        at = at
            .as_object_mut()
            .expect("an object")
            .entry(key)
            .or_insert_with(|| Map::new().into());
    }
    *at = value;
}

fn merge(into: &mut Value, other: Value) {
    match (into, other) {
        (Value::Object(into), Value::Object(other)) => {
            for (key, value) in other {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, other) => *into = other,
    }
}

/// Whether a value can matter in a mode.
fn matters(path: &str, mode: &str) -> bool {
    let of_postgresql = ["keda.", "autoscaling.", "secrets.values.databaseUrl"];
    if path.starts_with("scaleAware.") {
        return mode == "embedded";
    }
    mode == "postgresql" || (path != "mode" && !of_postgresql.iter().any(|start| path.starts_with(start)))
}

/// What was rendered; most values are looked at beside the same others.
struct Renders {
    folder: tempfile::TempDir,
    done: Mutex<HashMap<String, Arc<OnceLock<String>>>>,
}

impl Renders {
    fn new() -> Self {
        Renders {
            folder: folder(),
            done: Mutex::default(),
        }
    }

    fn of(&self, path: &str, values: &Value) -> String {
        let key = values.to_string();
        let (text, count) = {
            let mut done = self.done.lock().expect("the list");
            let count = done.len();
            (done.entry(key.clone()).or_default().clone(), count)
        };
        text.get_or_init(|| {
            let file = self.folder.path().join(format!("{count}-{path}.yaml"));
            std::fs::write(&file, key).expect("written");
            let output = try_template(Release::Helm4, &root().join(CHART), &file, &[]);
            // These decide about what is refused, and nothing else.
            assert!(
                output.status.success() || ["clusterCidrs", "mx.clientAddressKept"].contains(&path),
                "{path}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).expect("UTF-8")
        })
        .clone()
    }
}

#[test]
fn every_value_does_something() {
    let chart = root().join(CHART);
    let values = std::fs::read_to_string(chart.join("values.yaml")).expect("values");
    let defaults = packaging::render::objects(&values).remove(0);
    // The README has a row for each documented value.
    let readme = std::fs::read_to_string(chart.join("README.md")).expect("the README");
    let documented: Vec<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(path, _)| path.to_owned())
        .collect();
    let mut all = Vec::new();
    leaves("", &defaults, &documented, &mut all);
    // All of `config` goes into config.toml; tests/charts/configuration.rs is about it.
    all.retain(|(path, _)| !path.starts_with("config."));
    assert!(all.len() > 150, "{} values", all.len());
    let renders = Renders::new();
    let outcomes = each(&all, |(path, default)| {
        let modes = ["postgresql", "embedded"];
        let mut modes = modes.iter().filter(|mode| matters(path, mode));
        let does = modes.any(|mode| {
            let mut base = everything(mode);
            merge(&mut base, beside(path));
            let mut changed = base.clone();
            let current = base.pointer(&format!("/{}", path.replace('.', "/")));
            set(&mut changed, path, another(path, current.unwrap_or(default)));
            renders.of(path, &base) != renders.of(path, &changed)
        });
        (!does).then(|| path.clone())
    });
    let without: Vec<String> = outcomes.into_iter().flatten().collect();
    assert!(without.is_empty(), "nothing changes with these: {without:?}");
}
