//! The rooms of the running server, and what HTTP may know of them.

mod password;
mod readiness;
mod rooms;
mod shown;
mod stop;
mod together;
mod waits;
mod written;

pub(crate) use stop::{Phase, Stop};

use crate::farewell::{self, Leaver};
use crate::people::People;
use crate::storage;
use arc_swap::ArcSwap;
use smtp_config::{Config, Loaded, LogFormat, LogLevel, Sources, Watched};
use smtp_deliver::Delivery;
use smtp_export::{Traces, Webhooks};
use smtp_history::History;
use smtp_observe::{Event, Level, Listener, LogSettings, Observer, Tap};
use smtp_queue::{CallsWaiting, Queue, Stats, StoreError};
use smtp_receive::Reception;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;
use together::Together;
use waits::Waits;
use written::Written;

/// Version of the product.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Most things on the list of what holds the end up.
const MAX_HOLDING: usize = 1000;

fn still_opened() -> StoreError {
    StoreError::Unavailable("the store is still being opened".into())
}

/// Everything that runs. Rooms are added as they open.
pub(crate) struct House {
    /// What is in force; shared with every room.
    pub(crate) config: Arc<ArcSwap<Config>>,
    /// The same with its origins.
    pub(crate) loaded: ArcSwap<Loaded>,
    pub(crate) sources: Sources,
    pub(crate) observer: Observer,
    /// From 1, one more with each reload.
    pub(crate) generation: AtomicU64,
    pub(crate) last_reload_succeeded: AtomicBool,
    /// How often all servers of a shared store had been told to reload when this one did last.
    pub(crate) reloads_seen: AtomicU64,
    /// The files of the configuration; held while it is reloaded.
    pub(crate) reloading: tokio::sync::Mutex<Watched>,
    /// The administrator's, in force.
    password: ArcSwap<Arc<str>>,
    me: Weak<House>,
    started: Instant,
    /// Its end.
    pub(crate) stop: Stop,
    /// Whether the store could be written, and when that was tried.
    written: Written,
    /// What scrapers want to know of the store.
    stats: Together<Option<Stats>>,
    waiting_calls: Together<Option<Vec<CallsWaiting>>>,
    /// For a database that was away when the store was to be opened.
    waits: Waits,
    http_addresses: OnceLock<Vec<SocketAddr>>,
    admin_addresses: OnceLock<Vec<SocketAddr>>,
    metrics_addresses: OnceLock<Vec<SocketAddr>>,
    queue: OnceLock<Queue>,
    history: OnceLock<Arc<History>>,
    delivery: OnceLock<Arc<Delivery>>,
    people: OnceLock<People>,
    reception: OnceLock<Arc<Reception>>,
    traces: OnceLock<Traces>,
    webhooks: OnceLock<Webhooks>,
    leaver: OnceLock<Leaver>,
}

impl House {
    pub(crate) fn new(loaded: Loaded, sources: Sources, watched: Watched) -> Arc<House> {
        let password = loaded.config.admin.password.as_ref();
        let password = password.map_or_else(password::made, |password| password.expose().into());
        Arc::new_cyclic(|me| House {
            me: me.clone(),
            observer: Observer::new(log_settings(&loaded.config)),
            config: Arc::new(ArcSwap::from_pointee(loaded.config.clone())),
            loaded: ArcSwap::from_pointee(loaded),
            sources,
            generation: AtomicU64::new(1),
            last_reload_succeeded: AtomicBool::new(true),
            reloads_seen: AtomicU64::new(0),
            reloading: tokio::sync::Mutex::new(watched),
            password: ArcSwap::from_pointee(password),
            started: Instant::now(),
            stop: Stop::new(),
            written: Written::default(),
            stats: Together::default(),
            waiting_calls: Together::default(),
            waits: Waits::default(),
            http_addresses: OnceLock::new(),
            admin_addresses: OnceLock::new(),
            metrics_addresses: OnceLock::new(),
            queue: OnceLock::new(),
            history: OnceLock::new(),
            delivery: OnceLock::new(),
            people: OnceLock::new(),
            reception: OnceLock::new(),
            traces: OnceLock::new(),
            webhooks: OnceLock::new(),
            leaver: OnceLock::new(),
        })
    }

    /// The first lines of the log.
    pub(crate) fn announce(&self) {
        let config = self.config.load();
        let storage = storage::shown(&config);
        let profile = config.profile.name();
        self.observer.emit(Event::Starting {
            version: VERSION,
            profile,
            storage: &storage,
        });
        let of_this_place = farewell::warnings(&config);
        for warning in self.loaded.load().warnings.iter().chain(&of_this_place) {
            self.observer.emit(Event::ConfigWarning { warning });
        }
    }

