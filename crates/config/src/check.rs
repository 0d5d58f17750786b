//! What a configuration must fulfil beyond the type of each value.
//!
//! Everything that is wrong is said at once, as pairs of the setting's name and the reason.

pub(crate) mod kubernetes;
mod security;

use crate::descriptor::ANY;
use crate::kinds::{Profile, ProxyProtocol, header_pairs, is_hostname};
use crate::load::Origin;
use crate::tree::{Config, SETTINGS};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::path::Path;

/// What a message may grow by while it is received, in octets: its trace field, signatures, what its header lacked.
const ADDED: u64 = 64 * 1024;

type Findings = Vec<(&'static str, String)>;

/// Shortest admin password in production, in characters.
const SHORTEST_PASSWORD: usize = 12;

/// Checks the values by themselves and against each other.
pub(crate) fn values(config: &Config, origins: &BTreeMap<&'static str, Origin>) -> Findings {
    let mut found = Vec::new();
    ranges(config, &mut found);
    names_and_texts(config, &mut found);
    ports(config, &mut found);
    open_relay(config, &mut found);
    proxies(config, &mut found);
    delivery(config, &mut found);
    let headers = config.tracing.headers.as_ref();
    if let Some(Err(reason)) = headers.map(|headers| header_pairs(headers.expose())) {
        found.push(("tracing.headers", reason));
    }
    scratch(config, &mut found);
    security::values(config, &mut found);
    kubernetes::values(config, &mut found);
    if config.profile == Profile::Production {
        production(config, origins, &mut found);
    }
    found
}

fn ranges(config: &Config, found: &mut Findings) {
    for setting in SETTINGS.iter().filter(|setting| setting.range != ANY) {
        let (least, most) = setting.range;
        if (setting.get)(config)
            .as_u64()
            .is_some_and(|value| !(least..=most).contains(&value))
        {
            found.push((setting.name, format!("it must be from {least} to {most}")));
        }
    }
}

fn names_and_texts(config: &Config, found: &mut Findings) {
    if !is_hostname(&config.server.hostname) {
        found.push((
            "server.hostname",
            "it must be a host name of letters, digits, hyphens and dots".into(),
        ));
    }
    let banner = &config.server.banner;
    if banner.len() > 400 || !banner.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        found.push((
            "server.banner",
            "it must be at most 400 printable ASCII characters".into(),
        ));
    }
    if config.server.host.is_empty() {
        found.push(("server.host", "it must name at least one address".into()));
    } else if config.http.host.is_empty() {
        found.push(("http.host", "it must name at least one address".into()));
    } else if config.http.admin_host.is_empty() {
        found.push(("http.admin_host", "it must name at least one address".into()));
    } else if config.http.admin_port == 0 && config.http.admin_host != config.http.host {
        let reason = "admin API and console are on http.host as long as they have no port of their own: set http.admin_port";
        found.push(("http.admin_host", reason.into()));
    }
    let path = &config.metrics.path;
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
    if !path.starts_with('/') || !plain {
        found.push((
            "metrics.path",
            "it must begin with / and hold letters, digits and /-_.~ only".into(),
        ));
    } else if path == "/" || path.starts_with("/health/") || path.starts_with("/api/") {
        found.push(("metrics.path", "another page is there already".into()));
    }
}

/// The largest message must have room on its way in while another one has room on its way out.
fn scratch(config: &Config, found: &mut Findings) {
    let (size, largest) = (config.storage.scratch_size, config.limits.max_message_size);
    let least = largest.saturating_add(ADDED).saturating_mul(2);
    if (1..least).contains(&size) {
        let reason = format!(
            "it must hold two messages of limits.max_message_size, one that comes in and one that goes out: set it to {least} octets or more \
             (twice {largest} and 64 KiB each for what is added to them), lower limits.max_message_size, or set it to 0 for no bound"
        );
        found.push(("storage.scratch_size", reason));
    }
}

/// No two listeners share a port. Port 0 means any free port and clashes with nothing.
fn ports(config: &Config, found: &mut Findings) {
    let metrics_apart = config.metrics.enabled && config.metrics.port != config.http.port;
    let taken = [
        ("server.port", config.server.port, true),
        ("smtps.port", config.smtps.port, config.smtps.enabled),
        (
            "submission.port",
            config.submission.port,
            config.submission.enabled,
        ),
        ("http.port", config.http.port, true),
        ("http.admin_port", config.http.admin_port, true),
        ("metrics.port", config.metrics.port, metrics_apart),
    ];
    let open: Vec<_> = taken
        .iter()
        .filter(|(_, port, open)| *open && *port != 0)
        .collect();
    for (index, (name, port, _)) in open.iter().enumerate() {
        if let Some((other, ..)) = open.iter().take(index).find(|(_, other, _)| other == port) {
            found.push((*name, format!("port {port} is taken by {other}")));
        }
    }
}

/// Whether the networks, joined together, are the whole Internet.
fn hold_everybody(networks: &[IpNet]) -> bool {
    let everyone = |network: &IpNet| match network {
        IpNet::V4(network) => network.prefix_len() == 0,
        // ::ffff:0:0/96 holds all IPv4 addresses.
        IpNet::V6(network) => {
            let mapped = std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
            network.prefix_len() == 0 || (network.prefix_len() <= 96 && network.contains(&mapped))
        }
    };
    IpNet::aggregate(&networks.to_vec()).iter().any(everyone)
}

fn open_relay(config: &Config, found: &mut Findings) {
    if hold_everybody(&config.relay.networks) {
        let reason =
            "it lets everybody send to everybody: an open relay. Name the networks of your own clients";
        found.push(("relay.networks", reason.into()));
    }
}

