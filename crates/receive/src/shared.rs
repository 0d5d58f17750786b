//! What all listeners and sessions share: the configuration in force, the count of sessions, and the
//! phase of the server's life.

use crate::Neighbours;
use crate::auth::Authenticator;
use crate::callout::Callout;
use crate::policy::Policy;
use crate::quota::Quotas;
use crate::rate_limit::{RateLimiter, limited};
use crate::sessions::Sessions;
use crate::tls::Tls;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use smtp_config::Config;
use smtp_directory::{Account, Directory};
use smtp_observe::Observer;
use smtp_queue::Queue;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, Semaphore};

/// One client (an IPv4 address, an IPv6 /64) gets this part of `server.max_connections`: a tenth.
const SHARES: usize = 10;
/// But at least so many.
const LEAST_SHARE: usize = 20;
/// Connections without a slot that are waited for, each for a second or two, until they have read why they are refused. Those beyond
/// are told and closed at once, and may lose what they are told.
pub(crate) const LINGERERS: usize = 256;

/// Where the server is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Taking mail.
    Serving = 0,
    /// Mails in progress may finish; nothing new begins.
    Draining = 1,
    /// The drain's limit has passed: every session ends now.
    Closing = 2,
}

/// Shared by all listeners and sessions.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) observer: Observer,
    /// Unless `tls.enabled` is false.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) callout: Option<Arc<dyn Callout>>,
    pub(crate) authenticator: Authenticator,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) sessions: Sessions,
    config: Arc<ArcSwap<Config>>,
    policy: ArcSwap<Policy>,
    limiter: RateLimiter,
    started: Instant,
    open: AtomicUsize,
    /// Connections of each client that is not exempt from limits.
    open_of: Mutex<HashMap<u128, usize>>,
    /// Where this process connects from to its own `smtp` listener.
    own: Mutex<Option<SocketAddr>>,
    emptied: Notify,
    /// Places of [`LINGERERS`].
    pub(crate) lingering: Semaphore,
    phase: AtomicU8,
    phase_changed: Arc<Notify>,
}

/// One of `server.max_connections`; dropping it gives it back, also when the session panics.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    /// As whose it is counted, once that is known.
    client: Option<u128>,
}

/// No slot is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// For anybody.
    Server,
    /// For this client.
    Client,
}

impl Shared {
    pub(crate) fn new(
        config: Arc<ArcSwap<Config>>,
        neighbours: Neighbours,
        observer: Observer,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        let policy = ArcSwap::from_pointee(Policy::new(config.load_full()));
        let Neighbours {
            queue,
            directory,
            tokens,
            callout,
        } = neighbours;
        let at_once = config.load().auth.max_hashing;
        Shared {
            authenticator: Authenticator::new(
                directory.clone(),
                tokens,
                queue.clone(),
                observer.clone(),
                at_once,
            ),
            queue,
            observer,
            tls,
            directory,
            callout,
            quotas: Quotas::new(),
            sessions: Sessions::default(),
            config,
            policy,
            limiter: RateLimiter::new(),
            started: Instant::now(),
            open: AtomicUsize::new(0),
            open_of: Mutex::default(),
            own: Mutex::default(),
            emptied: Notify::new(),
            lingering: Semaphore::new(LINGERERS),
            phase: AtomicU8::new(Phase::Serving as u8),
            phase_changed: Arc::new(Notify::new()),
        }
    }

    /// The policy of the configuration in force, derived anew after a reload.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        let policy = self.policy.load_full();
        let config = self.config.load();
        if Arc::ptr_eq(&policy.config, &config) {
            return policy;
        }
        let fresh = Arc::new(Policy::new(Arc::clone(&config)));
        self.policy.store(fresh.clone());
        fresh
    }

    /// Takes a token of the client's rate limit, or of its account's, or says how long to wait for one.
    pub(crate) fn take_token(
        &self,
        policy: &Policy,
        client: IpAddr,
        account: Option<&Account>,
    ) -> Result<(), Duration> {
        let account = account.map(|account| &*account.name);
        self.limiter.take(
            &policy.config.rate_limiting,
            client,
            account,
            |of_all| self.share(of_all),
            self.started.elapsed(),
        )
    }

    /// This server's share of what an account has with all servers together.
    pub(crate) fn share(&self, of_all: u32) -> u32 {
        u32::try_from(self.queue.share(of_all.into())).unwrap_or(of_all)
    }

    /// A slot for a connection, unless all are taken. Whose it is counts since [`Slot::belongs_to`].
    pub(crate) fn take_slot(self: &Arc<Self>, config: &Config) -> Result<Slot, Full> {
        // Given back when it is dropped.
        let slot = Slot {
            shared: self.clone(),
            client: None,
        };
        match self.open.fetch_add(1, Ordering::AcqRel) < config.server.max_connections {
            true => Ok(slot),
            false => Err(Full::Server),
        }
    }

    /// Whether a connection from `peer` is this process's own, announced by [`Shared::expect_own`]. Only one is.
    pub(crate) fn is_own(&self, peer: SocketAddr) -> bool {
        self.own.lock().take_if(|own| *own == peer).is_some()
    }

    /// The next connection from there is this process's own; that from the address before no longer is.
    pub(crate) fn expect_own(&self, from: Option<SocketAddr>) {
        *self.own.lock() = from;
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open.
    pub(crate) async fn emptied(&self) {
        loop {
            // Before the count is read: a slot given back in between is then not missed.
            let emptied = self.emptied.notified();
            if self.open_connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Goes on to `phase` and wakes every session that waits.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.phase_changed.notify_waiters();
    }

    /// Is ready after the next change of phase. Make it before the phase is read.
    pub(crate) fn phase_changed(&self) -> OwnedNotified {
        self.phase_changed.clone().notified_owned()
    }
}

impl Slot {
    /// Counts the connection as one of `client`, unless that has its share of them: one that is not exempt from limits
    /// cannot keep everybody else out.
    pub(crate) fn belongs_to(&mut self, config: &Config, client: IpAddr) -> Result<(), Full> {
        let Some(client) = limited(&config.rate_limiting, client) else {
            return Ok(());
        };
        let mut open_of = self.shared.open_of.lock();
        let own = open_of.entry(client).or_default();
        if *own >= (config.server.max_connections / SHARES).max(LEAST_SHARE) {
            return Err(Full::Client);
        }
        *own += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            let mut open_of = self.shared.open_of.lock();
            match open_of.get_mut(&client) {
                Some(own) if *own > 1 => *own -= 1,
                _ => {
                    open_of.remove(&client);
                }
            }
        }
        if self.shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.emptied.notify_waiters();
        }
    }
}
