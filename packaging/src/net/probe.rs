//! Connections that are tried.

use super::cluster::Host;
use nix::errno::Errno;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Open,
    /// It got there, and nobody listens.
    Refused,
    /// A policy stands against it.
    Denied,
}

/// How long an answer may take on a busy machine. What a policy denies is answered at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// When a question by UDP is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Tries a TCP connection from a host.
pub fn tcp(from: &Host, to: IpAddr, port: u16) -> Outcome {
    let target = SocketAddr::new(to, port);
    match from
        .space
        .inside(|| TcpStream::connect_timeout(&target, PATIENCE))
    {
        Ok(_) => Outcome::Open,
        Err(error) => refusal(&error).unwrap_or_else(|| panic!("{target}: {error}")),
    }
}

/// Asks a DNS server something over UDP, again each second as resolvers do: a datagram, or the refusal of one, of which a kernel sends so many a
/// second, may be lost.
pub fn dns(from: &Host, to: IpAddr, port: u16) -> Outcome {
    let target = SocketAddr::new(to, port);
    let ask = || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(AGAIN))?;
        let end = Instant::now() + PATIENCE;
        loop {
            // The A record of `a`.
            socket.send(b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01")?;
            match socket.recv(&mut [0; 512]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {}
                outcome => return outcome,
            }
        }
    };
    match from.space.inside(ask) {
        Ok(_) => Outcome::Open,
        Err(error) => refusal(&error).unwrap_or_else(|| panic!("{target}, UDP: {error}")),
    }
}

fn refusal(error: &std::io::Error) -> Option<Outcome> {
    if error.kind() == ErrorKind::ConnectionRefused {
        return Some(Outcome::Refused);
    }
    // "Administratively prohibited", as sockets of either family say it.
    let denied = [Errno::EHOSTUNREACH, Errno::EACCES].map(|errno| errno as i32);
    denied.contains(&error.raw_os_error()?).then_some(Outcome::Denied)
}

/// Listens on a port of all addresses of a host, and lets every client in, until the test ends.
pub fn listen(host: &Host, port: u16) {
    let listener = host.space.inside(|| TcpListener::bind(("::", port)));
    let listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
    std::thread::spawn(move || for _ in listener.incoming() {});
}

/// A GET from where the calling thread is, as the kubelet asks: status and body, or nothing in time.
pub fn get(address: SocketAddr, path: &str, patience: Duration) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    // Of version 1.0, so that the body comes as it is.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}
