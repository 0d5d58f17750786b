//! Who has which address. The cluster is in networks for benchmarks and unique local ones; what plays the internet is in
//! networks for documentation, which no policy takes for private.

use std::net::IpAddr;

/// The node's own: what pods see of clients when a Service hides them.
pub const NODE: [&str; 2] = ["198.18.0.1", "fd00:18::1"];

/// The n-th pod of the namespace `mail`.
pub fn pod(n: u8) -> [IpAddr; 2] {
    both(&format!("198.18.1.{n}"), &format!("fd00:18:1::{n}"))
}

/// The n-th pod of another namespace.
pub fn other_pod(n: u8) -> [IpAddr; 2] {
    both(&format!("198.18.2.{n}"), &format!("fd00:18:2::{n}"))
}

/// The n-th Service.
pub fn service(n: u8) -> [IpAddr; 2] {
    both(&format!("198.19.0.{n}"), &format!("fd00:19::{n}"))
}

/// The n-th host on the internet.
pub fn internet(n: u8) -> [IpAddr; 2] {
    both(&format!("203.0.113.{n}"), &format!("2001:db8:1::{n}"))
}

/// The n-th host of the operator's private network, outside of the cluster.
pub fn private(n: u8) -> [IpAddr; 2] {
    both(&format!("10.9.0.{n}"), &format!("fd09::{n}"))
}

/// Where clouds tell a machine its credentials.
pub const METADATA: &str = "169.254.169.254";

/// One address of each family.
pub fn both(v4: &str, v6: &str) -> [IpAddr; 2] {
    [v4, v6].map(|address| address.parse().expect("an address"))
}
