//! How many pods, who decides, and whether there is room for them.

use super::configuration::{setting, table};
use super::meaning::{Set, Workload, finds, list, namespace_of, quantity, selects};
use serde_json::Value;

/// PostgreSQL's default of `max_connections`, less those that it keeps for its administrators.
const CONNECTIONS: u64 = 97;
/// The server's default of `storage.pool_size`.
const POOL: u64 = 10;
/// The connection on which a server hears what others changed; without a pooler.
const HINTS: u64 = 1;

pub fn look(set: &Set, found: &mut Vec<String>) {
    for workload in set.workloads() {
        budgets(set, workload, found);
        let scalers = set.scalers(workload);
        if scalers.len() > 1 {
            found.push(workload.finds(format!("{} HPAs scale it; all of them stop", scalers.len())));
        }
        if !scalers.is_empty() && !workload.object["spec"]["replicas"].is_null() {
            found.push(workload.finds("replicas beside an HPA: each apply undoes what it did"));
        }
        for scaler in &scalers {
            pace(scaler, found);
        }
        quotas(set, workload, found);
        limits(set, workload, found);
        connections(set, workload, found);
    }
}

/// Exactly one, which lets nodes be drained.
fn budgets(set: &Set, workload: Workload, found: &mut Vec<String>) {
    let budgets: Vec<&Value> = set
        .of_kind("PodDisruptionBudget")
        .filter(|budget| {
            namespace_of(budget) == workload.namespace()
                && selects(&budget["spec"]["selector"], &workload.labels())
        })
        .collect();
    if budgets.len() != 1 {
        found.push(workload.finds(format!(
            "{} PodDisruptionBudgets, it should be one",
            budgets.len()
        )));
    }
    for budget in budgets {
        if budget["spec"]["maxUnavailable"] != 1 {
            found.push(finds(
                budget,
                "maxUnavailable is not 1: with few pods no node can be drained",
            ));
        }
        if budget["spec"]["unhealthyPodEvictionPolicy"] != "AlwaysAllow" {
            found.push(finds(budget, "pods that are not ready hold up drains"));
        }
    }
}

/// The most and the fewest pods of an HPA or a ScaledObject.
fn bounds(scaler: &Value) -> (u64, u64) {
    let spec = &scaler["spec"];
    match scaler["kind"].as_str() {
        Some("ScaledObject") => (
            spec["minReplicaCount"].as_u64().unwrap_or(0),
            spec["maxReplicaCount"].as_u64().unwrap_or(100),
        ),
        _ => (
            spec["minReplicas"].as_u64().unwrap_or(1),
            spec["maxReplicas"].as_u64().unwrap_or(0),
        ),
    }
}

