//! What a cluster's network does to the server: Services that hide clients or do not, NetworkPolicies in force, and a proxy
//! that says who the client is.

mod network {
    pub(crate) mod pods;
    mod policies;
    mod proxy;
    mod services;
    pub(crate) mod town;
}
