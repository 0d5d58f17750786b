//! A cluster's network, made of network namespaces and nftables: pods and other hosts behind a node ([`cluster`]), each in
//! a namespace of its own ([`space`]), the server in pods ([`pods`]), Service addresses ([`cluster::Service`], from what was
//! rendered by [`service`]), NetworkPolicies in force ([`policy`]), a balancer that says who its clients are ([`haproxy`]),
//! and connections that are tried ([`probe`]).
//!
//! Nothing of it is connected with the machine's network, so addresses are free to be what they stand for: an internet
//! ([`addresses`]), private networks, the metadata service. It needs root.

pub mod addresses;
pub mod cluster;
pub mod haproxy;
pub mod pods;
pub mod policy;
pub mod probe;
pub mod service;
pub mod space;