fn pace(scaler: &Value, found: &mut Vec<String>) {
    let spec = &scaler["spec"];
    if bounds(scaler).0 < 2 {
        found.push(finds(scaler, "may leave a single pod"));
    }
    let behavior = match scaler["kind"].as_str() {
        Some("ScaledObject") => &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        _ => &spec["behavior"],
    };
    let down = &behavior["scaleDown"];
    // The default, without policies, is all at once.
    let slow = list(&down["policies"]).iter().all(|policy| {
        policy["type"] == "Pods" && policy["value"] == 1 && policy["periodSeconds"].as_u64() >= Some(600)
    });
    if !slow || list(&down["policies"]).is_empty() || down["stabilizationWindowSeconds"].as_u64() < Some(1800)
    {
        found.push(finds(
            scaler,
            "scales down faster than a pod in 600 s, or sooner than after 1800 s",
        ));
    }
    for metric in list(&spec["metrics"]) {
        if metric["resource"]["name"] == "memory" {
            found.push(finds(
                scaler,
                "scales on memory, which does not come down with the load",
            ));
        }
        let name = metric["pods"]["metric"]["name"].as_str().unwrap_or_default();
        if name.starts_with("smtp_queue") {
            found.push(finds(
                scaler,
                format!("{name} by pods: every pod reports the same queue, so the average never comes down"),
            ));
        }
    }
    for trigger in list(&spec["triggers"]) {
        if trigger["type"] == "memory" {
            found.push(finds(
                scaler,
                "scales on memory, which does not come down with the load",
            ));
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

fn quotas(set: &Set, workload: Workload, found: &mut Vec<String>) {
    let most = most(set, workload);
    for quota in set.of_kind("ResourceQuota") {
        let hard = quota["spec"]["hard"].as_object().into_iter().flatten();
        for (what, allowed) in hard {
            let allowed = quantity(allowed).unwrap_or(0);
            let of_a_pod = match what.split_once('.') {
                None if what == "pods" => Some(1000),
                Some((which @ ("requests" | "limits"), resource)) => {
                    let containers: Vec<&Value> = workload.containers().collect();
                    let each = containers
                        .iter()
                        .map(|one| quantity(&one["resources"][which][resource]));
                    let sum: Option<u128> = each.sum();
                    if sum.is_none() {
                        found.push(finds(
                            quota,
                            format!("{what}: refuses the pods of {}, which name none", workload.name()),
                        ));
                    }
                    sum
                }
                _ => None,
            };
            if let Some(one) = of_a_pod
                && one * u128::from(most) > allowed
            {
                found.push(finds(
                    quota,
                    format!(
                        "{what}: room for {} pods of {}, there may be {most}",
                        allowed / one,
                        workload.name()
                    ),
                ));
            }
        }
        let claims = list(&workload.object["spec"]["volumeClaimTemplates"]).len() as u128;
        let allowed = quantity(&quota["spec"]["hard"]["persistentvolumeclaims"]);
        if allowed.is_some_and(|allowed| claims * u128::from(most) * 1000 > allowed) {
            found.push(finds(quota, "fewer claims than pods"));
        }
    }
}

/// What a LimitRange makes of the pods is what they say themselves.
fn limits(set: &Set, workload: Workload, found: &mut Vec<String>) {
    for range in set.of_kind("LimitRange") {
        for limit in list(&range["spec"]["limits"]) {
            for container in workload.containers() {
                // `max` without `default` is a default too.
                let given = !limit["default"]["cpu"].is_null() || !limit["max"]["cpu"].is_null();
                if given && container["resources"]["limits"]["cpu"].is_null() {
                    found.push(finds(
                        range,
                        format!("gives the pods of {} a CPU limit", workload.name()),
                    ));
                }
                for (bound, below) in [("max", true), ("min", false)] {
                    let bound_of = quantity(&limit[bound]["memory"]);
                    let has = quantity(&container["resources"]["limits"]["memory"]);
                    if let (Some(bound_of), Some(has)) = (bound_of, has)
                        && (if below { has > bound_of } else { has < bound_of })
                    {
                        found.push(finds(range, format!("refuses the memory of {}", workload.name())));
                    }
                }
            }
        }
    }
}

/// PostgreSQL takes the connections of all pods.
fn connections(set: &Set, workload: Workload, found: &mut Vec<String>) {
    if !workload.shares_its_queue() || setting_is(set, workload, "pooler", "true") {
        return;
    }
    let config = table(set, workload);
    let pool = setting(workload, &config, "storage", "pool_size");
    let pool = pool
        .and_then(|value| value.to_string().trim_matches('"').parse().ok())
        .unwrap_or(POOL);
    let scaled = set.scalers(workload).iter().map(|scaler| bounds(scaler).1).max();
    let pods = scaled.unwrap_or_else(|| workload.replicas()) + 1;
    if (pool + HINTS) * pods > CONNECTIONS {
        found.push(workload.finds(format!(
            "{pods} pods with {pool} connections each (storage.pool_size) and one for hints; PostgreSQL has {CONNECTIONS} unless it is told otherwise"
        )));
    }
}

fn setting_is(set: &Set, workload: Workload, key: &str, value: &str) -> bool {
    let config = table(set, workload);
    setting(workload, &config, "storage", key).is_some_and(|is| is.to_string().trim_matches('"') == value)
}
