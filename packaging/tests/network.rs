//! What a cluster's network does to the server: Services that hide clients or do not, NetworkPolicies in force, and a proxy
//! that says who the client is.

mod network {
    mod policies;
    pub(crate) mod town;
    mod services;
    mod proxy;
    pub(crate) mod pods;
}
