//! Ports for servers that have to be told theirs.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the system gives to connections: one of those may be somebody's connection before the server is there.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// How far apart processes begin that were started one after the other.
const APART: u32 = 61;

/// An address on the IPv4 loopback whose port is free on both. Nobody else is told of it: each process looks elsewhere, and no further than it
/// has to.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(APART);
    for _ in 0..COUNT {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).expect("a port");
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        // There may be no IPv6.
        let is_taken = |address| {
            TcpListener::bind((address, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        };
        if !loopback.into_iter().any(is_taken) {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
    panic!("no port is free");
}
