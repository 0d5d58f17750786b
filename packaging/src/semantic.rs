//! What a schema cannot say about manifests: whether the objects fit each other, and the server.
//!
//! [`findings`] looks at everything that one `kubectl apply` brings, from the manifests or from the chart. What it finds is
//! one line each, `Kind/name: what is wrong`; nothing found means that the pods would start, be reached, and be looked
//! after. [`network::Policies`] answers what the NetworkPolicies let through.

mod configuration;
mod meaning;
pub mod network;
mod pods;
mod ports;
mod references;
mod rights;
mod scaling;

pub use configuration::proxies;
pub use meaning::{Labels, Set, Workload};
pub(crate) use meaning::{quantity, selects};

use serde_json::Value;

/// What is wrong with these objects, together.
pub fn findings(objects: &[Value]) -> Vec<String> {
    findings_but(objects, &[])
}

/// The same, where some objects (kind, name) are made by somebody else.
pub fn findings_but(objects: &[Value], outside: &[(&str, &str)]) -> Vec<String> {
    let set = Set::new(objects, outside);
    let mut found = Vec::new();
    pods::look(&set, &mut found);
    references::look(&set, &mut found);
    for pods in set.all_pods() {
        rights::look(&set, pods, &mut found);
    }
    ports::look(&set, &mut found);
    scaling::look(&set, &mut found);
    configuration::look(&set, &mut found);
    network::look(&set, &mut found);
    found.sort();
    found.dedup();
    found
}
