//! From a next hop to the addresses to connect to, in the order to try them.

use crate::route::HopKind;
use smtp::Reply;
use smtp_config::Config;
use std::net::{IpAddr, SocketAddr};

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, lower case and without a final dot: for certificates and the log. An address when
    /// the hop is one.
    pub name: String,
    /// Where to connect.
    pub address: SocketAddr,
}

/// Who we are: to find mail loops, and to sign reports.
#[derive(Clone, Debug)]
pub struct Own {
    /// `server.hostname`.
    pub hostname: String,
    /// Addresses that our listener answers on.
    pub addresses: Vec<IpAddr>,
    /// `server.port`.
    pub port: u16,
}

impl Own {
    /// As configured; a listener on all addresses answers on those of every interface.
    pub fn new(config: &Config) -> Self {
        let _ = config;
        todo!()
    }
}

/// Finds servers by DNS. Its cache is shared by everyone who uses it.
#[derive(Debug)]
pub struct Resolver {}

impl Resolver {
    /// A resolver that asks `dns.servers`, or the system's. Needs no runtime and asks nothing yet.
    /// The error says what is wrong with the settings.
    pub fn new(config: &Config) -> Result<Self, String> {
        let _ = config;
        todo!()
    }
    /// The servers of a next hop in the order to try them, at least one; `default_port` is that of
    /// an MX. Else why there is none: a transient or permanent reply. Takes at most 30 s.
    pub async fn endpoints(
        &self,
        kind: &HopKind,
        default_port: u16,
        own: &Own,
    ) -> Result<Vec<Endpoint>, Reply> {
        let _ = (kind, default_port, own);
        todo!()
    }
}
