//! What is about pods finds them: Services, budgets, scalers, roles, routes and monitors.

use super::resolve;
use crate::semantic::meaning::{Set, Workload, finds, labels, list, namespace_of, selects};
use serde_json::Value;

pub(super) fn look(set: &Set, found: &mut Vec<String>) {
    selected(set, found);
    targets(set, found);
    monitors(set, found);
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
