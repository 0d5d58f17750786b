//! Binds the listeners, accepts connections and turns away those that may not come in.
//!
//! Promises: an accept loop never waits for a client, never ends on an error, and pauses rather than
//! spins when the system has no descriptors left.

use crate::connection::serve;
use crate::shared::{Full, Phase, Shared, Slot};
use smtp::{Enhanced, Reply};
use smtp_config::Server;
use smtp_observe::{ConnectionRefusal, Event, Listener};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Connections the system completes while we are busy.
const BACKLOG: i32 = 4096;
/// How often an idle accept loop notes that it is alive.
const BEAT: Duration = Duration::from_secs(5);
/// Age of a heartbeat that means the loop stands still.
const STILL: Duration = Duration::from_secs(30);
/// Rest after an error that the next accept would meet again.
const PAUSE: Duration = Duration::from_secs(1);

/// Binds every host. An IPv6 wildcard is dual-stack, and becomes IPv4's on a system without IPv6.
pub(crate) fn bind(server: &Server) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for host in &server.host {
        let dual_stack = !server.host.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match bind_one(SocketAddr::new(*host, server.port), dual_stack) {
            Ok(listener) => listeners.push(listener),
            Err(error) if *host == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
                if dual_stack {
                    let fallback = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), server.port);
                    listeners.push(bind_one(fallback, false).map_err(|error| explain(&error, fallback))?);
                }
            }
            // One of the default loopback addresses: the other one serves.
            Err(error) if *host == Ipv6Addr::LOCALHOST && server.host.len() > 1 && lacks_ipv6(&error) => {}
            Err(error) => return Err(explain(&error, SocketAddr::new(*host, server.port))),
        }
    }
    Ok(listeners)
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

fn explain(error: &io::Error, address: SocketAddr) -> io::Error {
    let text = format!("cannot listen on {address} (server.host, server.port): {error}");
    io::Error::new(error.kind(), text)
}

/// When an accept loop was last seen to make progress.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    start: Instant,
    last_millis: AtomicU64,
}

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Heartbeat {
            start: Instant::now(),
            last_millis: AtomicU64::new(0),
        }
    }

    fn beat(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    /// `Err` with the age of the last sign of life when that is too long ago.
    pub(crate) fn check(&self) -> Result<(), Duration> {
        self.check_at(self.start.elapsed())
    }

    fn check_at(&self, now: Duration) -> Result<(), Duration> {
        let age = now.saturating_sub(Duration::from_millis(self.last_millis.load(Ordering::Relaxed)));
        if age > STILL { Err(age) } else { Ok(()) }
    }
}

/// Accepts connections until its task is aborted.
pub(crate) async fn accept_loop(
    listener: tokio::net::TcpListener,
    shared: Arc<Shared>,
    heartbeat: Arc<Heartbeat>,
) {
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        heartbeat.beat();
        let accepted = poll_fn(|context| match listener.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => tick.poll_tick(context).map(|_| None),
        })
        .await;
        match accepted {
            Some(Ok((stream, peer))) => enter(&shared, stream, canonical(peer)),
            Some(Err(error)) if concerns_one_connection(&error) => {}
            // Out of descriptors or memory: sessions that end give some back.
            Some(Err(error)) => {
                let error = error.to_string();
                shared.observer.emit(Event::AcceptFailed {
                    listener: Listener::Smtp,
                    error: &error,
                });
                sleep(PAUSE).await;
            }
            None => {}
        }
    }
}

/// The peer with an IPv4-mapped IPv6 address made IPv4, so that networks in the configuration match.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// The client was gone before we accepted it, or the network failed towards it (accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | WouldBlock
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | TimedOut
    )
}

fn enter(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    match admit(shared, peer) {
        Ok(slot) => {
            tokio::spawn(serve(shared.clone(), slot, stream, peer));
        }
        Err((reason, reply)) => {
            shared.observer.emit(Event::ConnectionRefused {
                listener: Listener::Smtp,
                peer,
                reason,
            });
            let mut text = Vec::new();
            reply.write(&mut text);
            // A fresh socket takes this without waiting; there is nobody to tell if it does not.
            let _ = SockRef::from(&stream).send(&text);
        }
    }
}

/// A slot for the connection, or why it is turned away.
fn admit(shared: &Arc<Shared>, peer: SocketAddr) -> Result<Slot, (ConnectionRefusal, Reply)> {
    if shared.phase() != Phase::Serving {
        return Err((ConnectionRefusal::Draining, stopping()));
    }
    let policy = shared.policy();
    let slot = shared.take_slot(&policy.config, peer.ip()).map_err(|full| {
        let reply = match full {
            Full::Server => Reply::new(421, Enhanced(4, 3, 2), "too many connections, try again later"),
            Full::Client => Reply::new(
                421,
                Enhanced(4, 7, 0),
                "too many connections from your address at once",
            ),
        };
        (ConnectionRefusal::TooMany, reply)
    })?;
    shared.take_token(&policy, peer.ip()).map_err(|wait| {
        let text = format!(
            "too many connections from your address, try again in {} s",
            whole_seconds(wait)
        );
        (
            ConnectionRefusal::RateLimited,
            Reply::with(421, Enhanced(4, 7, 0), text),
        )
    })?;
    Ok(slot)
}

/// What a client is told when the server stops.
pub(crate) fn stopping() -> Reply {
    Reply::new(
        421,
        Enhanced(4, 3, 2),
        "the server is shutting down, try again later",
    )
}

/// Seconds to wait, so that who waits as long as it is told gets in.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &[&str]) -> Server {
        Server {
            hostname: "mx.example.org".into(),
            banner: String::new(),
            host: host.iter().map(|host| host.parse().unwrap()).collect(),
            port: 0,
            postmaster: None,
            max_connections: 1,
            connection_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_connections_too() {
        let listeners = bind(&server(&["::"])).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn both_wildcards_and_both_loopbacks_can_be_bound_together() {
        assert!(!bind(&server(&["::", "0.0.0.0"])).unwrap().is_empty());
        assert!(!bind(&server(&["127.0.0.1", "::1"])).unwrap().is_empty());
    }

    #[test]
    fn an_address_in_use_is_named_with_its_settings() {
        let first = bind(&server(&["127.0.0.1"])).unwrap();
        let mut second = server(&["127.0.0.1"]);
        second.port = first[0].local_addr().unwrap().port();
        let error = bind(&second).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error
                .to_string()
                .contains(&format!("127.0.0.1:{} (server.host", second.port)),
            "{error}"
        );
    }

    #[test]
    fn mapped_peers_become_ipv4() {
        assert_eq!(
            canonical("[::ffff:192.0.2.1]:7".parse().unwrap()),
            "192.0.2.1:7".parse().unwrap()
        );
        assert_eq!(
            canonical("[2001:db8::1]:7".parse().unwrap()),
            "[2001:db8::1]:7".parse().unwrap()
        );
    }

    #[test]
    fn a_heartbeat_ages() {
        let heartbeat = Heartbeat::new();
        heartbeat.beat();
        assert_eq!(heartbeat.check_at(Duration::from_secs(30)), Ok(()));
        assert!(heartbeat.check_at(Duration::from_secs(31)).is_err());
    }

    #[test]
    fn only_errors_of_one_connection_are_passed_over() {
        assert!(concerns_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        for exhausted in [23, 24, 12, 105] {
            assert!(!concerns_one_connection(&io::Error::from_raw_os_error(exhausted)));
        }
    }

    #[test]
    fn waits_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    }
}
