//! Questions to DNS, and what their answers mean: found, certainly nothing, or not known now.

use super::mx::Exchange;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use rand::seq::SliceRandom;
use smtp_observe::{DnsResult, Event, Observer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time for one question to one server, in spite of what `resolv.conf` says.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Repetitions of a question that was not answered.
const RETRIES: usize = 2;
/// An answer is kept at least and at most this long: the first spares a server that says "0 s" a question per
/// message, the second lets a move of a mail server be noticed within the hour.
const KEPT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// A "no such name" is kept at most this long, so that a mended zone is found at the next retry.
const KEPT_NEGATIVE: Duration = Duration::from_secs(120);
/// Aliases followed one after the other before they are taken for a loop.
const MOST_ALIASES: usize = 8;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// The name does not exist (NXDOMAIN).
    NoDomain,
    /// It exists, without records of that type.
    NoRecords,
    /// Not known now: why.
    Transient(String),
}

impl Nothing {
    pub(super) fn late() -> Self {
        Nothing::Transient("the name servers did not answer in time".into())
    }
}

impl From<NetError> for Nothing {
    fn from(error: NetError) -> Self {
        match &error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Nothing::NoDomain,
                ResponseCode::NoError => Nothing::NoRecords,
                code => Nothing::Transient(format!("the name server answered {code}")),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Nothing::Transient(format!("the name server answered {code}"))
            }
            NetError::Timeout => Nothing::late(),
            other => Nothing::Transient(other.to_string()),
        }
    }
}

/// The name servers, the cache, and the system's ways to complete a name. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Dns {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
    search: Arc<[Name]>,
    /// Dots from which on a name is tried as it is before the search list.
    ndots: usize,
    observer: Observer,
}

/// A question under way. One that is dropped without an answer was waited for as long as anybody would.
struct Question<'a> {
    observer: &'a Observer,
    name: String,
    record: RecordType,
    asked: Instant,
    answered: bool,
}

impl Question<'_> {
    fn came_to(&mut self, result: DnsResult, text: Option<&str>) {
        self.answered = true;
        self.observer.emit(Event::DnsLookup {
            name: &self.name,
            record: self.record.into(),
            result,
            text,
            duration: self.asked.elapsed(),
        });
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.came_to(DnsResult::Failed, Some("it was not answered in time"));
        }
    }
}

impl Dns {
    /// Asks `servers`, or those of `resolv.conf` when there are none.
    pub(super) fn new(servers: &[SocketAddr], observer: Observer) -> Result<Self, String> {
        let (system, system_options) = system_settings()?;
        let options = ResolverOpts::default();
        let timeout = system_options.timeout.clamp(Duration::from_secs(1), TIMEOUT);
        let search: Vec<Name> = match (system.search(), system.domain()) {
            ([], Some(domain)) => vec![domain.clone()],
            (search, _) => search.to_vec(),
        };
        let name_servers = match servers {
            [] => system.name_servers().to_vec(),
            servers => servers.iter().map(name_server).collect(),
        };
        let dns = Self::with(name_servers, timeout, options, observer)?;
        Ok(Dns {
            search: search.into(),
            ndots: system_options.ndots,
            ..dns
        })
    }

    /// A resolver with these servers and this time-out, without search list.
    pub(super) fn with(
        servers: Vec<NameServerConfig>,
        timeout: Duration,
        mut options: ResolverOpts,
        observer: Observer,
    ) -> Result<Self, String> {
        options.timeout = timeout;
        options.attempts = RETRIES;
        // Mail goes by DNS alone; /etc/hosts is for hosts that an operator names.
        options.use_hosts_file = ResolveHosts::Never;
        (options.positive_min_ttl, options.positive_max_ttl) = (Some(KEPT.0), Some(KEPT.1));
        options.negative_max_ttl = Some(KEPT_NEGATIVE);
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder
            .build()
            .map_err(|error| format!("cannot use the DNS settings: {error}"))?;
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        Ok(Dns {
            resolver,
            hosts,
            search: Arc::new([]),
            ndots: 1,
            observer,
        })
    }

    /// With this search list.
    #[cfg(test)]
    pub(super) fn completed_by(self, search: &[&str], ndots: usize) -> Self {
        let search = search
            .iter()
            .filter_map(|domain| Name::from_ascii(domain).ok())
            .collect();
        Dns {
            search,
            ndots,
            ..self
        }
    }

    /// Asks for the records of a type, and says what came of it.
    async fn lookup(&self, name: Name, record: RecordType) -> Result<Lookup, Nothing> {
        let mut question = Question {
            observer: &self.observer,
            name: plain(&name),
            record,
            asked: Instant::now(),
            answered: false,
        };
        let answer = self.resolver.lookup(name, record).await.map_err(Nothing::from);
        let is_asked_for = |found: &Record| found.record_type() == record;
        match &answer {
            Ok(answer) if answer.answers().iter().any(is_asked_for) => {
                question.came_to(DnsResult::Found, None);
            }
            Ok(_) | Err(Nothing::NoRecords) => {
                question.came_to(DnsResult::NotFound, Some("there are no such records"));
            }
            Err(Nothing::NoDomain) => question.came_to(DnsResult::NotFound, Some("there is no such name")),
            Err(Nothing::Transient(reason)) => question.came_to(DnsResult::Failed, Some(reason)),
        }
        answer
    }

