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

/// The fewest and the most pods of an HPA or a ScaledObject.
pub(super) fn bounds(scaler: &Value) -> (u64, u64) {
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