    pub(crate) fn http_opened(&self, server: &smtp_http::Server) {
        // Each room opens once.
        let _ = self.http_addresses.set(server.addresses());
        let _ = self.admin_addresses.set(server.admin_addresses());
        let _ = self.metrics_addresses.set(server.metrics_addresses());
    }

    pub(crate) fn queue_opened(&self, queue: Queue) {
        if let Some(shared) = queue.store().shared() {
            self.reloads_seen
                .store(shared.borrow().reloads, Ordering::Release);
        }
        let _ = self.queue.set(queue);
    }

    pub(crate) fn history_opened(&self, history: Arc<History>) {
        let tap: Arc<dyn Tap> = history.clone();
        self.observer.tap(&tap);
        let _ = self.history.set(history);
    }

    pub(crate) fn history(&self) -> Option<&Arc<History>> {
        self.history.get()
    }

    pub(crate) fn traces_started(&self, traces: Traces) {
        let _ = self.traces.set(traces);
    }

    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.traces.get()
    }

    pub(crate) fn webhooks_started(&self, webhooks: Webhooks) {
        let _ = self.webhooks.set(webhooks);
    }

    pub(crate) fn webhooks(&self) -> Option<&Webhooks> {
        self.webhooks.get()
    }

    pub(crate) fn delivery_started(&self, delivery: Arc<Delivery>) {
        let _ = self.delivery.set(delivery);
    }

    pub(crate) fn people_known(&self, people: People) {
        let _ = self.people.set(people);
    }

    pub(crate) fn queue(&self) -> Option<&Queue> {
        self.queue.get()
    }

    pub(crate) fn people(&self) -> Option<&People> {
        self.people.get()
    }

    pub(crate) fn reception_started(&self, reception: Arc<Reception>) {
        let _ = self.reception.set(reception);
    }

    pub(crate) fn delivery(&self) -> Option<&Arc<Delivery>> {
        self.delivery.get()
    }

    pub(crate) fn reception(&self) -> Option<&Arc<Reception>> {
        self.reception.get()
    }

    /// Addresses of health; of the API too, unless it has its own.
    pub(crate) fn http_addresses(&self) -> &[SocketAddr] {
        self.http_addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Addresses of the API's own listener; none when it has none.
    pub(crate) fn admin_addresses(&self) -> &[SocketAddr] {
        self.admin_addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Addresses of one of the SMTP listeners.
    pub(crate) fn smtp_addresses(&self, listener: Listener) -> Vec<SocketAddr> {
        self.reception()
            .map(|reception| reception.addresses(listener))
            .unwrap_or_default()
    }

    /// From now on the server is not ready.
    pub(crate) fn draining(&self, reason: &str) {
        self.stop.enter(Phase::Draining, reason);
        self.observer.emit(Event::Stopping { reason });
    }

    /// The pod does not come back, with so many messages in its queue if they could be counted.
    pub(crate) fn leaving(&self, leaver: Leaver, messages: Option<u64>) {
        self.stop.hand_over(messages);
        // It is asked once.
        let _ = self.leaver.set(leaver);
    }

    /// Its mail was tried, as far as there was time.
    pub(crate) fn handed_over(&self) {
        self.stop.handed_over();
    }

    /// This pod, if it does not come back.
    pub(crate) fn leaver(&self) -> Option<&Leaver> {
        self.leaver.get()
    }

    /// Nothing is waited for any more; the store is being closed.
    pub(crate) fn closing(&self) {
        self.stop.enter(Phase::Closing, "");
    }

    /// The last line of the log of a server that was ready; figures that could not be had are left out.
    pub(crate) fn stopped(&self, queued: Option<u64>, left_behind: Option<u64>) {
        let totals = self.observer.totals();
        self.observer.emit(Event::Stopped {
            received: totals.received,
            delivered: totals.delivered,
            deferred: totals.deferred,
            queued,
            left_behind,
            uptime: self.started.elapsed(),
        });
    }
}

/// Level and format of the log; without a format, text on a terminal.
pub(crate) fn log_settings(config: &Config) -> LogSettings {
    let level = match config.logging.level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    };
    let json = match config.logging.format {
        Some(format) => format == LogFormat::Json,
        None => !std::io::stdout().is_terminal(),
    };
    LogSettings { level, json }
}
