//! Where the mail of one address goes: captured, into a Maildir, or to a next hop.

use smtp::{Address, Reply};
use smtp_config::{Config, NextHop, TlsPolicy};
use std::fmt;
use std::sync::Arc;

/// Where the mail of one address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into a Maildir; the template of its folder, as configured.
    Maildir(Arc<str>),
    /// Into the capture folder.
    Capture,
    /// Over the network.
    Hop(Arc<Hop>),
}

/// A next hop, and how its connection is protected. Equal hops can share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// How the servers are found.
    pub kind: HopKind,
    /// TLS towards them.
    pub tls: TlsPolicy,
}

/// How the servers of a next hop are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HopKind {
    /// By the MX records of this domain: ASCII, lower case (an A-label where it is international).
    Mx(String),
    /// This host, a name or an address, with its port.
    Host(NextHop),
}

impl fmt::Display for HopKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// The routing table, made of the configuration once.
#[derive(Debug)]
pub struct Router {}

impl Router {
    /// The table of this configuration.
    pub fn new(config: &Config) -> Self {
        let _ = config;
        todo!()
    }
    /// Where mail for `address` goes, or why it can go nowhere (a permanent reply).
    pub fn target(&self, address: &Address) -> Result<Target, Reply> {
        let _ = address;
        todo!()
    }
}
