//! Every name leads to something: accounts, Secrets, ConfigMaps and their keys, claims, Services, what is scaled.

use super::meaning::{Set, Workload, finds, labels, list, name_of, namespace_of, selects};
use serde_json::Value;
use std::collections::BTreeSet;

pub fn look(set: &Set, found: &mut Vec<String>) {
    for pods in set.all_pods() {
        let account = pods.pod()["serviceAccountName"].as_str().unwrap_or("default");
        if account != "default" {
            resolve(set, pods.object, "ServiceAccount", account, found);
        }
        for volume in list(&pods.pod()["volumes"]) {
            volume_of(set, pods, volume, found);
        }
        mounts(pods, found);
        variables(set, pods, found);
        files(set, pods, found);
    }
    for workload in set.workloads() {
        if let Some(service) = workload.object["spec"]["serviceName"].as_str() {
            resolve(set, workload.object, "Service", service, found);
            let headless = set.get("Service", service);
            if headless.is_some_and(|service| service["spec"]["clusterIP"] != "None") {
                found.push(workload.finds(format!("its Service {service} is not headless")));
            }
        }
    }
    selected(set, found);
    targets(set, found);
    monitors(set, found);
    namespaces(set, found);
}

fn resolve(set: &Set, from: &Value, kind: &str, name: &str, found: &mut Vec<String>) {
    // The API server's own authority is put into every namespace by Kubernetes.
    let by_kubernetes = kind == "ConfigMap" && name == "kube-root-ca.crt";
    let made = by_kubernetes || set.get(kind, name).is_some() || set.is_outside(kind, name);
    let comes_later = kind == "Secret" && maker(set, name).is_some();
    if !made && !comes_later {
        found.push(finds(from, format!("there is no {kind} {name}")));
    }
}

/// What a controller makes this Secret of.
fn maker<'a>(set: &Set<'a>, secret: &str) -> Option<&'a Value> {
    set.objects.iter().find(|object| match object["kind"].as_str() {
        Some("Certificate") => object["spec"]["secretName"] == secret,
        Some("ExternalSecret") => {
            let target = object["spec"]["target"]["name"].as_str();
            target.unwrap_or_else(|| name_of(object)) == secret
        }
        _ => false,
    })
}

fn volume_of(set: &Set, pods: Workload, volume: &Value, found: &mut Vec<String>) {
    let sources = [
        ("ConfigMap", &volume["configMap"]["name"], &volume["configMap"]),
        ("Secret", &volume["secret"]["secretName"], &volume["secret"]),
        (
            "PersistentVolumeClaim",
            &volume["persistentVolumeClaim"]["claimName"],
            &volume["persistentVolumeClaim"],
        ),
    ];
    for (kind, name, source) in sources {
        let Some(name) = name.as_str() else { continue };
        if source["optional"] != true {
            resolve(set, pods.object, kind, name, found);
        }
        for item in list(&source["items"]) {
            let key = item["key"].as_str().unwrap_or_default();
            has_key(set, pods, kind, name, key, found);
        }
    }
    for source in list(&volume["projected"]["sources"]) {
        for kind in ["configMap", "secret"] {
            if let Some(name) = source[kind]["name"].as_str() {
                let kind = if kind == "secret" { "Secret" } else { "ConfigMap" };
                resolve(set, pods.object, kind, name, found);
            }
        }
    }
}

