//! Listeners, limits and the relay rule: runs a server session and hands each message to the queue.
//!
//! A connection's walk through this crate:
//!
//! ```text
//!  listener ──▶ connection ──▶ decisions ──▶ transaction ──▶ smtp_queue
//!  accepts,     reads, steps   answers       envelope and
//!  admits       and writes     each command  content
//!  (shared: counts, phases)    (policy: the relay rule; rate_limit; received)
//!  (wire, tls: in clear or under TLS)
//! ```
//!
//! Promises: a 250 after the message is sent only after the queue made it durable; what a client leaves
//! unfinished leaves nothing behind; a session at rest holds no buffer; a panic in one session
//! ends that session alone; every wait for a client has a limit.

mod auth;
mod author;
mod callout;
mod connection;
mod content;
mod deadline;
mod decisions;
mod header;
mod listener;
mod policy;
mod proxy;
mod quota;
mod rate_limit;
mod received;
mod recipients;
mod sessions;
mod shared;
mod tls;
mod transaction;
mod visit;
mod wire;

#[cfg(test)]
mod tests;

pub use auth::Tokens;
pub use callout::{Callout, Verdict};
pub use sessions::{Doing, SessionInfo};
pub use tls::{CertificateInfo, check_certificates, own_authority};

use arc_swap::ArcSwap;
use listener::{Bound, Heartbeat, accept_loop};
use parking_lot::Mutex;
use shared::{Phase, Shared};
use smtp_config::Config;
use smtp_directory::Directory;
use smtp_observe::{Event, Listener, Observer};
use smtp_queue::Queue;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::{Fresh, Tls};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How long sessions get to say 421 and close once a drain's limit has passed.
const CLOSING: Duration = Duration::from_secs(5);

/// Whom reception works with.
#[derive(Clone)]
pub struct Neighbours {
    /// Takes the messages.
    pub queue: Queue,
    /// Knows who is local, and who may send.
    pub directory: Arc<Directory>,
    /// Checks tokens.
    pub tokens: Arc<Tokens>,
    /// Asks next hops whether they know an address (`recipients = "verify"`); without it every address of such a domain is taken.
    pub callout: Option<Arc<dyn Callout>>,
}

/// Certificates that only have to be put in force; none when they are the same files.
#[derive(Debug)]
pub struct Prepared(Option<Fresh>);

/// The receiving room: its listeners and its sessions. Dropping it ends the accept loops, not the sessions.
pub struct Reception {
    shared: Arc<Shared>,
    addresses: Vec<(Listener, SocketAddr)>,
    /// Bound, and not yet given to an accept loop.
    waiting: Mutex<Vec<Bound>>,
    loops: Mutex<Vec<AcceptLoop>>,
    /// The task that looks for new certificates.
    watch: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct AcceptLoop {
    listener: Listener,
    address: SocketAddr,
    heartbeat: Arc<Heartbeat>,
    task: AbortHandle,
}

impl Reception {
    /// Binds every listener that is enabled, at each address of `server.host` (port 0: any free one). Nothing is
    /// accepted before [`Reception::start`].
    ///
    /// # Errors
    /// When an address cannot be bound, or a certificate cannot be used (`InvalidData`); the text names the address or file,
    /// and the settings.
    pub fn bind(
        config: Arc<ArcSwap<Config>>,
        neighbours: Neighbours,
        observer: Observer,
    ) -> io::Result<Reception> {
        let tls = config
            .load()
            .tls
            .enabled
            .then(|| Tls::open(&config.load(), observer.clone()))
            .transpose()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            .map(Arc::new);
        let bound = listener::bind(&config.load())?;
        let addresses = bound
            .iter()
            .map(|bound| Ok((bound.listener, bound.socket.local_addr()?)))
            .collect::<io::Result<_>>()?;
        Ok(Reception {
            shared: Arc::new(Shared::new(config, neighbours, observer, tls)),
            addresses,
            waiting: Mutex::new(bound),
            loops: Mutex::default(),
            watch: Mutex::default(),
        })
    }

