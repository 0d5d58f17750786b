//! `k8s/`: every overlay and component is rendered, held against schemas and practice, looked at for what it means, and
//! given to the real server to read.

mod manifests {
    mod api_server;
    mod asked;
    mod controllers;
    mod discovery;
    mod faults;
    mod fields;
    mod judged;
    mod links;
    mod meaning;
    mod metrics;
    mod others_namespace;
    mod pod_streams;
    mod policies;
    mod quick_start;
    pub(crate) mod rendered;
}