/// A listener that believes proxies has to know them. What follows `server.*` is said once, there.
fn proxies(config: &Config, found: &mut Findings) {
    let server = (config.server.proxy_protocol, &config.server.proxy_networks);
    let smtps = (config.smtps.proxy_protocol, &config.smtps.proxy_networks);
    let submission = (
        config.submission.proxy_protocol,
        &config.submission.proxy_networks,
    );
    for (name, (protocol, networks), follows) in [
        ("server.proxy_networks", server, false),
        ("smtps.proxy_networks", smtps, smtps == server),
        ("submission.proxy_networks", submission, submission == server),
    ] {
        if follows {
            continue;
        }
        if protocol == ProxyProtocol::V2 && networks.is_empty() {
            let reason = "proxy_protocol = \"v2\" needs it: name the addresses of the proxies that connections come from, such as 192.0.2.10/32";
            found.push((name, reason.into()));
        } else if hold_everybody(networks) {
            let reason = "it lets everybody pass for any client. Name the addresses of your own proxies";
            found.push((name, reason.into()));
        }
    }
}

fn delivery(config: &Config, found: &mut Findings) {
    let delivery = &config.delivery;
    if delivery.retry_max < delivery.retry_initial {
        found.push((
            "delivery.retry_max",
            "it must not be less than delivery.retry_initial".into(),
        ));
    }
    if delivery.expire_after < delivery.retry_initial {
        found.push((
            "delivery.expire_after",
            "it must not be less than delivery.retry_initial".into(),
        ));
    }
    if delivery.max_connections < delivery.max_connections_per_destination {
        let reason = "it must not be less than delivery.max_connections_per_destination";
        found.push(("delivery.max_connections", reason.into()));
    }
    let separator = delivery.subaddress_separator.as_bytes();
    if separator.len() > 1
        || separator
            .iter()
            .any(|b| !b.is_ascii_punctuation() || b"@.\"<>/".contains(b))
    {
        found.push((
            "delivery.subaddress_separator",
            "it must be one character such as + or -, or empty".into(),
        ));
    }
    for (name, address) in [
        ("delivery.double_bounce_to", &delivery.double_bounce_to),
        ("server.postmaster", &config.server.postmaster),
    ] {
        if address.as_ref().is_some_and(|address| !is_plain_address(address)) {
            found.push((
                name,
                "it must be an address such as postmaster@example.com".into(),
            ));
        }
    }
}

fn is_plain_address(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        let plain = local
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"<>()[]\\,;:@\" ".contains(&b));
        !local.is_empty() && local.len() <= 64 && plain && is_hostname(domain)
    })
}

/// What production needs.
fn production(config: &Config, origins: &BTreeMap<&'static str, Origin>, found: &mut Findings) {
    let hostname = config.server.hostname.as_str();
    let unset = matches!(
        origins.get("server.hostname"),
        None | Some(Origin::Default | Origin::Profile(_))
    );
    let qualified = hostname.contains('.') && hostname.parse::<std::net::IpAddr>().is_err();
    if unset {
        let reason = "production needs it: set the fully qualified name of this server (SMTP_HOSTNAME)";
        found.push(("server.hostname", reason.into()));
    } else if !qualified {
        let reason =
            format!("production needs a fully qualified name such as mx.example.com, not {hostname:?}");
        found.push(("server.hostname", reason));
    }
    let length = config
        .admin
        .password
        .as_ref()
        .map(|password| password.expose().chars().count());
    match length {
        None => found.push((
            "admin.password",
            format!(
                "production needs one of at least {SHORTEST_PASSWORD} characters (SMTP_ADMIN_PASSWORD_FILE)"
            ),
        )),
        Some(length) if length < SHORTEST_PASSWORD => {
            found.push((
                "admin.password",
                format!("production needs at least {SHORTEST_PASSWORD} characters"),
            ));
        }
        Some(_) => {}
    }
    if config.delivery.capture {
        found.push((
            "delivery.capture",
            "production cannot capture all mail; capture single [[domains]]".into(),
        ));
    }
    security::production(config, found);
    for (name, port) in [
        ("server.port", config.server.port),
        ("smtps.port", config.smtps.port),
        ("submission.port", config.submission.port),
        ("http.port", config.http.port),
    ] {
        if port == 0 {
            found.push((name, "production needs a port of its own choice, not 0".into()));
        }
    }
}

/// Looks at every file and folder that the configuration names.
pub(crate) fn files(config: &Config) -> Findings {
    let mut found = Vec::new();
    security::files(config, &mut found);
    let path = &config.storage.path;
    if path.is_dir() {
        found.push((
            "storage.path",
            format!("{} is a folder; name a file in it", path.display()),
        ));
    } else if let Err(reason) = writable_folder(path.parent().unwrap_or(Path::new("/"))) {
        found.push(("storage.path", reason));
    }
    found
}

/// The folder is writable, or can be made because the nearest one above it is.
fn writable_folder(folder: &Path) -> Result<(), String> {
    let here = Path::new(".");
    let nearest = folder
        .ancestors()
        .map(|f| if f.as_os_str().is_empty() { here } else { f })
        .find(|f| f.exists());
    let nearest = nearest.unwrap_or(here);
    if !nearest.is_dir() {
        return Err(format!("{} is not a folder", nearest.display()));
    }
    let access = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    nix::unistd::access(nearest, access)
        .map_err(|e| format!("{} is not writable: {}", nearest.display(), e.desc()))
}
