//! From a next hop to the addresses to connect to, in the order to try them (RFC 5321 5.1).
//!
//! Promises: an answer within [`DEADLINE`], whatever the name servers do; at most [`mx::MOST_HOSTS`] hosts with
//! [`MOST_ADDRESSES`] addresses each; never an address of our own listener. A failure is permanent only when
//! DNS clearly says that the domain takes no mail; everything doubtful is transient. What an operator
//! configured (a smarthost, a route) is never a reason to bounce: its failures are transient.

#[cfg(test)]
pub(crate) mod fake;
mod lookup;
mod mx;
#[cfg(test)]
mod tests;
mod txt;

pub use txt::txt_records;

use crate::route::HopKind;
use lookup::{Dns, Nothing};
use mx::Exchange;
use smtp::{Enhanced, Reply};
use smtp_config::{Config, NextHop};
use smtp_observe::Observer;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Longest time for all lookups of one next hop.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the hosts that are still being looked up are waited for once one is known.
const GRACE: Duration = Duration::from_secs(5);
/// Hosts whose addresses are looked up at the same time.
const CONCURRENT: usize = 8;
/// Most addresses taken of one host.
const MOST_ADDRESSES: usize = 10;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its name, lower case and without a final dot: for certificates and the log. An address when
    /// the hop is one.
    pub name: String,
    /// Where to connect.
    pub address: SocketAddr,
}

/// Who we are: to find mail loops, and to sign reports.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// `server.hostname`.
    pub hostname: String,
    /// Addresses that our listener answers on.
    pub addresses: Vec<IpAddr>,
    /// Of our SMTP listeners.
    pub ports: [u16; 3],
}

impl Own {
    /// As configured; a listener on all addresses answers on those of every interface.
    pub(crate) fn new(config: &Config) -> Self {
        let mut addresses: Vec<IpAddr> = config.server.host.iter().map(IpAddr::to_canonical).collect();
        if addresses.iter().any(IpAddr::is_unspecified) {
            addresses.extend(interface_addresses());
        }
        Own {
            hostname: config.server.hostname.clone(),
            addresses,
            ports: [config.server.port, config.smtps.port, config.submission.port],
        }
    }

    fn is_name(&self, name: &str) -> bool {
        self.hostname
            .strip_suffix('.')
            .unwrap_or(&self.hostname)
            .eq_ignore_ascii_case(name)
    }

    fn is_address(&self, ip: IpAddr, port: u16) -> bool {
        self.ports.contains(&port) && self.addresses.contains(&ip)
    }
}

fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    interfaces
        .filter_map(|interface| address(interface.address?))
        .collect()
}

/// Finds servers by DNS. Its cache is shared by everyone who uses it.
#[derive(Debug)]
pub(crate) struct Resolver {
    dns: Dns,
}

impl Resolver {
    /// A resolver that asks `dns.servers`, or the system's. Needs no runtime and asks nothing yet.
    /// The error says what is wrong with the settings.
    pub(crate) fn new(config: &Config, observer: Observer) -> Result<Self, String> {
        Ok(Resolver {
            dns: Dns::new(&config.dns.servers, observer)?,
        })
    }

    /// The servers of a next hop in the order to try them, at least one; `default_port` is that of
    /// an MX. Else why there is none: a transient or permanent reply. Takes at most 30 s.
    pub(crate) async fn endpoints(
        &self,
        kind: &HopKind,
        default_port: u16,
        own: &Own,
    ) -> Result<Vec<Endpoint>, Reply> {
        let deadline = Instant::now() + DEADLINE;
        match kind {
            HopKind::Mx(domain) => self.of_domain(domain, default_port, own, deadline).await,
            HopKind::Host(hop) => self.of_host(hop, own, deadline).await,
        }
    }

    async fn of_domain(
        &self,
        domain: &str,
        port: u16,
        own: &Own,
        deadline: Instant,
    ) -> Result<Vec<Endpoint>, Reply> {
        let name = lookup::absolute(domain).ok_or_else(|| {
            Reply::with(
                550,
                Enhanced(5, 1, 2),
                format!("{domain} is not a domain name that DNS can hold"),
            )
        })?;
        let records = timeout_at(deadline, self.dns.mx(name))
            .await
            .unwrap_or(Err(Nothing::late()));
        let exchanges = match records {
            Ok(records) => mx::exchanges(domain, records)?,
            // RFC 5321 5.1: without MX records the domain is its own mail exchanger.
            Err(Nothing::NoRecords) => vec![Exchange {
                preference: 0,
                name: domain.to_owned(),
            }],
            Err(Nothing::NoDomain) => {
                return Err(Reply::with(
                    550,
                    Enhanced(5, 1, 2),
                    format!("domain {domain} does not exist"),
                ));
            }
            Err(Nothing::Transient(reason)) => return Err(lookup_failed(domain, &reason)),
        };
        let exchanges = mx::before_ourselves(domain, exchanges, own)?;
        let found = self.addresses_of(&exchanges, deadline).await;
        arrange(domain, &exchanges, found, port, own)
    }

