//! Each pod by itself: does it start, end in good order, and keep its secrets?

use super::configuration::{setting, table};
use super::meaning::{Set, Workload, finds, list, name_of, quantity, selects};
use serde_json::Value;

/// Seconds of a drain (docs/kubernetes.md): transactions that may finish, a queue handed over, the store's flush, slack.
const TRANSACTIONS: u64 = 60;
const HANDOVER: u64 = 180;
const FLUSH: u64 = 15;
const SLACK: u64 = 15;
/// The cluster autoscaler waits no longer.
const LONGEST_GRACE: u64 = 600;
/// Octets of all annotations of an object.
const LARGEST: usize = 256 * 1024;
/// Octets of a message, unless `limits.max_message_size` says otherwise; and what may be added to one while it is received.
const LARGEST_MESSAGE: u128 = 26_214_400;
const ADDED: u128 = 64 * 1024;
/// What the server needs beside volumes in memory: 256 MiB, in thousandths of octets.
const LEAST_MEMORY: u128 = 256 * 1024 * 1024 * 1000;

pub fn look(set: &Set, found: &mut Vec<String>) {
    for workload in set.workloads() {
        selector(set, workload, found);
        storage(set, workload, found);
        if let Some(server) = workload.server() {
            probes(workload, server, found);
            end(workload, server, found);
            memory(workload, server, found);
            scratch(set, workload, found);
            folders(workload, server, found);
        }
        spread(workload, found);
    }
    for pods in set.all_pods() {
        secrets(pods, found);
        service_links(pods, found);
        image(pods, found);
        if restricted(set, pods.namespace()) {
            pod_security(pods, found);
        }
    }
    for object in set.objects {
        labelled(object, found);
        if object.to_string().len() > LARGEST {
            found.push(finds(
                object,
                "too large: `kubectl apply` keeps a copy in an annotation, which has a limit",
            ));
        }
    }
}

/// A selector means its own pods, and nobody else's.
fn selector(set: &Set, workload: Workload, found: &mut Vec<String>) {
    let selector = &workload.object["spec"]["selector"];
    if !selects(selector, &workload.labels()) {
        found.push(workload.finds("its selector does not match its own pods"));
    }
    for other in set.all_pods() {
        let same = std::ptr::eq(other.object, workload.object);
        if !same && other.namespace() == workload.namespace() && selects(selector, &other.labels()) {
            let kind = other.object["kind"].as_str().unwrap_or_default();
            found.push(workload.finds(format!(
                "its selector matches the pods of {kind}/{} too",
                other.name()
            )));
        }
    }
}

/// No two pods have one queue's folder.
fn storage(set: &Set, workload: Workload, found: &mut Vec<String>) {
    let many = !set.scalers(workload).is_empty() || workload.replicas() > 1;
    for volume in list(&workload.pod()["volumes"]) {
        let name = volume["name"].as_str().unwrap_or_default();
        if !volume["persistentVolumeClaim"].is_null() && many {
            found.push(workload.finds(format!(
                "its pods share one claim ({name}); each needs a queue of its own"
            )));
        }
        let embedded = workload.server().is_some() && !workload.shares_its_queue();
        if !volume["emptyDir"].is_null() && name == "data" && embedded && many {
            found.push(
                workload.finds("several pods with their queues on emptyDirs: mail is lost with each pod"),
            );
        }
    }
    if workload.server().is_some() && !workload.shares_its_queue() && !set.scalers(workload).is_empty() {
        found.push(
            workload.finds("scaled by load, but there is no handover: mail would stay behind on claims"),
        );
    }
    let surges = workload.object["kind"] == "Deployment"
        && workload.object["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0;
    if surges && workload.object["spec"]["strategy"]["type"] != "Recreate" {
        found.push(workload.finds("a rollout may take a pod away before the next one is ready"));
    }
}

fn probes(workload: Workload, server: &Value, found: &mut Vec<String>) {
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let what = &server[probe];
        if what.is_null() {
            found.push(workload.finds(format!("no {probe}")));
            continue;
        }
        // By exec it is `smtp-server health`.
        let get = &what["httpGet"];
        if !get.is_null() && workload.port(&get["port"]) != workload.ports().get("http").copied() {
            found.push(workload.finds(format!("{probe} asks another port than http")));
        }
        if !what["initialDelaySeconds"].is_null() && !server["startupProbe"].is_null() {
            found.push(workload.finds(format!("{probe} has a delay beside a startupProbe")));
        }
    }
    let start = &server["startupProbe"];
    let seconds =
        start["periodSeconds"].as_u64().unwrap_or(10) * start["failureThreshold"].as_u64().unwrap_or(3);
    if !start.is_null() && seconds < 300 {
        found.push(workload.finds(format!(
            "a start may take {seconds} s, a long queue needs up to 300"
        )));
    }
}

