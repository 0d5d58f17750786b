//! Where a server on this machine listens, by the configuration that it would read. As well as that can be known: the server that
//! runs goes on with the configuration before when a new one is refused.

use crate::exit::{Exit, Failure};
use smtp_config::{Config, ConfigErrors, Sources};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses to try in turn, and what is wrong with the configuration that names them.
pub(crate) struct Whereabouts {
    /// `http://address:port`, loopback first.
    pub(crate) bases: Vec<String>,
    pub(crate) wrong: ConfigErrors,
}

/// Where health is.
///
/// # Errors
/// When the port is 0: the system chooses.
pub(crate) fn health(sources: &Sources) -> Result<Whereabouts, Failure> {
    let (http, wrong) = Config::http(sources);
    Ok(Whereabouts {
        bases: bases(&http.host, http.port, "http.port")?,
        wrong,
    })
}

/// Where the admin API is.
///
/// # Errors
/// As for [`health`].
pub(crate) fn admin(sources: &Sources) -> Result<Whereabouts, Failure> {
    let (http, wrong) = Config::http(sources);
    let bases = match http.admin_port {
        0 => bases(&http.host, http.port, "http.port"),
        port => bases(&http.admin_host, port, "http.admin_port"),
    };
    Ok(Whereabouts { bases: bases?, wrong })
}

fn bases(hosts: &[IpAddr], port: u16, key: &str) -> Result<Vec<String>, Failure> {
    if port == 0 {
        let message = format!(
            "{key} is 0, so the server takes any free port: say which with --url (its log has it: `listening`)"
        );
        return Err(Failure::new(Exit::Config, message));
    }
    let on = |host| format!("http://{}", SocketAddr::new(host, port));
    Ok(reachable(hosts).into_iter().map(on).collect())
}

/// Addresses of this machine by which a server on `hosts` can be reached, loopback first.
fn reachable(hosts: &[IpAddr]) -> Vec<IpAddr> {
    let (v4, v6) = (
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    let mut found = Vec::new();
    for host in hosts {
        match host {
            IpAddr::V4(any) if any.is_unspecified() => found.push(v4),
            // It takes IPv4, too; on a machine without IPv6 it is nothing else.
            IpAddr::V6(any) if any.is_unspecified() => found.extend([v4, v6]),
            host => found.push(*host),
        }
    }
    found.sort_by_key(|address| (!address.is_loopback(), address.is_ipv6()));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(hosts: &[&str]) -> Vec<String> {
        let hosts: Vec<IpAddr> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        reachable(&hosts).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn loopback_is_asked_when_the_server_is_there() {
        assert_eq!(reached(&["0.0.0.0"]), ["127.0.0.1"]);
        assert_eq!(reached(&["::"]), ["127.0.0.1", "::1"]);
        assert_eq!(reached(&["::", "0.0.0.0"]), ["127.0.0.1", "::1"]);
        assert_eq!(reached(&["::1"]), ["::1"]);
        assert_eq!(reached(&["192.0.2.1", "127.0.0.1"]), ["127.0.0.1", "192.0.2.1"]);
        assert_eq!(
            reached(&["2001:db8::1", "192.0.2.1"]),
            ["192.0.2.1", "2001:db8::1"]
        );
        assert!(reached(&[]).is_empty());
    }
}
