//! Whose network a pod is on.

use super::{list, only};
use serde_json::Value;

/// Whether an object's pods are on their node's network.
pub(in crate::kubelet) fn on_the_nodes_network(object: &Value) -> bool {
    super::pod(object)["hostNetwork"] == true
}

/// The same, from a pod's template. Panics at ports that no API server takes, and at name servers that are not played.
pub(super) fn of_the_node(pod: &Value, container: &Value) -> bool {
    let of_the_node = pod["hostNetwork"] == true;
    // Without a word such a pod asks the node's resolver, which knows no Services.
    let names = if of_the_node {
        "ClusterFirstWithHostNet"
    } else {
        "ClusterFirst"
    };
    assert_eq!(
        pod["dnsPolicy"].as_str().unwrap_or("ClusterFirst"),
        names,
        "the node's own resolver is not played"
    );
    for port in list(&container["ports"]) {
        let fields = ["name", "containerPort", "protocol", "hostPort", "hostIP"];
        only(port, "a port", &fields);
        let host = &port["hostPort"];
        let same = of_the_node && *host == port["containerPort"];
        assert!(
            host.is_null() || same,
            "a port of the node's is not played: {port}"
        );
    }
    of_the_node
}