/// `preStop` lets the world notice, and the grace period suffices for what comes after it.
fn end(workload: Workload, server: &Value, found: &mut Vec<String>) {
    let sleep = server["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    if sleep.is_none() {
        found.push(
            workload.finds("no preStop sleep: connections are refused while balancers still send them"),
        );
    }
    let handover = if workload.shares_its_queue() { 0 } else { HANDOVER };
    let needed = sleep.unwrap_or(0) + TRANSACTIONS + handover + FLUSH + SLACK;
    // The API server's default is 30.
    let grace = workload.pod()["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(30);
    if grace < needed {
        found.push(workload.finds(format!("a grace period of {grace} s, {needed} are needed")));
    }
    if grace > LONGEST_GRACE {
        found.push(workload.finds(format!(
            "a grace period of {grace} s, the cluster autoscaler gives {LONGEST_GRACE}"
        )));
    }
}

/// Memory is requested in full; what is in memory fits.
fn memory(workload: Workload, server: &Value, found: &mut Vec<String>) {
    let resources = &server["resources"];
    let (request, limit) = (
        quantity(&resources["requests"]["memory"]),
        quantity(&resources["limits"]["memory"]),
    );
    if request.is_none() || request != limit {
        found.push(workload.finds("memory: request and limit differ"));
    }
    if resources["requests"]["cpu"].is_null() {
        found.push(workload.finds("no CPU request"));
    }
    let mut in_memory = 0;
    for volume in list(&workload.pod()["volumes"]) {
        let name = volume["name"].as_str().unwrap_or_default();
        let empty = &volume["emptyDir"];
        if empty.is_null() {
            continue;
        }
        match quantity(&empty["sizeLimit"]) {
            None => found.push(workload.finds(format!("the emptyDir {name} has no sizeLimit"))),
            Some(size) if empty["medium"] == "Memory" => in_memory += size,
            Some(_) => {}
        }
    }
    if in_memory > 0 && limit.is_some_and(|limit| limit < in_memory + LEAST_MEMORY) {
        found.push(workload.finds("volumes in memory leave too little of the limit for the server"));
    }
}

/// A pod that writes more into an emptyDir than its limit is evicted, and the file system does not say where that is: the server has to know.
/// It does not start with less than room for two of the largest messages, and for what is added to them.
fn scratch(set: &Set, workload: Workload, found: &mut Vec<String>) {
    let volumes = list(&workload.pod()["volumes"]);
    let data = volumes.iter().find(|volume| volume["name"] == "data");
    let limit = data.and_then(|volume| quantity(&volume["emptyDir"]["sizeLimit"]));
    let (Some(limit), true) = (limit, workload.shares_its_queue()) else {
        return;
    };
    let config = table(set, workload);
    let number = |section: &str, key: &str| {
        let value = setting(workload, &config, section, key)?;
        value.to_string().trim_matches('"').parse::<u128>().ok()
    };
    let least = 2 * (number("limits", "max_message_size").unwrap_or(LARGEST_MESSAGE) + ADDED);
    match number("storage", "scratch_size").filter(|size| *size > 0) {
        None => found.push(workload.finds(
            "storage.scratch_size is not set: the pod is evicted when large messages fill its emptyDir",
        )),
        Some(size) if size * 1000 > limit * 95 / 100 => {
            found.push(workload.finds(format!(
                "storage.scratch_size {size} is too much for the emptyDir data"
            )));
        }
        Some(size) if size < least => {
            found.push(workload.finds(format!(
                "storage.scratch_size {size} is too little for two messages of limits.max_message_size"
            )));
        }
        Some(_) => {}
    }
}

/// The root is read-only, and what the server writes is elsewhere.
fn folders(workload: Workload, server: &Value, found: &mut Vec<String>) {
    let mounts = list(&server["volumeMounts"]);
    let writable = |path: &str| {
        mounts.iter().any(|mount| {
            let at = mount["mountPath"].as_str().unwrap_or("?").trim_end_matches('/');
            let inside = path == at || path.starts_with(&format!("{at}/"));
            inside && mount["readOnly"] != true
        })
    };
    if server["securityContext"]["readOnlyRootFilesystem"] == true {
        let database = workload.variable("SMTP_DB_PATH").unwrap_or("./data/smtp.db");
        for (what, path) in [("the database", database), ("temporary files", "/tmp")] {
            if !writable(path) {
                found.push(workload.finds(format!("{path} ({what}) is in no writable volume")));
            }
        }
    }
    for mount in mounts {
        if !mount["subPath"].is_null() || !mount["subPathExpr"].is_null() {
            found.push(workload.finds(format!(
                "{} is mounted by subPath, which never changes again",
                mount["mountPath"].as_str().unwrap_or("?")
            )));
        }
    }
}

fn spread(workload: Workload, found: &mut Vec<String>) {
    let constraints = list(&workload.pod()["topologySpreadConstraints"]);
    for topology in ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
        let Some(constraint) = constraints.iter().find(|one| one["topologyKey"] == topology) else {
            found.push(workload.finds(format!("its pods are not spread over {topology}")));
            continue;
        };
        if !selects(&constraint["labelSelector"], &workload.labels()) {
            found.push(workload.finds(format!("the spread over {topology} is about other pods")));
        }
    }
}

