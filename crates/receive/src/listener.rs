//! Accepts connections and turns away those that may not come in.
//!
//! Promises: an accept loop never waits for a client, never ends on an error, and pauses rather than
//! spins when the system has no descriptors left.

mod behind_proxy;
mod bind;

pub(crate) use bind::{Bound, Kind, bind};

use crate::connection::serve;
use crate::policy::Policy;
use crate::shared::{Full, Phase, Shared, Slot};
use crate::visit::Arrival;
use smtp::{Enhanced, Reply};
use smtp_observe::{ConnectionRefusal, Event, Listener};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often an idle accept loop notes that it is alive.
const BEAT: Duration = Duration::from_secs(5);
/// Age of a heartbeat that means the loop stands still.
const STILL: Duration = Duration::from_secs(30);
/// Rest after an error that the next accept would meet again.
const PAUSE: Duration = Duration::from_secs(1);

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
    listener: Listener,
    socket: tokio::net::TcpListener,
    shared: Arc<Shared>,
    heartbeat: Arc<Heartbeat>,
) {
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        heartbeat.beat();
        let accepted = poll_fn(|context| match socket.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => tick.poll_tick(context).map(|_| None),
        })
        .await;
        match accepted {
            Some(Ok((stream, peer))) => enter(&shared, listener, stream, canonical(peer)),
            Some(Err(error)) if concerns_one_connection(&error) => {}
            // Out of descriptors or memory: sessions that end give some back.
            Some(Err(error)) => {
                let error = error.to_string();
                shared.observer.emit(Event::AcceptFailed {
                    listener,
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

fn enter(shared: &Arc<Shared>, listener: Listener, stream: TcpStream, peer: SocketAddr) {
    let policy = shared.policy();
    let proxies = listener.proxies(&policy.config).filter(|_| !shared.is_own(peer));
    let admitted = match proxies {
        Some(proxies) => behind_proxy::admit(shared, &policy, listener, proxies, peer),
        None => admit(shared, &policy, peer),
    };
    match admitted {
        Ok(slot) if proxies.is_some() => {
            let entry = behind_proxy::Entry {
                shared: shared.clone(),
                listener,
                slot,
                proxy: peer,
            };
            tokio::spawn(entry.pass(stream, policy));
        }
        Ok(slot) => {
            let arrival = Arrival { peer, proxy: None };
            tokio::spawn(serve(shared.clone(), listener, slot, stream, arrival));
        }
        Err(refusal) => {
            refusal.report(shared, listener, peer);
            if proxies.is_some() {
                behind_proxy::discard(&stream);
            }
            // A fresh socket takes this without waiting.
            behind_proxy::last_words(&stream, &refusal.words(listener));
        }
    }
}

/// Why a connection is turned away.
#[derive(Debug)]
struct Refusal {
    reason: ConnectionRefusal,
    /// What it is told.
    reply: Reply,
    /// What an operator is told.
    text: Option<String>,
}

impl Refusal {
    fn new(reason: ConnectionRefusal, reply: Reply) -> Self {
        Refusal {
            reason,
            reply,
            text: None,
        }
    }

    fn report(&self, shared: &Shared, listener: Listener, peer: SocketAddr) {
        shared.observer.emit(Event::ConnectionRefused {
            listener,
            peer,
            reason: self.reason,
            text: self.text.as_deref(),
        });
    }

    /// The reply as it is sent. Before the handshake there are no words.
    fn words(&self, listener: Listener) -> Vec<u8> {
        let mut words = Vec::new();
        if !listener.implicit_tls() {
            self.reply.write(&mut words);
        }
        words
    }
}

/// A slot for the connection of a client, or why it is turned away.
fn admit(shared: &Arc<Shared>, policy: &Policy, peer: SocketAddr) -> Result<Slot, Refusal> {
    let mut slot = take_slot(shared, policy)?;
    admit_client(shared, policy, &mut slot, peer)?;
    Ok(slot)
}

/// A slot for a connection, whoever its client is.
fn take_slot(shared: &Arc<Shared>, policy: &Policy) -> Result<Slot, Refusal> {
    if shared.phase() != Phase::Serving {
        return Err(Refusal::new(ConnectionRefusal::Draining, stopping()));
    }
    shared.take_slot(&policy.config).map_err(too_many)
}

/// Whether this client may have the slot.
fn admit_client(shared: &Shared, policy: &Policy, slot: &mut Slot, peer: SocketAddr) -> Result<(), Refusal> {
    slot.belongs_to(&policy.config, peer.ip()).map_err(too_many)?;
    shared.take_token(policy, peer.ip(), None).map_err(|wait| {
        let text = format!(
            "too many connections from your address, try again in {} s",
            whole_seconds(wait)
        );
        let reply = Reply::with(421, Enhanced(4, 7, 0), text);
        Refusal::new(ConnectionRefusal::RateLimited, reply)
    })
}

fn too_many(full: Full) -> Refusal {
    let reply = match full {
        Full::Server => Reply::new(421, Enhanced(4, 3, 2), "too many connections, try again later"),
        Full::Client => Reply::new(
            421,
            Enhanced(4, 7, 0),
            "too many connections from your address at once",
        ),
    };
    Refusal::new(ConnectionRefusal::TooMany, reply)
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
