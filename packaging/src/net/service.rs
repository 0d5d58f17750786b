//! Services as kube-proxy has them, from what was rendered.

use super::cluster::Service;
use super::policy::Pod;
use crate::semantic::selects;
use serde_json::{Value, json};
use std::net::IpAddr;

/// A rendered Service at these addresses: its ports, and behind each the pods of its namespace that it selects. Which of these are ready is
/// for the caller to know. A port that has a name in them is where that name is.
pub fn of(object: &Value, addresses: &[IpAddr], pods: &[Pod]) -> Vec<Service> {
    let spec = &object["spec"];
    let selector = json!({ "matchLabels": spec["selector"] });
    let selected = pods.iter().filter(|pod| {
        let here = object["metadata"]["namespace"] == pod.namespace.as_str();
        // Without a selector there are no endpoints but those that somebody makes.
        here && spec["selector"].is_object() && selects(&selector, &pod.labels)
    });
    let selected: Vec<&Pod> = selected.collect();
    let ports = spec["ports"].as_array().expect("ports");
    let served = ports.iter().map(|port| {
        let reached = selected.iter().filter_map(|pod| Some((target(port, pod)?, *pod)));
        let reached: Vec<(u16, &Pod)> = reached.collect();
        Service {
            addresses: addresses.to_vec(),
            port: number(&port["port"]).expect("a port"),
            // Pods of one template do not differ in it; where there is no pod it leads nowhere.
            target: reached.first().map_or(0, |(target, _)| *target),
            masquerade: spec["externalTrafficPolicy"] == "Cluster",
            endpoints: reached.iter().map(|(_, pod)| pod.addresses.clone()).collect(),
        }
    });
    served.collect()
}

/// Where a Service's port leads in a pod, if it has such a port.
fn target(port: &Value, pod: &Pod) -> Option<u16> {
    let target = &port["targetPort"];
    match target.as_str() {
        Some(name) => pod.ports.get(name).copied(),
        None => number(target).or_else(|| number(&port["port"])),
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().map(|port| u16::try_from(port).expect("a port"))
}
