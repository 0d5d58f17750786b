//! Listeners, limits and the relay rule: runs a server session and hands each message to the queue.
//!
//! A connection's walk through this crate:
//!
//! ```text
//!  listener ──▶ connection ──▶ decisions ──▶ transaction ──▶ smtp_queue
//!  accepts,     reads, steps   answers       envelope and
//!  admits       and writes     each command  content
//!  (shared: counts, phases)    (policy: the relay rule; rate_limit; received)
//! ```
//!
//! Promises: a 250 after the message is sent only after the queue made it durable; what a client leaves
//! unfinished leaves nothing behind; a session at rest holds no buffer; a panic in one session
//! ends that session alone; every wait for a client has a limit.

mod author;
mod connection;
mod content;
mod deadline;
mod decisions;
mod header;
mod listener;
mod policy;
mod rate_limit;
mod received;
mod shared;
mod transaction;
mod visit;
mod wire;

#[cfg(test)]
mod tests;

use arc_swap::ArcSwap;
use listener::{Heartbeat, accept_loop};
use parking_lot::Mutex;
use shared::{Phase, Shared};
use smtp_config::Config;
use smtp_observe::{Event, Observer};
use smtp_queue::Queue;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How long sessions get to say 421 and close once a drain's limit has passed.
const CLOSING: Duration = Duration::from_secs(5);

/// The receiving room: its listeners and its sessions. Dropping it ends the accept loops, not the sessions.
pub struct Reception {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    /// Bound, and not yet given to an accept loop.
    waiting: Mutex<Vec<TcpListener>>,
    loops: Mutex<Vec<AcceptLoop>>,
}

#[derive(Debug)]
struct AcceptLoop {
    address: SocketAddr,
    heartbeat: Arc<Heartbeat>,
    task: AbortHandle,
}

impl Reception {
    /// Binds every address of `server.host` at `server.port` (0: any free port). Nothing is accepted before
    /// [`Reception::start`].
    ///
    /// # Errors
    /// When an address cannot be bound; the text names the address and the settings.
    pub fn bind(config: Arc<ArcSwap<Config>>, queue: Queue, observer: Observer) -> io::Result<Reception> {
        let listeners = listener::bind(&config.load().server)?;
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<_>>()?;
        Ok(Reception {
            shared: Arc::new(Shared::new(config, queue, observer)),
            addresses,
            waiting: Mutex::new(listeners),
            loops: Mutex::default(),
        })
    }

    /// The addresses that are bound, with their real ports.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Starts to accept connections. To be called within a tokio runtime, once; more calls do nothing.
    ///
    /// # Errors
    /// When the runtime cannot watch a listener.
    pub fn start(&self) -> io::Result<()> {
        let listeners = std::mem::take(&mut *self.waiting.lock());
        for listener in listeners {
            let address = listener.local_addr()?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let heartbeat = Arc::new(Heartbeat::new());
            let task =
                tokio::spawn(accept_loop(listener, self.shared.clone(), heartbeat.clone())).abort_handle();
            self.loops.lock().push(AcceptLoop {
                address,
                heartbeat,
                task,
            });
            self.shared.observer.emit(Event::Listening {
                listener: "smtp",
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
                    "listener {} has stood still for {} s",
                    accepting.address,
                    age.as_secs()
                )
            })?;
        }
        Ok(())
    }

    /// Sessions open now.
    pub fn connections(&self) -> usize {
        self.shared.open_connections()
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
