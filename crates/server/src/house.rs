//! The rooms of the running server, and what HTTP may know of them.

mod shown;
mod stop;

pub(crate) use stop::{Phase, Stop};

use crate::people::People;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use rand::Rng;
use smtp_config::{AdminToken, Config, Loaded, LogFormat, LogLevel, Shown, Sources, Watched};
use smtp_deliver::Delivery;
use smtp_directory::Directory;
use smtp_export::{Traces, Webhooks};
use smtp_history::History;
use smtp_http::{
    Check, ConfigStatus, DeclaredToken, Destination, DrainStatus, Holding, Reloaded, Rooms, Session, Setting,
    Status, Webhook,
};
use smtp_observe::{Event, Gauges, Level, Listener, LogSettings, Observer, Tap};
use smtp_queue::{Filter, Queue, State, Store, StoreError};
use smtp_receive::Reception;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Version of the product.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Letters and digits of a password that is made at start: 20 of them are 119 bits.
const PASSWORD_LENGTH: usize = 20;
/// How long it is believed that the store can be written, or cannot.
const WRITTEN_ANEW: Duration = Duration::from_secs(2);
/// Most things on the list of what holds the end up.
const MAX_HOLDING: usize = 1000;
/// How long the store may take to answer before the server calls itself not ready.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

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
    /// The files of the configuration; held while it is reloaded.
    pub(crate) reloading: tokio::sync::Mutex<Watched>,
    pub(crate) password: Arc<str>,
    me: Weak<House>,
    started: Instant,
    /// Its end.
    pub(crate) stop: Stop,
    /// Whether the store could be written, and when that was tried.
    written: tokio::sync::Mutex<Option<(Instant, Result<(), StoreError>)>>,
    http_addresses: OnceLock<Vec<SocketAddr>>,
    metrics_addresses: OnceLock<Vec<SocketAddr>>,
    queue: OnceLock<Queue>,
    history: OnceLock<Arc<History>>,
    delivery: OnceLock<Arc<Delivery>>,
    people: OnceLock<People>,
    reception: OnceLock<Arc<Reception>>,
    traces: OnceLock<Traces>,
    webhooks: OnceLock<Webhooks>,
}

impl House {
    pub(crate) fn new(loaded: Loaded, sources: Sources, watched: Watched) -> Arc<House> {
        let password = loaded.config.admin.password.as_ref();
        let password = password.map_or_else(new_password, |password| password.expose().into());
        Arc::new_cyclic(|me| House {
            me: me.clone(),
            observer: Observer::new(log_settings(&loaded.config)),
            config: Arc::new(ArcSwap::from_pointee(loaded.config.clone())),
            loaded: ArcSwap::from_pointee(loaded),
            sources,
            generation: AtomicU64::new(1),
            last_reload_succeeded: AtomicBool::new(true),
            reloading: tokio::sync::Mutex::new(watched),
            password,
            started: Instant::now(),
            stop: Stop::new(),
            written: tokio::sync::Mutex::default(),
            http_addresses: OnceLock::new(),
            metrics_addresses: OnceLock::new(),
            queue: OnceLock::new(),
            history: OnceLock::new(),
            delivery: OnceLock::new(),
            people: OnceLock::new(),
            reception: OnceLock::new(),
            traces: OnceLock::new(),
            webhooks: OnceLock::new(),
        })
    }

    /// The first lines of the log.
    pub(crate) fn announce(&self) {
        let config = self.config.load();
        let storage = config.storage.path.display().to_string();
        let profile = config.profile.name();
        self.observer.emit(Event::Starting {
            version: VERSION,
            profile,
            storage: &storage,
        });
        for warning in &self.loaded.load().warnings {
            self.observer.emit(Event::ConfigWarning { warning });
        }
    }

    pub(crate) fn http_opened(&self, server: &smtp_http::Server) {
        // Each room opens once.
        let _ = self.http_addresses.set(server.addresses().to_vec());
        let _ = self.metrics_addresses.set(server.metrics_addresses().to_vec());
    }

