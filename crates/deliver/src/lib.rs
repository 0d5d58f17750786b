//! When and where a message goes next.
//!
//! * `route` says which way an address goes, `resolve` which servers that means.
//! * `destination` decides how many connections a next hop gets, and when it is left alone.
//! * `engine` moves messages: the window of mail in hand, lanes, results, leases, the drain.
//! * `connection` speaks SMTP or LMTP with one server, `tls` secures it; `local` writes Maildirs.
//! * `named_server` gives one message to one server, without any of the above: for programs that are no server.
//! * `verify` remembers which addresses next hops know.
//! * `schedule` says when a recipient is tried again, `dsn` writes the reports to senders.
//!
//! Promises: a recipient has one outcome per attempt, and it is written to the store before the
//! recipient leaves the window; memory is bounded by the window, not by the queue; a next
//! hop that is slow or dead holds up no other; nothing that a next hop says makes us panic or wait for ever.

mod connection;
mod destination;
mod dsn;
mod engine;
mod local;
mod named_server;
mod resolve;
mod route;
mod schedule;
#[cfg(test)]
mod testing;
mod tls;
mod verify;

pub use connection::Announce;
pub use destination::Standing;
pub use engine::Held;
pub use local::capture_folder;
pub use named_server::{Answer, NamedServer};
pub use resolve::txt_records;
pub use verify::Presence;

use arc_swap::ArcSwap;
use engine::{Engine, Parts};
use smtp::Address;
use smtp_config::Config;
use smtp_directory::Directory;
use smtp_observe::Observer;
use smtp_queue::{Filter, Queue, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// What delivery holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections to next hops, those being opened included.
    pub connections: u64,
    /// Recipients in hand: claimed from the store, result not yet written.
    pub in_progress: u64,
    /// Next hops that are left alone for a while.
    pub destinations_down: u64,
    /// Next hops whose mail waits for `delivery.max_rate_per_destination`.
    pub destinations_paced: u64,
}

/// A changed configuration that only has to be put in force.
#[derive(Debug)]
pub struct Prepared(Parts);

/// Delivery, running.
#[derive(Debug)]
pub struct Delivery {
    engine: Arc<Engine>,
}

impl Delivery {
    /// Starts delivery on the current tokio runtime and connects it to the queue. Local domains are the directory's.
    ///
    /// # Errors
    /// Says which setting cannot work.
    pub fn start(
        config: Arc<ArcSwap<Config>>,
        directory: Arc<Directory>,
        queue: Queue,
        observer: Observer,
    ) -> Result<Arc<Self>, String> {
        let engine = Engine::start(config, directory, queue, observer)?;
        Ok(Arc::new(Delivery { engine }))
    }

    /// Whether the scheduler makes progress: its last sign of life is less than 30 s old. Asks nobody.
    ///
    /// # Errors
    /// Says for how long there was none.
    pub fn alive(&self) -> Result<(), String> {
        self.engine.alive()
    }

    /// Whether the next hop of `address` takes mail for it: asked within 10 s, or known from before.
    pub async fn verify(&self, address: &Address) -> Presence {
        self.engine.verify(address).await
    }

    /// Bounces what waits and is meant, with this text or one of ours; their senders are told by the ordinary rules. Gives how many
    /// messages, and whether there are more: it ends after ten seconds.
    ///
    /// # Errors
    /// The store's; what was bounced before stays bounced.
    pub async fn bounce(&self, filter: &Filter, text: Option<&str>) -> Result<(u64, bool), StoreError> {
        self.engine.bounce(filter, text).await
    }

    /// Suspensions were changed in the store: they are in force when this returns.
    ///
    /// # Errors
    /// The store's; then they are in force within some seconds.
    pub async fn suspensions_changed(&self) -> Result<(), StoreError> {
        self.engine.read_suspensions().await
    }

    /// What is in hand now.
    pub fn figures(&self) -> Figures {
        self.engine.figures()
    }

    /// The next hops that are remembered, by name as in the log; `local` is this machine. Those that nobody sent to for a while and that did not
    /// fail are forgotten.
    pub fn standings(&self) -> Vec<(String, Standing)> {
        self.engine.standings()
    }

    /// What is under way, oldest first: what a drain waits for.
    pub fn held(&self) -> Vec<Held> {
        self.engine.held()
    }

    /// Claims nothing more until [`Delivery::try_all`], and new mail waits in the store; what is in hand goes on. For a drain that does not know
    /// yet whether the server comes back.
    pub fn pause(&self) {
        self.engine.pause();
    }

    /// Makes everything due that waits and is not held, ends back-offs, and goes on: for a server that does not come back.
    ///
    /// # Errors
    /// The store's: then only what was due is tried.
    pub async fn try_all(&self) -> Result<(), StoreError> {
        self.engine.try_all().await
    }

    /// Waits until everything was tried: nothing is in hand, and what is left is due later, held or kept waiting by operators. Not so as long
    /// as mail comes in.
    pub async fn nothing_left(&self) {
        self.engine.nothing_left().await;
    }

    /// Stops: no new work is taken, what is before its final dot is given back uncounted, what is after it is
    /// waited for, results are written. Returns when nothing is in hand any more, or after `limit`;
    /// then what is left was given back as "may have been delivered".
    pub async fn drain(&self, limit: Duration) {
        self.engine.drain(limit).await;
    }

    /// Whether the drain has begun: no attempt does any more.
    pub fn is_draining(&self) -> bool {
        self.engine.is_draining()
    }

    /// There are more or fewer servers now: what a destination gets is shared out anew.
    pub fn servers_changed(&self) {
        self.engine.share_out();
    }

    /// Makes everything that a changed configuration needs: routes, DNS, TLS, limits. Reads files: blocking.
    ///
    /// # Errors
    /// Says which setting cannot work; the old settings stay.
    pub fn prepare(&self, config: Arc<Config>) -> Result<Prepared, String> {
        self.engine.prepare(config).map(Prepared)
    }

    /// Puts it in force.
    pub fn take(&self, prepared: Prepared) {
        self.engine.take(prepared.0);
    }
}
