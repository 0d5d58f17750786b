//! Which listeners there are, what each implies, and how they are bound.
//!
//! Promises: all addresses are bound or none; an error names the address and the settings that chose it.

use ipnet::IpNet;
use smtp_config::{Config, ProxyProtocol};
use smtp_observe::Listener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections the system completes while we are busy.
const BACKLOG: i32 = 4096;

/// What the kind of a listener implies.
pub(crate) trait Kind: Copy {
    /// TLS comes before the first word (RFC 8314).
    fn implicit_tls(self) -> bool;
    /// It is for submission (RFC 6409): MAIL needs AUTH before it.
    fn is_submission(self) -> bool;
    /// The section of its settings.
    fn section(self) -> &'static str;
    /// The networks of the proxies that all of its connections come through, if they do.
    fn proxies(self, config: &Config) -> Option<&[IpNet]>;
}

impl Kind for Listener {
    fn implicit_tls(self) -> bool {
        self == Listener::Smtps
    }

    fn is_submission(self) -> bool {
        matches!(self, Listener::Smtps | Listener::Submission)
    }

    fn section(self) -> &'static str {
        match self {
            Listener::Smtp => "server",
            Listener::Smtps => "smtps",
            Listener::Submission => "submission",
        }
    }

    fn proxies(self, config: &Config) -> Option<&[IpNet]> {
        let (server, smtps, submission) = (&config.server, &config.smtps, &config.submission);
        let (protocol, networks) = match self {
            Listener::Smtp => (server.proxy_protocol, &server.proxy_networks),
            Listener::Smtps => (smtps.proxy_protocol, &smtps.proxy_networks),
            Listener::Submission => (submission.proxy_protocol, &submission.proxy_networks),
        };
        match protocol {
            ProxyProtocol::Off => None,
            ProxyProtocol::V2 => Some(networks),
        }
    }
}

/// A bound socket, and the listener that it belongs to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: Listener,
    pub(crate) socket: TcpListener,
}

/// Binds every listener that is enabled, at each of `server.host`.
pub(crate) fn bind(config: &Config) -> io::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for &listener in Listener::ALL {
        let (enabled, port, setting) = match listener {
            Listener::Smtp => (true, config.server.port, "server.port"),
            Listener::Smtps => (config.smtps.enabled, config.smtps.port, "smtps.port"),
            Listener::Submission => (
                config.submission.enabled,
                config.submission.port,
                "submission.port",
            ),
        };
        if enabled {
            let sockets = bind_hosts(&config.server.host, port, setting)?;
            bound.extend(sockets.into_iter().map(|socket| Bound { listener, socket }));
        }
    }
    Ok(bound)
}

/// An IPv6 wildcard is dual-stack, and becomes IPv4's on a system without IPv6.
fn bind_hosts(hosts: &[IpAddr], port: u16, setting: &str) -> io::Result<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    for host in hosts {
        let dual_stack = !hosts.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = SocketAddr::new(*host, port);
        match bind_one(address, dual_stack) {
            Ok(socket) => sockets.push(socket),
            Err(error) if *host == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
                if dual_stack {
                    let fallback = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                    let socket = bind_one(fallback, false);
                    sockets.push(socket.map_err(|error| explain(&error, fallback, setting))?);
                }
            }
            // One of the default loopback addresses: the other one serves.
            Err(error) if *host == Ipv6Addr::LOCALHOST && hosts.len() > 1 && lacks_ipv6(&error) => {}
            Err(error) => return Err(explain(&error, address, setting)),
        }
    }
    Ok(sockets)
}

fn bind_one(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!(dual_stack && address.ip().is_unspecified()))?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit this, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn explain(error: &io::Error, address: SocketAddr, setting: &str) -> io::Error {
    let text = format!("cannot listen on {address} (server.host, {setting}): {error}");
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp_config::Profile;

    fn config(host: &[&str]) -> Config {
        let mut config = Config::defaults(Profile::Testing);
        config.server.host = host.iter().map(|host| host.parse().unwrap()).collect();
        (config.server.port, config.smtps.port, config.submission.port) = (0, 0, 0);
        config
    }

    fn port(bound: &[Bound], listener: Listener) -> u16 {
        let found = bound.iter().find(|bound| bound.listener == listener).unwrap();
        found.socket.local_addr().unwrap().port()
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_connections_too() {
        let bound = bind(&config(&["::"])).unwrap();
        for &listener in Listener::ALL {
            let address = (Ipv4Addr::LOCALHOST, port(&bound, listener));
            assert!(std::net::TcpStream::connect(address).is_ok(), "{listener:?}");
        }
    }

    #[test]
    fn both_wildcards_and_both_loopbacks_can_be_bound_together() {
        assert!(bind(&config(&["::", "0.0.0.0"])).unwrap().len() >= 3);
        assert!(bind(&config(&["127.0.0.1", "::1"])).unwrap().len() >= 3);
    }

    #[test]
    fn a_listener_that_is_not_enabled_is_not_bound() {
        let mut config = config(&["127.0.0.1"]);
        config.smtps.enabled = false;
        let kinds: Vec<Listener> = bind(&config)
            .unwrap()
            .iter()
            .map(|bound| bound.listener)
            .collect();
        assert_eq!(kinds, [Listener::Smtp, Listener::Submission]);
    }

    #[test]
    fn an_address_in_use_is_named_with_its_settings() {
        let first = bind(&config(&["127.0.0.1"])).unwrap();
        for (&listener, setting) in Listener::ALL
            .iter()
            .zip(["server.port", "smtps.port", "submission.port"])
        {
            let taken = port(&first, listener);
            let mut second = config(&["127.0.0.1"]);
            match listener {
                Listener::Smtp => second.server.port = taken,
                Listener::Smtps => second.smtps.port = taken,
                Listener::Submission => second.submission.port = taken,
            }
            let error = bind(&second).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let wanted = format!("127.0.0.1:{taken} (server.host, {setting})");
            assert!(error.to_string().contains(&wanted), "{error}");
        }
    }
}
