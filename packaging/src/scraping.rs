//! What the Prometheus Operator makes of a PodMonitor or a ServiceMonitor, and what Prometheus' service discovery finds in a
//! namespace: both as they are rendered. A monitor with the wrong port, path, selector or label reads no pod here either.

use crate::semantic::{Set, Workload, labels, list, name_of, namespace_of, selects};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// A running pod of a workload.
pub struct Running<'a> {
    pub namespace: &'a str,
    /// The name of its Deployment or StatefulSet.
    pub workload: &'a str,
    pub name: &'a str,
    /// Where a container's port is really listened on, by its number; nothing where nobody does.
    pub address: Box<dyn Fn(u16) -> Option<SocketAddr> + 'a>,
}

/// Entries of `scrape_configs` for all monitors among these objects, with the pods that run.
pub fn scrapes(objects: &[Value], pods: &[Running]) -> Vec<Value> {
    let monitors = objects.iter();
    let monitors =
        monitors.filter(|object| object["kind"] == "PodMonitor" || object["kind"] == "ServiceMonitor");
    monitors
        .flat_map(|monitor| {
            let found = targets(monitor, objects, pods);
            configs(monitor).into_iter().map(move |mut config| {
                config["static_configs"] = found.clone().into();
                config
            })
        })
        .collect()
}

/// An entry of `scrape_configs` for each endpoint of a monitor: all of it but where pods are found.
///
/// Panics on fields of a monitor that are not known here, so that none is passed over.
pub fn configs(monitor: &Value) -> Vec<Value> {
    let spec = &monitor["spec"];
    known(
        spec,
        &["jobLabel", "selector", "podMetricsEndpoints", "endpoints"],
    );
    let of = Role::of(monitor);
    let endpoints = list(&spec[of.endpoints]).iter().enumerate();
    endpoints
        .map(|(place, endpoint)| {
            known(
                endpoint,
                &[
                    "port",
                    "path",
                    "interval",
                    "scrapeTimeout",
                    "relabelings",
                    "metricRelabelings",
                ],
            );
            json!({
                "job_name": format!("{}/{}/{}/{place}", of.kind, namespace_of(monitor), name_of(monitor)),
                "scrape_interval": endpoint["interval"],
                "scrape_timeout": endpoint["scrapeTimeout"],
                "metrics_path": endpoint["path"],
                "relabel_configs": relabelings(&of, monitor, endpoint),
                "metric_relabel_configs": rules(&endpoint["metricRelabelings"]),
            })
        })
        .collect()
}

fn known(object: &Value, fields: &[&str]) {
    for field in object.as_object().expect("an object").keys() {
        assert!(fields.contains(&field.as_str()), "a monitor's {field}");
    }
}

/// What differs between the two kinds of monitors.
struct Role {
    kind: &'static str,
    endpoints: &'static str,
    /// What the selector and `jobLabel` are about.
    selected: &'static str,
    port: &'static str,
}

impl Role {
    fn of(monitor: &Value) -> Role {
        match monitor["kind"].as_str() {
            Some("PodMonitor") => Role {
                kind: "podMonitor",
                endpoints: "podMetricsEndpoints",
                selected: "__meta_kubernetes_pod",
                port: "__meta_kubernetes_pod_container_port_name",
            },
            Some("ServiceMonitor") => Role {
                kind: "serviceMonitor",
                endpoints: "endpoints",
                selected: "__meta_kubernetes_service",
                port: "__meta_kubernetes_endpoint_port_name",
            },
            other => panic!("{other:?} is no monitor"),
        }
    }
}

/// The operator's own relabelings, then the monitor's.
fn relabelings(of: &Role, monitor: &Value, endpoint: &Value) -> Vec<Value> {
    let spec = &monitor["spec"];
    let selected = of.selected;
    assert!(spec["selector"]["matchExpressions"].is_null(), "of a selector");
    let mut all = Vec::new();
    for (label, value) in labels(&spec["selector"]["matchLabels"]) {
        let label = sanitized(&label);
        let sources = [
            format!("{selected}_label_{label}"),
            format!("{selected}_labelpresent_{label}"),
        ];
        all.push(json!({"action": "keep", "source_labels": sources, "regex": format!("({value});true")}));
    }
    all.push(json!({"action": "keep", "source_labels": [of.port], "regex": endpoint["port"]}));
    for (from, to) in [
        ("__meta_kubernetes_namespace", "namespace"),
        ("__meta_kubernetes_service_name", "service"),
        ("__meta_kubernetes_pod_name", "pod"),
        ("__meta_kubernetes_pod_container_name", "container"),
    ] {
        all.push(json!({"source_labels": [from], "target_label": to}));
    }
    all.push(json!({"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"}));
    all.push(match of.kind {
        "serviceMonitor" => json!({"source_labels": ["__meta_kubernetes_service_name"], "target_label": "job"}),
        _ => json!({"target_label": "job", "replacement": format!("{}/{}", namespace_of(monitor), name_of(monitor))}),
    });
    if let Some(label) = spec["jobLabel"].as_str() {
        let source = format!("{selected}_label_{}", sanitized(label));
        all.push(json!({"source_labels": [source], "target_label": "job", "regex": "(.+)"}));
    }
    all.push(json!({"target_label": "endpoint", "replacement": endpoint["port"]}));
    all.extend(rules(&endpoint["relabelings"]));
    all
}