    /// The MX records of an absolute name; the root as target becomes an empty name. Aliases are followed.
    pub(super) async fn mx(&self, name: Name) -> Result<Vec<Exchange>, Nothing> {
        let answer = self.lookup(name, RecordType::MX).await?;
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            RData::MX(mx) => Some(Exchange {
                preference: mx.preference,
                name: plain(&mx.exchange),
            }),
            _ => None,
        });
        let records: Vec<Exchange> = records.collect();
        if records.is_empty() {
            Err(Nothing::NoRecords)
        } else {
            Ok(records)
        }
    }

    /// The TXT records of a name, the strings of each joined. Aliases are followed.
    pub(super) async fn txt(&self, name: &str) -> Result<Vec<String>, Nothing> {
        let name = absolute(name).ok_or(Nothing::NoRecords)?;
        let answer = self.lookup(name, RecordType::TXT).await?;
        let joined = |record: &Record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        };
        Ok(answer.answers().iter().filter_map(joined).collect())
    }

    /// The addresses of a mail exchanger.
    pub(super) async fn addresses_of_exchange(&self, name: &str) -> Result<Vec<IpAddr>, Nothing> {
        match absolute(name) {
            Some(name) => self.addresses(name).await,
            None => Err(Nothing::NoRecords),
        }
    }

    /// Both families of an absolute name, each in random order. One that fails while the other answers is
    /// left out.
    async fn addresses(&self, name: Name) -> Result<Vec<IpAddr>, Nothing> {
        let (v4, v6) = tokio::join!(
            self.family(name.clone(), RecordType::A),
            self.family(name.clone(), RecordType::AAAA)
        );
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok([v4, v6].concat()),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(Nothing::Transient(reason)), _) | (_, Err(Nothing::Transient(reason))) => {
                Err(Nothing::Transient(reason))
            }
            (Err(Nothing::NoDomain), _) | (_, Err(Nothing::NoDomain)) => Err(Nothing::NoDomain),
            _ if self.is_endless(name).await => {
                Err(Nothing::Transient("its aliases (CNAME) form a loop".into()))
            }
            _ => Err(Nothing::NoRecords),
        }
    }

    async fn family(&self, name: Name, family: RecordType) -> Result<Vec<IpAddr>, Nothing> {
        let answer = self.lookup(name, family).await?;
        let mut found: Vec<IpAddr> = answer
            .answers()
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect();
        found.shuffle(&mut rand::rng());
        if found.is_empty() {
            Err(Nothing::NoRecords)
        } else {
            Ok(found)
        }
    }

    /// Whether a name's aliases lead nowhere. The resolver reports such a loop as an empty answer, which must
    /// not be taken for a certain "nothing here".
    async fn is_endless(&self, mut name: Name) -> bool {
        for _ in 0..MOST_ALIASES {
            let answer = match self.lookup(name, RecordType::CNAME).await {
                Ok(answer) => answer,
                Err(Nothing::Transient(_)) => return true,
                Err(_) => return false,
            };
            let target = answer.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            match target {
                Some(target) => name = target,
                None => return false,
            }
        }
        true
    }

    /// The addresses of a host that an operator named: /etc/hosts first, then DNS with the search list, in
    /// the order that the system's own resolver has.
    pub(super) async fn host(&self, host: &str) -> Result<Vec<IpAddr>, Nothing> {
        let Some(name) = absolute(host) else {
            return Err(Nothing::NoDomain);
        };
        let known = self.in_hosts_file(&name);
        if !known.is_empty() {
            return Ok(known);
        }
        let mut worst = Nothing::NoDomain;
        for candidate in self.candidates(host, name) {
            match (self.addresses(candidate).await, &worst) {
                (Ok(found), _) => return Ok(found),
                (Err(nothing), Nothing::NoDomain) => worst = nothing,
                (Err(nothing @ Nothing::Transient(_)), _) => worst = nothing,
                _ => {}
            }
        }
        Err(worst)
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let families = [RecordType::A, RecordType::AAAA];
        let answers =
            families.map(|family| self.hosts.lookup_static_host(&Query::query(name.clone(), family)));
        let records = answers.iter().flatten().flat_map(|answer| answer.answers());
        records.filter_map(|record| record.data.ip_addr()).collect()
    }

    /// `host` as it is and with each search domain; a final dot means "as it is" only.
    fn candidates(&self, host: &str, name: Name) -> Vec<Name> {
        if host.ends_with('.') {
            return vec![name];
        }
        let mut relative = name.clone();
        relative.set_fqdn(false);
        let completed = self
            .search
            .iter()
            .filter_map(|domain| relative.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = completed.collect();
        let place = if host.matches('.').count() >= self.ndots {
            0
        } else {
            candidates.len()
        };
        candidates.insert(place, name);
        for candidate in &mut candidates {
            candidate.set_fqdn(true);
        }
        candidates
    }
}

/// What `resolv.conf` says. Like the C library, without a name server in it: 127.0.0.1.
fn system_settings() -> Result<(ResolverConfig, ResolverOpts), String> {
    let mut text = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    let is_server = |line: &[u8]| line.trim_ascii_start().starts_with(b"nameserver");
    if !text.split(|octet| *octet == b'\n').any(is_server) {
        text.extend_from_slice(b"\nnameserver 127.0.0.1\n");
    }
    system_conf::parse_resolv_conf(text)
        .map_err(|error| format!("cannot use /etc/resolv.conf: {error}; mend it or set dns.servers"))
}

pub(super) fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        let connection: &mut ConnectionConfig = connection;
        connection.port = address.port();
    }
    server
}

/// A name that no search list applies to.
pub(super) fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A name in lower case without its final dot.
fn plain(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}