/// What an object made here holds; `None` when somebody else decides.
fn keys(set: &Set, kind: &str, name: &str) -> Option<BTreeSet<String>> {
    let object = match set.get(kind, name) {
        Some(object) => object,
        None => {
            let maker = maker(set, name)?;
            return match maker["kind"].as_str() {
                Some("Certificate") => Some(["tls.crt", "tls.key", "ca.crt"].map(str::to_owned).into()),
                _ if list(&maker["spec"]["dataFrom"]).is_empty() => Some(
                    list(&maker["spec"]["data"])
                        .iter()
                        .filter_map(|one| one["secretKey"].as_str().map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            };
        }
    };
    let places = ["data", "stringData", "binaryData"];
    let maps = places.iter().filter_map(|place| object[*place].as_object());
    Some(maps.flat_map(|map| map.keys().cloned()).collect())
}

fn has_key(set: &Set, pods: Workload, kind: &str, name: &str, key: &str, found: &mut Vec<String>) {
    if keys(set, kind, name).is_some_and(|keys| !keys.contains(key)) {
        found.push(pods.finds(format!("{kind} {name} has no key {key}")));
    }
}

fn mounts(pods: Workload, found: &mut Vec<String>) {
    let mut volumes: BTreeSet<&str> = list(&pods.pod()["volumes"])
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    let claims = list(&pods.object["spec"]["volumeClaimTemplates"]);
    volumes.extend(claims.iter().map(name_of));
    let mut unused = volumes.clone();
    for container in pods.containers().chain(list(&pods.pod()["initContainers"])) {
        for mount in list(&container["volumeMounts"]) {
            let name = mount["name"].as_str().unwrap_or_default();
            unused.remove(name);
            if !volumes.contains(name) {
                found.push(pods.finds(format!("there is no volume {name}")));
            }
        }
    }
    for name in unused {
        found.push(pods.finds(format!("the volume {name} is mounted nowhere")));
    }
}

fn variables(set: &Set, pods: Workload, found: &mut Vec<String>) {
    for container in pods.containers() {
        for one in list(&container["env"]) {
            for (place, kind) in [("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")] {
                let reference = &one["valueFrom"][place];
                if let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) {
                    resolve(set, pods.object, kind, name, found);
                    has_key(set, pods, kind, name, key, found);
                }
            }
        }
    }
}

/// Files that variables and the configuration name are in the Secrets and ConfigMaps that are mounted there.
fn files(set: &Set, pods: Workload, found: &mut Vec<String>) {
    let Some(server) = pods.server() else { return };
    let mut named: Vec<(String, String)> = list(&server["env"])
        .iter()
        .filter_map(|one| {
            Some((
                one["name"].as_str()?.to_owned(),
                one["value"].as_str()?.to_owned(),
            ))
        })
        .filter(|(_, value)| value.starts_with('/'))
        .collect();
    if let Some(text) = super::configuration::text(set, pods)
        && let Ok(table) = text.parse::<toml::Table>()
    {
        paths("", &toml::Value::Table(table), &mut named);
    }
    for (place, path) in named {
        let mount = list(&server["volumeMounts"])
            .iter()
            .filter(|mount| {
                let at = mount["mountPath"].as_str().unwrap_or("?");
                path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
            })
            .max_by_key(|mount| mount["mountPath"].as_str().map(str::len));
        let Some(mount) = mount else {
            if !place.ends_with("drop_path") && place != "metrics.path" {
                found.push(pods.finds(format!("{place} names {path}, where nothing is mounted")));
            }
            continue;
        };
        let at = mount["mountPath"].as_str().unwrap_or_default();
        let key = path[at.len()..].trim_start_matches('/');
        let volume = list(&pods.pod()["volumes"])
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        let Some(volume) = volume else { continue };
        for (kind, source, name) in [
            ("Secret", "secret", "secretName"),
            ("ConfigMap", "configMap", "name"),
        ] {
            if let Some(name) = volume[source][name].as_str() {
                let items = list(&volume[source]["items"]);
                let here = items.is_empty() || items.iter().any(|item| item["path"] == key);
                if here && items.is_empty() {
                    has_key(set, pods, kind, name, key, found);
                } else if !here {
                    found.push(pods.finds(format!("{place} names {path}, which the volume does not bring")));
                }
            }
        }
    }
}

/// Every absolute path in a configuration, and its key.
fn paths(place: &str, value: &toml::Value, named: &mut Vec<(String, String)>) {
    match value {
        toml::Value::String(text) if text.starts_with('/') => named.push((place.to_owned(), text.clone())),
        toml::Value::Array(array) => array.iter().for_each(|one| paths(place, one, named)),
        toml::Value::Table(table) => {
            for (key, value) in table {
                let place = if place.is_empty() {
                    key.clone()
                } else {
                    format!("{place}.{key}")
                };
                paths(&place, value, named);
            }
        }
        _ => {}
    }
}

/// What selects pods selects the servers', all of them, and no others.
fn selected(set: &Set, found: &mut Vec<String>) {
    for service in set.of_kind("Service") {
        let selector = &service["spec"]["selector"];
        if selector.is_null() {
            continue;
        }
        let means = |pods: &Workload| {
            pods.namespace() == namespace_of(service)
                && labels(selector)
                    .iter()
                    .all(|(key, value)| pods.labels().get(key) == Some(value))
        };
        picks(set, service, &means, found);
    }
    for budget in set.of_kind("PodDisruptionBudget") {
        let means = |pods: &Workload| {
            pods.namespace() == namespace_of(budget) && selects(&budget["spec"]["selector"], &pods.labels())
        };
        picks(set, budget, &means, found);
    }
}

fn picks(set: &Set, object: &Value, means: &dyn Fn(&Workload) -> bool, found: &mut Vec<String>) {
    let pods: Vec<Workload> = set.all_pods().into_iter().filter(means).collect();
    if !pods.iter().any(|pods| pods.server().is_some()) {
        found.push(finds(object, "selects no server's pods"));
    }
    for other in pods.iter().filter(|pods| pods.server().is_none()) {
        found.push(finds(
            object,
            format!("selects the pods of {} too, which is no server", other.name()),
        ));
    }
}

fn targets(set: &Set, found: &mut Vec<String>) {
    let scalers = set
        .of_kind("HorizontalPodAutoscaler")
        .chain(set.of_kind("ScaledObject"));
    for scaler in scalers {
        let target = &scaler["spec"]["scaleTargetRef"];
        let kind = target["kind"].as_str().unwrap_or("Deployment");
        resolve(
            set,
            scaler,
            kind,
            target["name"].as_str().unwrap_or_default(),
            found,
        );
    }
    for binding in set.of_kind("RoleBinding") {
        let role = &binding["roleRef"];
        let (kind, name) = (role["kind"].as_str(), role["name"].as_str());
        resolve(
            set,
            binding,
            kind.unwrap_or_default(),
            name.unwrap_or_default(),
            found,
        );
    }
    for route in set.of_kind("TCPRoute") {
        for backend in list(&route["spec"]["rules"])
            .iter()
            .flat_map(|rule| list(&rule["backendRefs"]))
        {
            let name = backend["name"].as_str().unwrap_or_default();
            resolve(set, route, "Service", name, found);
            let ports = set
                .get("Service", name)
                .map(|service| list(&service["spec"]["ports"]));
            if ports.is_some_and(|ports| ports.iter().all(|port| port["port"] != backend["port"])) {
                found.push(finds(
                    route,
                    format!("the Service {name} has no port {}", backend["port"]),
                ));
            }
        }
    }
}

/// Prometheus finds every pod, once.
fn monitors(set: &Set, found: &mut Vec<String>) {
    let mut times = 0;
    for monitor in set.of_kind("PodMonitor") {
        let selector = &monitor["spec"]["selector"];
        times += 1;
        let pods: Vec<_> = set
            .workloads()
            .into_iter()
            .filter(|pods| selects(selector, &pods.labels()))
            .collect();
        for endpoint in list(&monitor["spec"]["podMetricsEndpoints"]) {
            let port = endpoint["port"].as_str().unwrap_or_default();
            if !pods.iter().any(|pods| pods.ports().contains_key(port)) {
                found.push(finds(
                    monitor,
                    format!("no pod that it selects has a port {port}"),
                ));
            }
        }
    }
    for monitor in set.of_kind("ServiceMonitor") {
        let selector = &monitor["spec"]["selector"];
        for endpoint in list(&monitor["spec"]["endpoints"]) {
            let services = set.of_kind("Service").filter(|service| {
                let has_port = list(&service["spec"]["ports"])
                    .iter()
                    .any(|port| port["name"] == endpoint["port"]);
                has_port && selects(selector, &labels(&service["metadata"]["labels"]))
            });
            match services.count() {
                0 => found.push(finds(
                    monitor,
                    format!("no Service that it selects has a port {}", endpoint["port"]),
                )),
                count => times += count,
            }
        }
    }
    let annotated = set
        .workloads()
        .into_iter()
        .filter(|pods| pods.template()["metadata"]["annotations"]["prometheus.io/scrape"] == "true");
    if times + annotated.count() > 1 {
        found.push(
            "Prometheus finds every pod more than once (PodMonitor, ServiceMonitor, annotations)".into(),
        );
    }
}

/// All in one namespace, which is the one that is made here, if one is.
fn namespaces(set: &Set, found: &mut Vec<String>) {
    let cluster_wide = ["Namespace", "ClusterRole", "ClusterRoleBinding"];
    let namespaced = set
        .objects
        .iter()
        .filter(|object| !cluster_wide.iter().any(|kind| object["kind"] == *kind));
    let names: BTreeSet<&str> = namespaced.map(namespace_of).collect();
    if names.len() > 1 {
        found.push(format!("objects in several namespaces: {names:?}"));
    }
    for namespace in set.of_kind("Namespace") {
        if !names.contains(name_of(namespace)) {
            found.push(finds(namespace, "nothing is in it"));
        }
    }
}