    /// The addresses of each host, in their order; what is not known in time is a transient failure.
    async fn addresses_of(
        &self,
        hosts: &[Exchange],
        mut deadline: Instant,
    ) -> Vec<Result<Vec<IpAddr>, Nothing>> {
        let mut found: Vec<_> = hosts.iter().map(|_| Err(Nothing::late())).collect();
        let mut waiting = hosts.iter().enumerate();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < CONCURRENT
                && let Some((place, host)) = waiting.next()
            {
                let (dns, name) = (self.dns.clone(), host.name.clone());
                tasks.spawn(async move { (place, dns.addresses_of_exchange(&name).await) });
            }
            match timeout_at(deadline, tasks.join_next()).await {
                Ok(Some(Ok((place, result)))) => {
                    if result.is_ok() {
                        deadline = deadline.min(Instant::now() + GRACE);
                    }
                    if let Some(slot) = found.get_mut(place) {
                        *slot = result;
                    }
                }
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => return found,
            }
        }
    }

    async fn of_host(&self, hop: &NextHop, own: &Own, deadline: Instant) -> Result<Vec<Endpoint>, Reply> {
        let text = hop
            .host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(&hop.host);
        let (name, addresses) = match text.parse::<IpAddr>() {
            Ok(ip) => (text.to_owned(), Ok(vec![ip])),
            Err(_) => {
                let found = timeout_at(deadline, self.dns.host(text)).await;
                let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
                (name, found.unwrap_or(Err(Nothing::late())))
            }
        };
        let addresses = match addresses {
            Ok(addresses) => usable(addresses),
            Err(Nothing::Transient(reason)) => return Err(lookup_failed(&name, &reason)),
            Err(Nothing::NoDomain | Nothing::NoRecords) => Vec::new(),
        };
        let endpoints: Vec<Endpoint> = addresses
            .into_iter()
            .filter(|ip| !own.is_address(*ip, hop.port))
            .map(|ip| Endpoint {
                name: name.clone(),
                address: SocketAddr::new(ip, hop.port),
            })
            .collect();
        if endpoints.is_empty() {
            return Err(Reply::with(
                451,
                Enhanced(4, 3, 5),
                format!(
                    "next hop {name} has no usable address, or is this server itself: \
                     check relay.smarthost, routes and domains"
                ),
            ));
        }
        Ok(endpoints)
    }
}

/// The endpoints of the hosts that were found, up to the first that is ourselves.
fn arrange(
    domain: &str,
    exchanges: &[Exchange],
    found: Vec<Result<Vec<IpAddr>, Nothing>>,
    port: u16,
    own: &Own,
) -> Result<Vec<Endpoint>, Reply> {
    let mut transient = None;
    let mut hosts = Vec::new();
    for (exchange, result) in exchanges.iter().zip(found) {
        match result {
            Ok(addresses) => hosts.push((exchange, usable(addresses))),
            Err(Nothing::Transient(reason)) => transient = Some((&exchange.name, reason)),
            Err(Nothing::NoDomain | Nothing::NoRecords) => {}
        }
    }
    let is_own = |addresses: &[IpAddr]| addresses.iter().any(|ip| own.is_address(*ip, port));
    let ours = hosts
        .iter()
        .filter(|(_, addresses)| is_own(addresses))
        .map(|(host, _)| host.preference)
        .min();
    let mut endpoints = Vec::new();
    for (host, addresses) in hosts
        .into_iter()
        .filter(|(host, _)| ours.is_none_or(|ours| host.preference < ours))
    {
        for address in addresses.into_iter().map(|ip| SocketAddr::new(ip, port)) {
            if !endpoints.iter().any(|known: &Endpoint| known.address == address) {
                endpoints.push(Endpoint {
                    name: host.name.clone(),
                    address,
                });
            }
        }
    }
    match (endpoints.is_empty(), transient, ours) {
        (false, ..) => Ok(endpoints),
        (true, Some((name, reason)), _) => Err(lookup_failed(name, &reason)),
        (true, None, Some(_)) => Err(mx::loops_back(domain)),
        (true, None, None) => Err(Reply::with(
            550,
            Enhanced(5, 4, 4),
            format!(
                "no host for mail to {domain}: neither its MX records nor its name have a usable address"
            ),
        )),
    }
}

fn lookup_failed(name: &str, reason: &str) -> Reply {
    Reply::with(
        451,
        Enhanced(4, 4, 3),
        format!("DNS lookup of {name} failed: {reason}"),
    )
}

/// The addresses that can be connected to, bounded; both families by turns, IPv4 first, because hosts
/// without an IPv6 route and receivers that are strict with IPv6 senders are both common.
fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let unicast = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast()),
    };
    let addresses = addresses.into_iter().map(|ip| ip.to_canonical()).filter(unicast);
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv4);
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    let mut turns = Vec::new();
    while turns.len() < MOST_ADDRESSES {
        let before = turns.len();
        turns.extend(v4.next());
        turns.extend(v6.next());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(MOST_ADDRESSES);
    turns
}