/// A monitor's rules, in Prometheus' spelling: `sourceLabels` is `source_labels`.
fn rules(of_the_monitor: &Value) -> Vec<Value> {
    let spelled = |rule: &Value| {
        let fields = rule.as_object().expect("a rule").iter();
        let fields = fields.map(|(key, value)| {
            let key = match key.as_str() {
                "sourceLabels" => "source_labels",
                "targetLabel" => "target_label",
                key => key,
            };
            (key.to_owned(), value.clone())
        });
        Value::Object(fields.collect::<Map<_, _>>())
    };
    list(of_the_monitor).iter().map(spelled).collect()
}

/// What service discovery finds for a monitor in its namespace, in the form of `static_configs` and of files of targets: one for each
/// port of each pod, or of each Service that has the pod behind it.
pub fn targets(monitor: &Value, objects: &[Value], pods: &[Running]) -> Vec<Value> {
    let set = Set::new(objects, &[]);
    let workloads = set.workloads().into_iter();
    let workloads = workloads.filter(|workload| workload.namespace() == namespace_of(monitor));
    let mut found = Vec::new();
    for workload in workloads {
        for pod in pods {
            if (pod.namespace, pod.workload) == (workload.namespace(), workload.name()) {
                found.extend(match monitor["kind"].as_str() {
                    Some("PodMonitor") => of_pod(workload, pod),
                    _ => of_services(objects, workload, pod),
                });
            }
        }
    }
    found
}

fn of_pod(workload: Workload, pod: &Running) -> Vec<Value> {
    let mut found = Vec::new();
    for container in workload.containers() {
        for port in list(&container["ports"]) {
            let number = port["containerPort"].as_u64();
            let number = number.and_then(|port| u16::try_from(port).ok());
            let Some(address) = (pod.address)(number.expect("a port")) else {
                continue;
            };
            let mut meta = meta_of(workload, pod.name);
            meta.insert(
                "__meta_kubernetes_pod_container_name".into(),
                container["name"].clone(),
            );
            meta.insert(
                "__meta_kubernetes_pod_container_port_name".into(),
                port["name"].clone(),
            );
            found.push(json!({"targets": [address.to_string()], "labels": meta}));
        }
    }
    found
}

fn of_services(objects: &[Value], workload: Workload, pod: &Running) -> Vec<Value> {
    let services = objects.iter().filter(|object| {
        let selector = json!({"matchLabels": object["spec"]["selector"]});
        object["kind"] == "Service"
            && namespace_of(object) == workload.namespace()
            && selects(&selector, &workload.labels())
    });
    let mut found = Vec::new();
    for service in services {
        for port in list(&service["spec"]["ports"]) {
            let number = workload.port(&port["targetPort"]);
            let Some(address) = (pod.address)(number.expect("a port that pods have")) else {
                continue;
            };
            let mut meta = meta_of(workload, pod.name);
            meta.extend(meta_labels(
                "__meta_kubernetes_service",
                &service["metadata"]["labels"],
            ));
            meta.insert("__meta_kubernetes_service_name".into(), name_of(service).into());
            meta.insert(
                "__meta_kubernetes_endpoint_port_name".into(),
                port["name"].clone(),
            );
            found.push(json!({"targets": [address.to_string()], "labels": meta}));
        }
    }
    found
}

/// What is known of a pod by whichever way it is found.
fn meta_of(workload: Workload, name: &str) -> Map<String, Value> {
    let mut meta = meta_labels(
        "__meta_kubernetes_pod",
        &workload.template()["metadata"]["labels"],
    );
    meta.insert("__meta_kubernetes_namespace".into(), workload.namespace().into());
    meta.insert("__meta_kubernetes_pod_name".into(), name.into());
    meta.insert("__meta_kubernetes_pod_phase".into(), "Running".into());
    if let Some(server) = workload.server() {
        meta.insert(
            "__meta_kubernetes_pod_container_name".into(),
            server["name"].clone(),
        );
    }
    meta
}

/// `…_label_NAME` and `…_labelpresent_NAME` of each label.
fn meta_labels(of: &str, all: &Value) -> Map<String, Value> {
    let mut meta = Map::new();
    for (label, value) in labels(all) {
        let label = sanitized(&label);
        meta.insert(format!("{of}_label_{label}"), value.into());
        meta.insert(format!("{of}_labelpresent_{label}"), "true".into());
    }
    meta
}

fn sanitized(label: &str) -> String {
    label.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_")
}