    /// The addresses that a listener is bound to, with their real ports; none when it is not enabled.
    pub fn addresses(&self, listener: Listener) -> Vec<SocketAddr> {
        let of_it = self.addresses.iter().filter(|(owner, _)| *owner == listener);
        of_it.map(|(_, address)| *address).collect()
    }

    /// Starts to accept connections. To be called within a tokio runtime, once; more calls do nothing.
    ///
    /// # Errors
    /// When the runtime cannot watch a listener.
    pub fn start(&self) -> io::Result<()> {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if let Some(tls) = self.shared.tls.clone().filter(|_| !waiting.is_empty()) {
            *self.watch.lock() = Some(tokio::spawn(tls::watch(tls)).abort_handle());
        }
        for Bound { listener, socket } in waiting {
            let address = socket.local_addr()?;
            let socket = tokio::net::TcpListener::from_std(socket)?;
            let heartbeat = Arc::new(Heartbeat::new());
            let accepting = accept_loop(listener, socket, self.shared.clone(), heartbeat.clone());
            self.loops.lock().push(AcceptLoop {
                listener,
                address,
                heartbeat,
                task: tokio::spawn(accepting).abort_handle(),
            });
            self.shared.observer.emit(Event::Listening {
                listener: listener.name(),
                address,
            });
        }
        Ok(())
    }

    /// Whether every accept loop made progress lately. Asks neither disk nor network.
    ///
    /// # Errors
    /// Names the listener that stands still, and for how long.
    pub fn alive(&self) -> Result<(), String> {
        for accepting in self.loops.lock().iter() {
            accepting.heartbeat.check().map_err(|age| {
                format!(
                    "listener {} on {} has stood still for {} s",
                    accepting.listener.name(),
                    accepting.address,
                    age.as_secs()
                )
            })?;
        }
        Ok(())
    }

    /// Reads the certificates of a new configuration. Blocking.
    ///
    /// # Errors
    /// Names the file that cannot be used, and why; those in force stay.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, String> {
        let tls = self.shared.tls.as_ref();
        let fresh = tls.map_or(Ok(None), |tls| tls.prepare(config));
        fresh.map(Prepared)
    }

    /// Puts them in force.
    pub fn take(&self, prepared: Prepared) {
        if let (Some(tls), Some(fresh)) = (&self.shared.tls, prepared.0) {
            tls.take(fresh);
        }
    }

    /// The certificates that clients are shown; the first is the one for clients that ask for none by name.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.shared
            .tls
            .as_ref()
            .map_or_else(Vec::new, |tls| tls.certificates())
    }

    /// Announces a connection that this process makes to its own `smtp` listener: the one from this address needs no
    /// header of a proxy. It replaces the announcement before; `None` takes that back.
    pub fn expect_own(&self, from: Option<SocketAddr>) {
        self.shared.expect_own(from);
    }

    /// Sessions open now.
    pub fn connections(&self) -> usize {
        self.shared.open_connections()
    }

    /// Sessions in progress by number: at most `limit` with higher numbers than `after`.
    pub fn sessions(&self, after: Option<u64>, limit: usize) -> Vec<SessionInfo> {
        self.shared.sessions.page(after, limit)
    }

    /// Ends reception in good order: new connections get 421, sessions between mails get 421 at once, and
    /// mails in progress may finish until `limit` has passed; then they get 421 too. Returns when no
    /// session is left, at most 5 seconds after the limit, and closes the listeners.
    pub async fn drain(&self, limit: Duration) {
        self.shared.enter(Phase::Draining);
        if timeout(limit, self.shared.emptied()).await.is_err() {
            self.shared.enter(Phase::Closing);
            // Who does not take its 421 even now is left to the end of the process.
            let _ = timeout(CLOSING, self.shared.emptied()).await;
        }
        self.close();
    }

    fn close(&self) {
        self.waiting.lock().clear();
        if let Some(watch) = self.watch.lock().take() {
            watch.abort();
        }
        for accepting in self.loops.lock().drain(..) {
            accepting.task.abort();
        }
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Reception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reception")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
