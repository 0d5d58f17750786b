//! The settings themselves.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What the server is run for; decides defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Loopback, every message captured, nothing leaves the machine.
    #[default]
    Development,
    /// All interfaces; refuses to start without what production needs.
    Production,
    /// Loopback, routes as configured, no requirements: for automated tests.
    Testing,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub profile: Profile,
    pub server: Server,
    pub limits: Limits,
    pub rate_limiting: RateLimiting,
    pub logging: Logging,
    pub metrics: Metrics,
    pub http: Http,
    pub admin: Admin,
    pub storage: Storage,
    pub relay: Relay,
    pub delivery: Delivery,
    pub dns: Dns,
    pub routes: Vec<Route>,
    pub domains: Vec<Domain>,
}

#[derive(Clone, Debug)]
pub struct Server {
    /// HELO name and greeting; default: the system's name.
    pub hostname: String,
    /// Default "ESMTP Server Ready".
    pub banner: String,
    /// Addresses to bind; SMTP_HOST. Default dual-stack: `["::"]` bound dual-stack in production (falls back to 0.0.0.0 without IPv6), `["127.0.0.1", "::1"]` else.
    pub host: Vec<IpAddr>,
    /// SMTP_PORT, 2525.
    pub port: u16,
    /// 10000
    pub max_connections: usize,
    /// 300 s
    pub connection_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// 26214400 octets
    pub max_message_size: u64,
    /// 100
    pub max_recipients: usize,
    /// 998 octets
    pub max_line_length: usize,
    /// Received fields; 50
    pub max_hops: u32,
    /// octets per second within DATA, averaged over 30 s; 500; 0 = off
    pub min_data_rate: u64,
    /// true: 554 for input where the client must wait
    pub refuse_unauthorized_pipelining: bool,
}

#[derive(Clone, Debug)]
pub struct RateLimiting {
    /// true
    pub enabled: bool,
    /// 100
    pub requests_per_minute: u32,
    /// 20
    pub burst_size: u32,
    /// 127.0.0.0/8, ::1/128
    pub exempt: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Debug)]
pub struct Logging {
    pub level: LogLevel,
    /// None: text on a terminal, else json.
    pub format: Option<LogFormat>,
}

#[derive(Clone, Debug)]
pub struct Metrics {
    /// true
    pub enabled: bool,
    /// None: on the http listener (http.port). Set to another port: a listener of its own. 
    pub port: u16,
    /// "/metrics"
    pub path: String,
}

#[derive(Clone, Debug)]
pub struct Http {
    /// like server.host
    pub host: Vec<IpAddr>,
    /// SMTP_HTTP_PORT, 8080
    pub port: u16,
}

/// A value that is never shown: Debug prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug)]
pub struct Admin {
    /// SMTP_ADMIN_PASSWORD. Without one the server makes one at start (development and testing) and prints it.
    pub password: Option<Secret>,
}

#[derive(Clone, Debug)]
pub struct Storage {
    /// SMTP_DB_PATH, ./data/smtp.db
    pub path: PathBuf,
    /// 64 MiB: octets that stay free
    pub min_free: u64,
    /// 32 MiB: octets of message bodies held in memory
    pub memory_budget: usize,
}

#[derive(Clone, Debug)]
pub struct Relay {
    pub networks: Vec<IpNet>,
    pub smarthost: Option<NextHop>,
}

/// `smtp://host[:port]`, host a name or address (IPv6 in brackets). Default port 25.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    pub host: String,
    pub port: u16,
}

/// TLS towards a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    None,
    /// STARTTLS when offered, any certificate; in clear when the handshake fails.
    #[default]
    Opportunistic,
    /// STARTTLS or no delivery; any certificate.
    Required,
    /// STARTTLS with a certificate that chains to a root and names the host, or no delivery.
    Verified,
}

#[derive(Clone, Debug)]
pub struct Route {
    /// `match`: `example.com`, `*.example.com` (its subdomains), `*` ; first match wins; lower case
    pub pattern: String,
    pub to: NextHop,
    pub tls: TlsPolicy,
}

#[derive(Clone, Debug)]
pub struct Domain {
    /// lower case
    pub name: String,
    pub deliver: LocalDelivery,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDelivery {
    /// `maildir:/data/mail/{domain}/{local}`
    Maildir(String),
    /// `capture`
    Capture,
    /// `smtp:host:port`
    Smtp(NextHop),
}

#[derive(Clone, Debug)]
pub struct Delivery {
    /// development: true. Every recipient of every domain is accepted and captured; nothing leaves the machine.
    pub capture: bool,
    /// 300 s
    pub retry_initial: Duration,
    /// 3600 s
    pub retry_max: Duration,
    /// 432000 s
    pub expire_after: Duration,
    /// 14400 s; 0 = never
    pub delay_notice_after: Duration,
    /// 25
    pub port: u16,
    /// Most connections to one destination; 20
    pub max_connections_per_destination: usize,
    /// Most connections in all; 500
    pub max_connections: usize,
    /// Character that separates a subaddress: "+"; "" = off
    pub subaddress_separator: String,
    /// Address that gets a copy of double bounces; none
    pub double_bounce_to: Option<String>,
    /// TLS when no route says otherwise
    pub tls: TlsPolicy,
    /// roots for `verified` instead of the built-in ones
    pub ca_file: Option<PathBuf>,
    /// seconds to wait for a TCP connection; 30
    pub connect_timeout: Duration,
    /// seconds to wait for the reply after the final dot; 600 (RFC 5321 4.5.3.2.6)
    pub final_timeout: Duration,
    /// seconds an idle connection is kept for reuse; 5
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Dns {
    /// empty: the system's
    pub servers: Vec<SocketAddr>,
}