    pub(crate) fn queue_opened(&self, queue: Queue) {
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

    /// Addresses of health and API.
    pub(crate) fn http_addresses(&self) -> &[SocketAddr] {
        self.http_addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Addresses of one of the SMTP listeners.
    pub(crate) fn smtp_addresses(&self, listener: Listener) -> Vec<SocketAddr> {
        self.reception()
            .map(|reception| reception.addresses(listener))
            .unwrap_or_default()
    }

    /// The password that was made at this start, when none is configured.
    pub(crate) fn made_password(&self) -> Option<&str> {
        self.config
            .load()
            .admin
            .password
            .is_none()
            .then_some(&*self.password)
    }

    /// From now on the server is not ready.
    pub(crate) fn draining(&self, reason: &str) {
        self.stop.enter(Phase::Draining, reason);
        self.observer.emit(Event::Stopping { reason });
    }

    /// Nothing is waited for any more; the store is being closed.
    pub(crate) fn closing(&self) {
        self.stop.enter(Phase::Closing, "");
    }

    /// The last line of the log of a server that was ready.
    pub(crate) fn stopped(&self, queued: u64) {
        let totals = self.observer.totals();
        self.observer.emit(Event::Stopped {
            received: totals.received,
            delivered: totals.delivered,
            deferred: totals.deferred,
            queued,
            uptime: self.started.elapsed(),
        });
    }

    /// Whether the listeners are open, for readiness.
    fn check_listeners(&self) -> Check {
        let result = match self.reception() {
            None => Err("not open yet: they open when the store is recovered".to_owned()),
            Some(reception) => reception.alive(),
        };
        Check {
            name: "listeners",
            ok: result.is_ok(),
            detail: result.err().unwrap_or_default(),
        }
    }

    /// Whether the store answers, and has room for a message.
    async fn check_storage(&self) -> Check {
        let failed = |detail: String| Check {
            name: "storage",
            ok: false,
            detail,
        };
        let Some(queue) = self.queue.get() else {
            return failed(format!(
                "the store is being opened and recovered, for {} s now; a long queue takes a while",
                self.started.elapsed().as_secs()
            ));
        };
        if !queue.spool().has_room(0) {
            return failed(self.nearly_full(queue.spool().free_bytes()));
        }
        match tokio::time::timeout(STORE_PATIENCE, self.write(&**queue.store())).await {
            Err(_) => failed(format!(
                "the store does not answer within {} s: is its disk slow or stuck?",
                STORE_PATIENCE.as_secs()
            )),
            Ok(Err(error)) => failed(error.to_string()),
            Ok(Ok(())) => Check {
                name: "storage",
                ok: true,
                detail: String::new(),
            },
        }
    }

    /// Writes to the store, unless that was done a moment ago: however often it is asked, this costs next to nothing.
    async fn write(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut written = self.written.lock().await;
        match &*written {
            Some((at, result)) if at.elapsed() < WRITTEN_ANEW => result.clone(),
            _ => {
                let result = store.writable().await;
                *written = Some((Instant::now(), result.clone()));
                result
            }
        }
    }

    fn nearly_full(&self, free: u64) -> String {
        let storage = &self.config.load().storage;
        format!(
            "the disk of {} is nearly full: {free} octets are free, storage.min_free is {}; MAIL gets 452, delivery goes on",
            storage.path.display(),
            storage.min_free
        )
    }

    fn check_draining(&self) -> Check {
        let draining = self.stop.is_near();
        let detail = if draining { "the server is stopping" } else { "" };
        Check {
            name: "draining",
            ok: !draining,
            detail: detail.into(),
        }
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

fn new_password() -> Arc<str> {
    let letters = rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(PASSWORD_LENGTH);
    letters.map(char::from).collect::<String>().into()
}

#[async_trait]
impl Rooms for House {
    fn alive(&self) -> Result<(), String> {
        self.reception().map_or(Ok(()), |reception| reception.alive())?;
        self.delivery().map_or(Ok(()), |delivery| delivery.alive())
    }

    async fn ready(&self) -> Vec<Check> {
        vec![
            self.check_listeners(),
            self.check_storage().await,
            self.check_draining(),
        ]
    }

    async fn gauges(&self) -> Gauges {
        let age = |since: Timestamp| Timestamp::now().duration_since(since).as_secs_f64().max(0.0);
        let mut gauges = Gauges {
            config_generation: self.generation.load(Ordering::Relaxed),
            config_last_reload_success: self.last_reload_succeeded.load(Ordering::Relaxed),
            draining: self.stop.is_near(),
            ..Gauges::default()
        };
        if let Some(delivery) = self.delivery() {
            let figures = delivery.figures();
            gauges.delivery_connections = figures.connections;
            gauges.delivery_in_progress = figures.in_progress;
            gauges.destinations_down = figures.destinations_down;
        }
        if let Some(reception) = self.reception() {
            let certificates = reception.certificates();
            gauges.certificate_expiry = certificates.iter().map(|one| one.expires.as_second()).collect();
        }
        if let Some(webhooks) = self.webhooks()
            && let Ok(Ok(waiting)) = tokio::time::timeout(STORE_PATIENCE, webhooks.waiting()).await
        {
            gauges.webhook_calls = waiting.iter().map(|one| one.calls).sum();
            let oldest = waiting.iter().map(|one| one.oldest).min();
            gauges.webhook_oldest_seconds = oldest.map_or(0.0, age);
        }
        if let Some(queue) = self.queue.get() {
            gauges.storage_free_bytes = queue.spool().free_bytes();
            if let Ok(Ok(stats)) = tokio::time::timeout(STORE_PATIENCE, queue.store().stats()).await {
                gauges.queue_depth = stats.messages;
                gauges.recipients = State::ALL
                    .map(State::name)
                    .into_iter()
                    .zip(stats.recipients)
                    .collect();
                gauges.oldest_due_seconds = stats.oldest_due.map_or(0.0, age);
            }
        }
        gauges
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        self.queue.get().map(|queue| queue.store().clone())
    }

    fn captured(&self) -> PathBuf {
        smtp_deliver::capture_folder(&self.config.load())
    }

    fn history(&self) -> Option<Arc<History>> {
        self.history.get().cloned()
    }

    fn directory(&self) -> Option<Arc<Directory>> {
        self.people().map(|people| people.directory.clone())
    }

    async fn txt_records(&self, name: &str) -> Result<Vec<String>, String> {
        let servers = self.config.load().dns.servers.clone();
        smtp_deliver::txt_records(&servers, name).await
    }

    fn retry_now(&self) {
        if let Some(queue) = self.queue.get() {
            queue.retry_now();
        }
    }

    async fn bounce(&self, filter: &Filter, text: Option<&str>) -> Result<(u64, bool), StoreError> {
        let starting = || StoreError::Unavailable("delivery has not started yet".into());
        self.delivery().ok_or_else(starting)?.bounce(filter, text).await
    }

    async fn suspensions_changed(&self) -> Result<(), StoreError> {
        match self.delivery() {
            // It reads them when it starts.
            None => Ok(()),
            Some(delivery) => delivery.suspensions_changed().await,
        }
    }

    fn admin_password(&self) -> Option<Arc<str>> {
        Some(self.password.clone())
    }

    async fn reload(&self) -> Result<Reloaded, String> {
        let house = self.me.upgrade().ok_or("the server is gone")?;
        house.reload_configuration().await
    }

    fn drain(&self, who: &str, now: bool) {
        self.stop.ask(&format!("asked by {who}"), now);
    }

    fn drain_status(&self) -> DrainStatus {
        let sessions = self
            .reception()
            .map(|reception| reception.sessions(None, MAX_HOLDING));
        let deliveries = self.delivery().map(|delivery| delivery.held());
        let mut holding: Vec<Holding> = sessions
            .into_iter()
            .flatten()
            .map(shown::session_holding)
            .chain(deliveries.into_iter().flatten().map(shown::delivery_holding))
            .collect();
        holding.sort_by_key(|one| one.since);
        let beyond = self.reception().map_or(0, |reception| reception.connections());
        let count = holding.len().max(beyond) as u64;
        holding.truncate(MAX_HOLDING);
        shown::drain(self.stop.state(), holding, count)
    }

    fn destinations(&self) -> Vec<Destination> {
        let standings = self.delivery().map(|delivery| delivery.standings());
        standings
            .into_iter()
            .flatten()
            .map(|(name, standing)| shown::destination(name, standing))
            .collect()
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        match self.webhooks.get() {
            Some(webhooks) => Ok(shown::webhooks(webhooks.standings(), webhooks.waiting().await?)),
            None => Err(still_opened()),
        }
    }

    async fn retry_webhook(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.webhooks.get() {
            Some(webhooks) => webhooks.retry(name).await,
            None => Err(still_opened()),
        }
    }

    fn sessions(&self, after: Option<u64>, limit: usize) -> Vec<Session> {
        let sessions = self.reception().map(|reception| reception.sessions(after, limit));
        sessions.into_iter().flatten().map(shown::session).collect()
    }

    fn declared_tokens(&self) -> Vec<DeclaredToken> {
        let declared = &self.config.load().admin_tokens;
        let token = |one: &AdminToken| DeclaredToken::new(&one.name, one.scope, one.token.expose());
        declared.iter().map(token).collect()
    }

    fn config(&self) -> Vec<Setting> {
        let setting = |shown: Shown| Setting {
            key: shown.key.to_owned(),
            value: shown.value,
            origin: shown.origin,
            reload: shown.reload.name().to_owned(),
        };
        let shown = smtp_config::show_values(&self.loaded.load());
        shown.into_iter().map(setting).collect()
    }

    fn status(&self) -> Status {
        let config = self.config.load();
        let text = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();
        let smtp = |listener: Listener| (listener.name(), text(&self.smtp_addresses(listener)));
        let metrics = self.metrics_addresses.get().map_or(&[][..], Vec::as_slice);
        Status {
            version: VERSION.to_owned(),
            profile: config.profile.name().to_owned(),
            hostname: config.server.hostname.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            draining: self.stop.is_near(),
            connections: self
                .reception()
                .map_or(0, |reception| reception.connections() as u64),
            listeners: Listener::ALL
                .iter()
                .copied()
                .map(smtp)
                .chain([("http", text(self.http_addresses())), ("metrics", text(metrics))])
                .collect(),
            config: ConfigStatus {
                generation: self.generation.load(Ordering::Relaxed),
                last_reload_succeeded: self.last_reload_succeeded.load(Ordering::Relaxed),
                file: self
                    .loaded
                    .load()
                    .file
                    .as_ref()
                    .map(|file| file.display().to_string()),
            },
        }
    }
}
