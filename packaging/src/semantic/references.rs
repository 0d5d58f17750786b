//! Every name leads to something: accounts, Secrets, ConfigMaps and their keys, claims, Services, what is scaled.

mod selected;

use super::meaning::{Set, Workload, finds, list, name_of, namespace_of};
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
    selected::look(set, found);
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
