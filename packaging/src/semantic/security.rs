//! Pod Security: what a namespace asks for, and pods that it would refuse.

use super::meaning::{Set, Workload, finds, list};
use crate::render::KUBERNETES;
use serde_json::Value;

pub fn look(set: &Set, found: &mut Vec<String>) {
    for namespace in set.of_kind("Namespace") {
        levels(set, namespace, found);
    }
    for pods in set.all_pods() {
        if restricted(set, pods.namespace()) {
            pod_security(pods, found);
        }
    }
}

fn restricted(set: &Set, namespace: &str) -> bool {
    set.get("Namespace", namespace).is_some_and(|object| {
        object["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    })
}

/// A namespace enforces `restricted`, as it is in the newest version that is supported. Pods on the host's network have to be let in;
/// then it is told all the same of whatever else is not restricted.
fn levels(set: &Set, namespace: &Value, found: &mut Vec<String>) {
    let on_the_host = set
        .workloads()
        .into_iter()
        .any(|pods| pods.on_the_hosts_network());
    let newest = KUBERNETES.last().expect("a version").trim_end_matches(".0");
    let pinned = format!("v{newest}");
    for mode in ["enforce", "audit", "warn"] {
        let label = |key: String| {
            namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{key}")].as_str()
        };
        let level = if on_the_host && mode == "enforce" {
            "privileged"
        } else {
            "restricted"
        };
        if label(mode.into()) != Some(level) {
            let is = label(mode.into()).unwrap_or("not said");
            found.push(finds(
                namespace,
                format!("Pod Security: {mode} is {is}, it should be {level}"),
            ));
        }
        // All versions let everything in that is privileged.
        let version = label(format!("{mode}-version"));
        if level != "privileged" && version != Some(pinned.as_str()) {
            let is = version.unwrap_or("the cluster's own");
            found.push(finds(
                namespace,
                format!("Pod Security: the rules of {mode} are {is}, not {pinned}"),
            ));
        }
    }
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
    for container in pods.containers().chain(list(&pod["initContainers"])) {
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
