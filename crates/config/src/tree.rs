//! The settings themselves: each is declared here, once.
//!
//! `key: Type = default, Live|Restart, options;` where `Live` settings take effect on reload. Options:
//! `env` (short variable), `unit`, `range`, `secret`, `default_words`, and `follows` with `follow` for a
//! setting that takes another's value when it is not set itself.

use crate::descriptor::{Descriptor, Reload, settings};
use crate::kinds::{
    Fraction, HttpUrl, LogFormat, LogLevel, MessagePipelining, Profile, ProxyProtocol, Rate, Secret,
    TlsPolicy, TlsVersion,
};
use crate::kinds::{loopback_addresses, loopback_networks, system_hostname, wildcard_address};
use crate::lists::{Account, AdminToken, Alias, CertificateFiles, DkimKeyFile, Domain, Route, Webhook};
use crate::value::Value;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// The longest time that can be set: ten years.
const LONGEST: u64 = 315_360_000;

settings! { profile;

/// The server's name, and where it takes mail.
server: Server {
    /// Name in the greeting, in EHLO to next hops and in `Received:` fields. Production needs it set, fully
    /// qualified; it should resolve to the address that next hops see.
    hostname: String = system_hostname(), Live, env: "SMTP_HOSTNAME", default_words: "the system's name";
    /// Text of the greeting after the name.
    banner: String = "ESMTP Server Ready".into(), Live;
    /// Addresses to listen on. `::` takes IPv4 as well.
    host: Vec<IpAddr> = match profile {
        Profile::Production => wildcard_address(),
        Profile::Development | Profile::Testing => loopback_addresses(),
    }, Restart, env: "SMTP_HOST";
    /// Port of the `smtp` listener; 0 takes any free port (not in production).
    port: u16 = 2525, Restart, env: "SMTP_PORT";
    /// Whether a proxy in front of the `smtp` listener tells who the client is. With `v2` every connection has to come from
    /// `server.proxy_networks` and begin with a header of the PROXY protocol, version 2; any other is refused.
    proxy_protocol: ProxyProtocol = ProxyProtocol::Off, Live;
    /// Addresses of the proxies, as narrow as can be: what is there can pass for any client. Behind a proxy these addresses are never
    /// taken for `relay.networks`.
    proxy_networks: Vec<IpNet> = Vec::new(), Live;
    /// Sessions at once; beyond it a connection is answered `421 4.3.2`. One client gets a tenth, at least 20
    /// (`421 4.7.0`), unless it is in `rate_limiting.exempt` or `rate_limiting.enabled` is false.
    max_connections: usize = 10_000, Live, range: (1, 1_000_000);
    /// Sessions of one account at once; AUTH in a further one is answered `454 4.7.0`. Not for clients in `rate_limiting.exempt`, or when
    /// `rate_limiting.enabled` is false. With PostgreSQL all servers have it together.
    max_connections_per_account: usize = 1000, Live, range: (1, 1_000_000);
    /// How long a session may be idle (RFC 5321 section 4.5.3.2).
    connection_timeout: Duration = Duration::from_secs(300), Live, range: (1, 86_400);
    /// Address that gets the mail for `postmaster@` and `abuse@` of domains where no account or alias has that name;
    /// without it the first declared account that is an address gets it, and else a mailbox of that name.
    postmaster: Option<String> = None, Live;
}

/// The listener for submission in TLS from the first octet (RFC 8314).
smtps: Smtps {
    /// Whether it is open.
    enabled: bool = true, Restart, follows: "tls.enabled", follow: |c| c.smtps.enabled = c.tls.enabled;
    /// Its port; 0 takes any free port (not in production).
    port: u16 = 4650, Restart, env: "SMTP_SMTPS_PORT";
    /// Whether a proxy tells who the client is, as `server.proxy_protocol` has it.
    proxy_protocol: ProxyProtocol = ProxyProtocol::Off, Live, follows: "server.proxy_protocol",
        follow: |c| c.smtps.proxy_protocol = c.server.proxy_protocol;
    /// Addresses of this listener's proxies.
    proxy_networks: Vec<IpNet> = Vec::new(), Live, follows: "server.proxy_networks",
        follow: |c| c.smtps.proxy_networks.clone_from(&c.server.proxy_networks);
}

/// The listener for submission with STARTTLS (RFC 6409).
submission: Submission {
    /// Whether it is open.
    enabled: bool = true, Restart, follows: "tls.enabled", follow: |c| c.submission.enabled = c.tls.enabled;
    /// Its port; 0 takes any free port (not in production).
    port: u16 = 5870, Restart, env: "SMTP_SUBMISSION_PORT";
    /// Whether a proxy tells who the client is, as `server.proxy_protocol` has it.
    proxy_protocol: ProxyProtocol = ProxyProtocol::Off, Live, follows: "server.proxy_protocol",
        follow: |c| c.submission.proxy_protocol = c.server.proxy_protocol;
    /// Addresses of this listener's proxies.
    proxy_networks: Vec<IpNet> = Vec::new(), Live, follows: "server.proxy_networks",
        follow: |c| c.submission.proxy_networks.clone_from(&c.server.proxy_networks);
}

/// TLS for clients. Files that are replaced are picked up without a restart.
tls: Tls {
    /// Whether clients are offered TLS. Without it nobody can authenticate.
    enabled: bool = true, Restart;
    /// PEM: the server's certificate, then its issuers. Production needs it; in the other profiles a certificate of an authority
    /// made for the purpose is used, both kept beside the database.
    cert_file: Option<PathBuf> = None, Live;
    /// PEM: its private key.
    key_file: Option<PathBuf> = None, Live;
    /// Least version that clients may speak.
    min_version: TlsVersion = TlsVersion::Tls12, Live;
    /// PEM: authorities whose certificates clients may show (AUTH EXTERNAL). Without it none is asked for.
    client_ca_file: Option<PathBuf> = None, Live;
    /// How long a handshake may take.
    handshake_timeout: Duration = Duration::from_secs(30), Live, range: (1, 600);
}

/// How accounts prove who they are.
auth: Auth {
    /// Failures with one account's name from one network (an IPv4 address, an IPv6 /64) after which no further attempt of that kind is looked
    /// at for a while. Five times as many from one network, and ten times as many with one name, lock these, but for accounts where
    /// they logged in before. Every failure is answered late.
    lock_after: u32 = 10, Live, range: (1, 100_000);
    /// How long that is, and how long failures are remembered.
    lock_for: Duration = Duration::from_secs(900), Live, range: (1, 86_400);
    /// Passwords checked at once, each for some hundredths of a second of a core and with 19 MiB of memory; the others wait.
    max_hashing: usize = 2, Restart, range: (1, 256);
}

/// Tokens for AUTH OAUTHBEARER and XOAUTH2: signed by an issuer whose keys are known. Off without `oauth.issuer`.
oauth: Oauth {
    /// What a token's `iss` must be; in a Kubernetes cluster usually `https://kubernetes.default.svc.cluster.local`.
    issuer: Option<String> = None, Live;
    /// What a token's `aud` must hold, one of these.
    audience: Vec<String> = Vec::new(), Live;
    /// File with the issuer's keys (JWKS).
    jwks_file: Option<PathBuf> = None, Live;
    /// URL of the issuer's keys, `https://` (`http://` on loopback only).
    jwks_url: Option<String> = None, Live;
    /// PEM: authorities that `oauth.jwks_url` is trusted by, instead of the built-in roots.
    jwks_ca_file: Option<PathBuf> = None, Live;
    /// File with a bearer token for `oauth.jwks_url`.
    jwks_token_file: Option<PathBuf> = None, Live;
    /// Claim that names the sender: a name, or a JSON pointer (`/kubernetes.io/serviceaccount/name`). Its value is an account's
    /// name, or one of its `identities` (`oauth:VALUE`).
    account_claim: String = "sub".into(), Live;
}

/// Signing (RFC 6376) with one key given here; more by `[[dkim_keys]]` and `smtp-server dkim`.
dkim: Dkim {
    /// The key: PEM, RSA (2048 bits or more) or Ed25519.
    private_key: Option<Secret> = None, Live, env: "SMTP_DKIM_PRIVATE_KEY", secret: true;
    /// Its selector.
    selector: String = "default".into(), Live;
    /// The domain it signs for, and its subdomains.
    domain: Option<String> = None, Live, follows: "server.hostname", default_words: "the domain above `server.hostname`",
        follow: |c| c.dkim.domain = c.server.hostname.split_once('.').map(|(_, domain)| domain.to_owned());
}

/// What a client may send.
limits: Limits {
    /// Largest message; announced by SIZE, enforced at MAIL and while receiving.
    max_message_size: u64 = 25 * MIB, Live, unit: "octets", range: (1024, 1 << 40);
    /// Recipients of one message; the rest get `452 4.5.3`.
    max_recipients: usize = 100, Live, range: (1, 100_000);
    /// Longest text line without its CRLF; a message with a longer one is refused after its end.
    max_line_length: usize = 998, Live, unit: "octets", range: (78, MIB);
    /// `Received:` fields of a message; with more it is refused as a loop (RFC 5321 section 6.3).
    max_hops: u32 = 50, Live, range: (1, 1000);
    /// Largest header of a message that is changed or signed: one from an account, or from `relay.networks` with a key at hand.
    max_header_size: usize = 256 * 1024, Live, unit: "octets", range: (4096, 16 * MIB);
    /// Least rate within DATA and BDAT, averaged over 30 seconds; a slower client is cut off. 0 turns it off.
    min_data_rate: u64 = 500, Live, unit: "octets per second", range: (0, 1 << 30);
    /// Whether input is refused with 554 where the client has to wait for a reply (RFC 2920 section 3.1).
    refuse_unauthorized_pipelining: bool = true, Live;
}

/// A token bucket for each client address: a connection and a MAIL take one token each.
rate_limiting: RateLimiting {
    /// Whether clients are limited.
    enabled: bool = true, Live;
    /// Tokens a bucket gains in a minute.
    requests_per_minute: u32 = 100, Live, range: (1, 10_000_000);
    /// Tokens a bucket holds.
    burst_size: u32 = 20, Live, range: (1, 10_000_000);
    /// Networks that are not limited.
    exempt: Vec<IpNet> = loopback_networks(), Live;
}

/// The log, on standard output.
logging: Logging {
    /// Least severity that is written.
    level: LogLevel = LogLevel::Info, Live, env: "SMTP_LOG_LEVEL";
    /// One line an event, for machines or for people.
    format: Option<LogFormat> = match profile {
        Profile::Production => Some(LogFormat::Json),
        Profile::Development | Profile::Testing => None,
    }, Live, env: "SMTP_LOG_FORMAT", default_words: "`text` on a terminal, else `json`; production: `json`";
}

/// Prometheus metrics.
metrics: Metrics {
    /// Whether metrics can be read.
    enabled: bool = true, Restart;
    /// Port where they can be read; with another port than `http.port`, a listener of their own.
    port: u16 = 8080, Restart, follows: "http.port", follow: |c| c.metrics.port = c.http.port;
    /// Path where they can be read.
    path: String = "/metrics".into(), Restart;
}

/// Health, metrics and admin API.
http: Http {
    /// Addresses to listen on.
    host: Vec<IpAddr> = match profile {
        Profile::Production => wildcard_address(),
        Profile::Development | Profile::Testing => loopback_addresses(),
    }, Restart, follows: "server.host", follow: |c| c.http.host.clone_from(&c.server.host);
    /// Port to listen on; 0 takes any free port (not in production).
    port: u16 = 8080, Restart, env: "SMTP_HTTP_PORT";
    /// Port of a listener of their own for admin API and console, which are then not on `http.port`; 0 leaves them there.
    admin_port: u16 = 0, Restart;
    /// Addresses that this listener is on: `127.0.0.1` keeps it to the machine, or the pod.
    admin_host: Vec<IpAddr> = match profile {
        Profile::Production => wildcard_address(),
        Profile::Development | Profile::Testing => loopback_addresses(),
    }, Restart, follows: "http.host", follow: |c| c.http.admin_host.clone_from(&c.http.host);
}

/// Pages for people, on the port of the API.
console: Console {
    /// Whether there are any. Who looks at them logs in with the admin password.
    enabled: bool = true, Restart;
}

/// Who may administer the server.
admin: Admin {
    /// Password of the user `admin`. Production needs one of at least 12 characters; in the other profiles
    /// one is made at each start and printed.
    /// With another one sessions of the console end; tokens go on.
    password: Option<Secret> = None, Live, env: "SMTP_ADMIN_PASSWORD", secret: true;
}

/// Where the queue is kept: in a file here, or in PostgreSQL, which any number of servers share.
storage: Storage {
    /// `postgresql://user@host:5432/name?sslmode=verify-full`, as for libpq: PostgreSQL 14 or newer keeps queue, directory, suspensions,
    /// history and audit trail. What it does not say is taken from `PGHOST` and its like.
    url: Option<Secret> = None, Restart, env: "SMTP_DATABASE_URL", secret: true, default_words: "none: SQLite at `storage.path`";
    /// File with the password for `storage.url`; read for each connection, so that it can be replaced.
    password_file: Option<PathBuf> = None, Restart;
    /// Connections to PostgreSQL at once.
    pool_size: usize = 10, Restart, range: (4, 1000);
    /// Whether `storage.url` leads to a pooler in transaction mode, as PgBouncer is: then statements are not prepared.
    pooler: bool = false, Restart;
    /// How long a start waits for a database that is away: not to be found or reached, being started, without a connection left. Then, and for
    /// what it refuses (password, name, certificate) at once, the process ends with exit code 75. 0: it does not wait.
    wait: Duration = Duration::from_secs(240), Restart, range: (0, 86_400);
    /// The database file; large bodies, the quarantine and the lock live beside it. Needs a local file system. With `storage.url` only its
    /// folder is used, for large bodies on their way, and nothing in it is needed after a restart.
    path: PathBuf = "./data/smtp.db".into(), Restart, env: "SMTP_DB_PATH";
    /// Space that stays free on the disk of `storage.path`; with less, MAIL gets `452 4.3.1`.
    min_free: u64 = 64 * MIB, Restart, unit: "octets", range: (0, 1 << 50);
    /// With `storage.url`: what messages over 256 KiB on their way in and out may take of the disk of `storage.path`, for a disk that ends before
    /// it is full, as an `emptyDir` does, whose pod is evicted. At least twice `limits.max_message_size` and 128 KiB. An eighth of it, and room
    /// for the largest message, is kept for what is read back to be delivered; beyond the rest a large message gets `452 4.3.1`, and so does one
    /// beyond a quarter of the rest (but room for the largest message) from one client that is not in `rate_limiting.exempt`. 0 takes all that
    /// is free.
    scratch_size: u64 = 0, Restart, unit: "octets", range: (0, 1 << 50);
    /// Message bodies held in memory at once while they are received; beyond it they go to files.
    memory_budget: usize = 32 * MIB as usize, Restart, unit: "octets", range: (0, 1 << 40);
}

/// What happened to each message, kept beside the queue's database for `history` and the console.
history: History {
    /// Whether it is kept.
    enabled: bool = true, Restart;
    /// How long after a message's end.
    retention: Duration = Duration::from_secs(7 * 86_400), Live, range: (60, LONGEST);
    /// Most that it takes on the disk; the oldest messages that have ended go first.
    max_size: u64 = 1024 * MIB, Live, unit: "octets", range: (1 << 20, 1 << 50);
}

/// Traces for OpenTelemetry: what sessions, mail, commits and delivery attempts take. Off without an endpoint.
tracing: Tracing {
    /// Where spans are sent, OTLP over HTTP (protobuf): `http://collector:4318`. Without a path it is `/v1/traces`.
    endpoint: Option<HttpUrl> = None, Live;
    /// The part that is traced of the mail that names no trace. Mail with a `traceparent` field, from accounts and `relay.networks`, is
    /// traced when its flag says so.
    sampling: Fraction = Fraction::ALL, Live;
    /// Header fields that are sent along, `name=value`, several with commas between: what the collector wants to know us by.
    headers: Option<Secret> = None, Live, secret: true;
    /// PEM: authorities that the collector is trusted by, instead of the built-in roots.
    ca_file: Option<PathBuf> = None, Live;
}

/// Who may send to other domains, and the way out. A client outside `relay.networks` reaches local domains only.
relay: Relay {
    /// Networks that may relay without authentication.
    networks: Vec<IpNet> = Vec::new(), Live;
    /// Next hop for everything that no route matches; without one mail goes to the MX.
    smarthost: Option<crate::NextHop> = None, Live;
    /// File with the password for the user in `relay.smarthost`.
    password_file: Option<PathBuf> = None, Live;
    /// TLS towards the smarthost. With a user in `relay.smarthost` it is `verified` when it is not set.
    tls: TlsPolicy = TlsPolicy::Opportunistic, Live, follows: "delivery.tls",
        follow: |c| c.relay.tls = c.relay.smarthost.as_ref().map_or(c.delivery.tls, |hop| hop.default_tls(c.delivery.tls));
}

/// How mail is sent on.
delivery: Delivery {
    /// Accept every recipient of every domain and keep the mail here: nothing leaves the machine. Not in production.
    capture: bool = profile == Profile::Development, Live;
    /// Wait after the first failed attempt; each wait is half as long again as the one before.
    retry_initial: Duration = Duration::from_secs(300), Live, range: (1, LONGEST);
    /// Longest wait between attempts.
    retry_max: Duration = Duration::from_secs(3600), Live, range: (1, LONGEST);
    /// Age at which a message is given up and its sender told.
    expire_after: Duration = Duration::from_secs(432_000), Live, range: (1, LONGEST);
    /// Age at which a sender is told that a message is late; 0 never tells.
    delay_notice_after: Duration = Duration::from_secs(14_400), Live, range: (0, LONGEST);
    /// Port of an MX.
    port: u16 = 25, Live, range: (1, 65_535);
    /// Connections to one destination at once.
    max_connections_per_destination: usize = 20, Live, range: (1, 10_000);
    /// Messages that go to one destination, in a second, a minute or an hour; one for many recipients counts once for each time that it is
    /// sent. After a pause as many go at once as in a second, and one at least. With PostgreSQL all servers have it together.
    max_rate_per_destination: Rate = Rate::NONE, Live;
    /// Connections to next hops at once.
    max_connections: usize = 500, Live, range: (1, 100_000);
    /// Character between a mailbox and its subaddress (`ann+lists`); empty turns subaddresses off.
    subaddress_separator: String = "+".into(), Live;
    /// Address that gets a copy of what can neither be delivered nor returned.
    double_bounce_to: Option<String> = None, Live;
    /// TLS towards next hops for which neither a route nor `relay.tls` says otherwise.
    tls: TlsPolicy = TlsPolicy::Opportunistic, Live;
    /// File with PEM certificates that `verified` trusts instead of the built-in roots.
    ca_file: Option<PathBuf> = None, Live;
    /// How long a TCP connection may take.
    connect_timeout: Duration = Duration::from_secs(30), Live, range: (1, 3600);
    /// How long the reply after the final dot may take (RFC 5321 section 4.5.3.2.6).
    final_timeout: Duration = Duration::from_secs(600), Live, range: (1, 86_400);
    /// How long a next hop may take for one block of a message's content (RFC 5321 section 4.5.3.2.5).
    block_timeout: Duration = Duration::from_secs(180), Live, range: (1, 3600);
    /// Least rate at which a next hop takes content; a slower one is given up when it is late by `block_timeout`. 0 turns it off.
    min_data_rate: u64 = 2000, Live, unit: "octets per second", range: (0, 1 << 30);
    /// How long a destination with mail may end no transaction before it counts as hanging: then it gets a share of
    /// `max_in_hand` only, and makes room when others wait for connections.
    hang_after: Duration = Duration::from_secs(10), Live, range: (1, 3600);
    /// Recipients that delivery has in hand at once; the others wait in the store.
    max_in_hand: usize = 10_000, Restart, range: (100, 1_000_000);
    /// How long an idle connection is kept for the next message.
    idle_timeout: Duration = Duration::from_secs(5), Live, range: (0, 300);
    /// To whom MAIL, RCPT and DATA of the next message leave together with the end of the one before (RFC 2920 section 3.1), so that a message
    /// costs one round trip in place of two: to `named` next hops, which are the smarthost, those of routes and address literals, `always`, or `never`. Only to servers that
    /// announce PIPELINING, while more waits than they have connections for.
    message_pipelining: MessagePipelining = MessagePipelining::Named, Live;
}

/// What a pod with SQLite does when it is scaled away: at the drain it asks the API server whether it comes back, and when it does not, it tries all
/// its mail once more before it goes. Off without `kubernetes.statefulset`; nothing of it is needed with `storage.url`.
kubernetes: Kubernetes {
    /// Name of the StatefulSet that this pod is of.
    statefulset: Option<String> = None, Live;
    /// Namespace of both.
    namespace: Option<String> = None, Live, default_words: "what the file `namespace` in `kubernetes.credentials_path` says";
    /// Name of this pod: the StatefulSet's, a hyphen and a number.
    pod: Option<String> = None, Live, default_words: "the host name";
    /// The API server, `https://host:port`.
    api: Option<HttpUrl> = None, Live, default_words: "what `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` say";
    /// Folder with the files `token`, which the API server knows us by, and `ca.crt`, PEM, which we know it by. Both are read for each question, so
    /// that they can be replaced.
    credentials_path: PathBuf = "/var/run/secrets/kubernetes.io/serviceaccount".into(), Live;
    /// How long the mail of a pod that does not come back is tried, from the signal on. With 0 nothing is tried, and what stays is told all the same.
    handover: Duration = Duration::from_secs(180), Live, range: (0, 180);
}

/// Mail that `smtp-server sendmail` left because no server took it.
sendmail: Sendmail {
    /// Folder that is looked through every few seconds; what is in it is handed to the `smtp` listener. Nothing is done while there is none.
    drop_path: PathBuf = "/var/spool/smtp-server/drop".into(), Live;
}

/// Name resolution.
dns: Dns {
    /// Servers to ask, `address[:port]`.
    servers: Vec<SocketAddr> = Vec::new(), Live, default_words: "the system's";
}

}

/// The setting of that name.
pub fn setting(name: &str) -> Option<&'static Descriptor> {
    SETTINGS.iter().find(|setting| setting.name == name)
}