fn image(pods: Workload, found: &mut Vec<String>) {
    for container in pods.containers().chain(list(&pods.pod()["initContainers"])) {
        let image = container["image"].as_str().unwrap_or_default();
        let tag = image.rsplit('/').next().unwrap_or_default().split_once(':');
        if !image.contains('@') && tag.is_none_or(|(_, tag)| tag == "latest") {
            found.push(pods.finds(format!("the image {image:?} may be another one tomorrow")));
        }
    }
}

/// Secrets are files: a variable can be read in /proc, in crash dumps and in every child.
fn secrets(pods: Workload, found: &mut Vec<String>) {
    let containers = pods.containers().chain(list(&pods.pod()["initContainers"]));
    for container in containers {
        for from in list(&container["envFrom"]) {
            if let Some(name) = from["secretRef"]["name"].as_str() {
                found.push(pods.finds(format!("the Secret {name} comes as variables")));
            }
        }
        for one in list(&container["env"]) {
            let name = one["name"].as_str().unwrap_or_default();
            let secret = !one["valueFrom"]["secretKeyRef"].is_null();
            let words = ["PASSWORD", "PRIVATE_KEY", "DATABASE_URL", "TOKEN", "SECRET"];
            // A name that ends in _FILE, or says where a file is, holds a path.
            let path = one["value"].as_str().is_some_and(|value| value.starts_with('/'));
            if secret || (words.iter().any(|word| name.contains(word)) && !path) {
                found.push(pods.finds(format!("the variable {name} holds a secret")));
            }
        }
    }
}

fn service_links(pods: Workload, found: &mut Vec<String>) {
    if pods.pod()["enableServiceLinks"] != false && pods.server().is_some() {
        found.push(pods.finds("enableServiceLinks: a Service named smtp would set SMTP_PORT"));
    }
}

fn restricted(set: &Set, namespace: &str) -> bool {
    set.get("Namespace", namespace).is_some_and(|object| {
        object["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    })
}

/// The rules of Pod Security `restricted` that a namespace here enforces.
fn pod_security(pods: Workload, found: &mut Vec<String>) {
    let pod = pods.pod();
    let mut refuse = |why: &str| found.push(pods.finds(format!("refused by Pod Security: {why}")));
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[host] == true {
            refuse(host);
        }
    }
    for volume in list(&pod["volumes"]) {
        if !volume["hostPath"].is_null() {
            refuse("a hostPath volume");
        }
    }
    // `kubectl debug` adds the last.
    let more = ["initContainers", "ephemeralContainers"].map(|name| list(&pod[name]));
    for container in pods.containers().chain(more.into_iter().flatten()) {
        let (own, shared) = (&container["securityContext"], &pod["securityContext"]);
        let either = |key: &str| {
            if own[key].is_null() {
                &shared[key]
            } else {
                &own[key]
            }
        };
        if either("seccompProfile")["type"] != "RuntimeDefault"
            && either("seccompProfile")["type"] != "Localhost"
        {
            refuse("no seccompProfile");
        }
        if *either("runAsNonRoot") != true {
            refuse("runAsNonRoot is not true");
        }
        if *either("runAsUser") == 0 {
            refuse("runAsUser is 0");
        }
        if own["allowPrivilegeEscalation"] != false {
            refuse("allowPrivilegeEscalation is not false");
        }
        if !list(&own["capabilities"]["drop"]).iter().any(|one| one == "ALL") {
            refuse("capabilities are not dropped");
        }
        if list(&own["capabilities"]["add"])
            .iter()
            .any(|one| one != "NET_BIND_SERVICE")
        {
            refuse("capabilities are added");
        }
        for port in list(&container["ports"]) {
            if !port["hostPort"].is_null() {
                refuse("a hostPort");
            }
        }
    }
}

/// People find what belongs together.
fn labelled(object: &Value, found: &mut Vec<String>) {
    for label in ["app.kubernetes.io/name", "app.kubernetes.io/part-of"] {
        if object["metadata"]["labels"][label].is_null() {
            found.push(finds(object, format!("no label {label}")));
        }
    }
    if name_of(object).is_empty() {
        found.push(finds(object, "no name"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_applied_is_too_large() {
        let labels = json!({"app.kubernetes.io/name": "a", "app.kubernetes.io/part-of": "b"});
        let map = |size: usize| json!({"kind": "ConfigMap", "metadata": {"name": "m", "labels": labels}, "data": {"key": "x".repeat(size)}});
        for (size, findings) in [(200_000, 0), (270_000, 1)] {
            let objects = [map(size)];
            let mut found = Vec::new();
            look(&Set::new(&objects, &[]), &mut found);
            assert_eq!(found.len(), findings, "{size}: {found:?}");
        }
    }
}
