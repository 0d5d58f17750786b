//! Who a pod is.

use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};

/// What the node is called.
pub(super) const NODE: &str = "node-1";

/// What a pod is called, whose account it has, where it is.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Its service account.
    pub(super) account: String,
    pub(super) address: IpAddr,
    /// Its node's address.
    pub(super) node: Ipv4Addr,
    /// The user of its container.
    pub(super) uid: u32,
}

impl Identity {
    /// Of a workload's pod with that number, or of a pod that is by itself. Of a Deployment's and a Job's pods the name says nothing, but no
    /// two have the same.
    pub(super) fn of(workload: &Value, number: u32, uid: u32, address: IpAddr, node: Ipv4Addr) -> Identity {
        let base = workload["metadata"]["name"].as_str().expect("a name");
        let name = match workload["kind"].as_str() {
            Some("StatefulSet") => format!("{base}-{number}"),
            Some("Deployment") => format!("{base}-6d9f7c5b8-{number:05}"),
            Some("Job") => format!("{base}-{number:05}"),
            Some("Pod") => base.to_owned(),
            other => panic!("no workload that is played: {other:?}"),
        };
        let text = |value: &Value| value.as_str().unwrap_or("default").to_owned();
        Identity {
            name,
            namespace: text(&workload["metadata"]["namespace"]),
            account: text(&super::spec::pod(workload)["serviceAccountName"]),
            address,
            node,
            uid,
        }
    }

    /// What the downward API says of it.
    pub(super) fn field(&self, field: &str) -> String {
        match field {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.clone(),
            "spec.serviceAccountName" => self.account.clone(),
            "status.podIP" | "status.podIPs" => self.address.to_string(),
            "status.hostIP" => self.node.to_string(),
            "spec.nodeName" => NODE.to_owned(),
            _ => panic!("the kubelet of the tests does not play the field {field}"),
        }
    }

    /// What the API server calls its account.
    pub(super) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.account)
    }
}
