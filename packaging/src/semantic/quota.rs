//! Whether a ResourceQuota has room for what is applied, for what controllers make of it, and for what Helm keeps.

use super::meaning::{Set, Workload, finds, labels, list, name_of, quantity};
use super::scaling::bounds;
use serde_json::Value;
use std::collections::BTreeSet;

/// What Helm keeps of a release: `--history-max`, a Secret each.
const HISTORY: u64 = 10;

pub fn look(set: &Set, found: &mut Vec<String>) {
    for quota in set.of_kind("ResourceQuota") {
        for (what, allowed) in quota["spec"]["hard"].as_object().into_iter().flatten() {
            let allowed = quantity(allowed).unwrap_or(0);
            if what == "pods" || of_containers(what).is_some() {
                for workload in set.workloads() {
                    pods(set, quota, workload, (what, allowed), found);
                }
            } else if what == "persistentvolumeclaims" || what == "requests.storage" {
                claims(set, quota, (what, allowed), found);
            } else if !is_of_a_device(what) {
                objects(set, quota, (what, allowed), found);
            }
        }
    }
}

/// Pods at once, at most: the HPA's maximum, a rollout's surge, and those that are still ending.
fn most(set: &Set, workload: Workload) -> u64 {
    let spec = &workload.object["spec"];
    let scaled = set.scalers(workload).iter().map(|scaler| bounds(scaler).1).max();
    let pods = scaled.unwrap_or_else(|| workload.replicas());
    if workload.object["kind"] != "Deployment" {
        return pods;
    }
    let surge = match &spec["strategy"]["rollingUpdate"]["maxSurge"] {
        Value::Number(number) => number.as_u64().unwrap_or(1),
        Value::String(percent) => {
            let percent: u64 = percent.trim_end_matches('%').parse().unwrap_or(25);
            (pods * percent).div_ceil(100)
        }
        _ => pods.div_ceil(4),
    };
    // A Deployment does not wait for them. One may be told to end each time another has been ready for minReadySeconds.
    let grace = workload.pod()["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(30);
    let ending = match spec["minReadySeconds"].as_u64().unwrap_or(0) {
        0 => pods,
        seconds => (grace.div_ceil(seconds) * surge).min(pods),
    };
    pods + surge + ending
}

/// `requests.cpu` as `requests` and `cpu`, when containers are asked for it.
fn of_containers(what: &str) -> Option<(&str, &str)> {
    let (which, resource) = what.split_once('.')?;
    let asked = ["cpu", "memory", "ephemeral-storage"].contains(&resource);
    (["requests", "limits"].contains(&which) && asked).then_some((which, resource))
}

/// `requests.nvidia.com/gpu`: refuses only pods that ask for it, and none of these does.
fn is_of_a_device(what: &str) -> bool {
    what.starts_with("requests.") && what.contains('/')
}

/// What a LimitRange gives a container that does not say.
fn by_default(set: &Set, which: &str, resource: &str) -> Option<u128> {
    let keys: &[&str] = match which {
        "limits" => &["default"],
        _ => &["defaultRequest", "default"],
    };
    set.of_kind("LimitRange")
        .flat_map(|range| list(&range["spec"]["limits"]))
        .filter(|limit| limit["type"] == "Container")
        .find_map(|limit| keys.iter().find_map(|key| quantity(&limit[*key][resource])))
}

/// What one pod takes of a quota; nothing if one of its containers does not say, and nobody says it for it.
fn of_a_pod(set: &Set, pod: Workload, what: &str) -> Option<u128> {
    let Some((which, resource)) = of_containers(what) else {
        return Some(1000);
    };
    let asks = |one: &Value| {
        quantity(&one["resources"][which][resource]).or_else(|| by_default(set, which, resource))
    };
    let (beside, before): (Vec<&Value>, Vec<&Value>) = list(&pod.pod()["initContainers"])
        .iter()
        .partition(|one| one["restartPolicy"] == "Always");
    let together: u128 = pod.containers().chain(beside).map(asks).sum::<Option<u128>>()?;
    // These run one at a time, before the others.
    let largest = before.into_iter().map(asks).collect::<Option<Vec<u128>>>()?;
    Some(largest.into_iter().fold(together, u128::max))
}

/// Room for the largest number of pods, beside those that end: tests and Jobs.
fn pods(
    set: &Set,
    quota: &Value,
    workload: Workload,
    (what, allowed): (&str, u128),
    found: &mut Vec<String>,
) {
    let most = most(set, workload);
    let Some(one) = of_a_pod(set, workload, what) else {
        let name = workload.name();
        found.push(finds(
            quota,
            format!("{what}: refuses the pods of {name}, which name none"),
        ));
        return;
    };
    let servers = set.workloads();
    let is_server = |pod: &Workload| {
        servers
            .iter()
            .any(|server| std::ptr::eq(server.object, pod.object))
    };
    let others = set.all_pods().into_iter().filter(|pod| !is_server(pod));
    let mut taken = 0;
    for pod in others {
        match of_a_pod(set, pod, what) {
            Some(one) => taken += one,
            None => found.push(finds(
                quota,
                format!("{what}: refuses {}, which names none", pod.name()),
            )),
        }
    }
    let room = allowed.saturating_sub(taken) / one.max(1);
    if room < u128::from(most) {
        let name = workload.name();
        found.push(finds(
            quota,
            format!("{what}: room for {room} pods of {name}, there may be {most}"),
        ));
    }
}

/// Claims, or their sizes: one of each template for each pod that there ever was, and those that stand by themselves.
fn claims(set: &Set, quota: &Value, (what, allowed): (&str, u128), found: &mut Vec<String>) {
    let one = |claim: &Value| match what {
        "persistentvolumeclaims" => 1000,
        _ => quantity(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or(0),
    };
    let alone: u128 = set.of_kind("PersistentVolumeClaim").map(one).sum();
    let of_pods: u128 = set
        .workloads()
        .into_iter()
        .map(|workload| {
            let each: u128 = list(&workload.object["spec"]["volumeClaimTemplates"])
                .iter()
                .map(one)
                .sum();
            each * u128::from(most(set, workload))
        })
        .sum();
    if alone + of_pods > allowed {
        found.push(finds(quota, format!("{what}: fewer claims than pods")));
    }
}

/// Objects that are counted.
fn objects(set: &Set, quota: &Value, (what, allowed): (&str, u128), found: &mut Vec<String>) {
    let services = || set.of_kind("Service");
    let count = match what {
        "services" => services().count() as u64,
        "services.loadbalancers" => services()
            .filter(|one| one["spec"]["type"] == "LoadBalancer")
            .count() as u64,
        "services.nodeports" => services().map(node_ports).sum(),
        "secrets" => secrets(set),
        // And the API server's authority, which Kubernetes puts into every namespace.
        "configmaps" => set.of_kind("ConfigMap").count() as u64 + 1,
        _ => {
            found.push(finds(
                quota,
                format!("{what}: nobody has counted what there may be"),
            ));
            return;
        }
    };
    if u128::from(count) * 1000 > allowed {
        let allowed = allowed / 1000;
        found.push(finds(
            quota,
            format!("{what}: room for {allowed}, there may be {count}"),
        ));
    }
}

/// The ports of nodes that a Service takes.
fn node_ports(service: &Value) -> u64 {
    let spec = &service["spec"];
    let takes = match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    };
    if takes {
        list(&spec["ports"]).len() as u64
    } else {
        0
    }
}

/// Those that are applied, that pods read, and that controllers make; cert-manager's key of a certificate that it is about to ask
/// for; and Helm's.
fn secrets(set: &Set) -> u64 {
    let mut names: BTreeSet<&str> = set.of_kind("Secret").map(name_of).collect();
    for pods in set.all_pods() {
        for volume in list(&pods.pod()["volumes"]) {
            names.extend(volume["secret"]["secretName"].as_str());
            let sources = list(&volume["projected"]["sources"]).iter();
            names.extend(sources.filter_map(|source| source["secret"]["name"].as_str()));
        }
        let pulls = list(&pods.pod()["imagePullSecrets"]).iter();
        names.extend(pulls.filter_map(|one| one["name"].as_str()));
    }
    names.extend(
        set.of_kind("Certificate")
            .filter_map(|one| one["spec"]["secretName"].as_str()),
    );
    let external = set.of_kind("ExternalSecret");
    names.extend(external.map(|one| one["spec"]["target"]["name"].as_str().unwrap_or(name_of(one))));
    let next_keys = set.of_kind("Certificate").count();
    let by_helm = set.objects.iter().any(|object| {
        let managed = labels(&object["metadata"]["labels"]);
        managed
            .get("app.kubernetes.io/managed-by")
            .is_some_and(|by| by == "Helm")
    });
    (names.len() + next_keys) as u64 + if by_helm { HISTORY } else { 0 }
}
