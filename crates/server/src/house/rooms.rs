//! What HTTP may know of the rooms, and ask of them.

use super::readiness::STORE_PATIENCE;
use super::{House, MAX_HOLDING, VERSION, shown, still_opened};
use crate::storage;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use smtp_config::{AdminToken, Shown};
use smtp_directory::Directory;
use smtp_history::History;
use smtp_http::{
    Check, ConfigStatus, DeclaredToken, Destination, DrainStatus, Holding, Member, Reloaded, Rooms, Session,
    Setting, Status, Webhook,
};
use smtp_observe::{Event, Gauges, Listener};
use smtp_queue::{CallsWaiting, Filter, State, Stats, Store, StoreError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

/// Figures that the store is asked for, if it answers; once for all who ask at the same time.
impl House {
    async fn stats(&self) -> Option<Stats> {
        let store = self.queue.get()?.store();
        let look = self.stats.look(async { store.stats().await.ok() });
        timeout(STORE_PATIENCE, look).await.ok()?
    }

    async fn waiting_calls(&self) -> Option<Vec<CallsWaiting>> {
        let webhooks = self.webhooks()?;
        let look = self.waiting_calls.look(async { webhooks.waiting().await.ok() });
        timeout(STORE_PATIENCE, look).await.ok()?
    }
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
        let now = self.queue.get().map_or_else(Timestamp::now, |queue| queue.now());
        let age = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
        let mut gauges = Gauges {
            config_generation: self.generation.load(Ordering::Relaxed),
            config_last_reload_success: self.last_reload_succeeded.load(Ordering::Relaxed),
            draining: self.stop.is_near(),
            left_behind: self.stop.last_left().unwrap_or(0),
            drain_seconds: self.stop.lasts().map_or(0.0, |lasts| lasts.as_secs_f64()),
            ..Gauges::default()
        };
        if let Some(delivery) = self.delivery() {
            let figures = delivery.figures();
            gauges.delivery_connections = figures.connections;
            gauges.delivery_in_progress = figures.in_progress;
            gauges.destinations_down = figures.destinations_down;
            gauges.destinations_paced = figures.destinations_paced;
        }
        if let Some(reception) = self.reception() {
            let certificates = reception.certificates();
            gauges.certificate_expiry = certificates.iter().map(|one| one.expires.as_second()).collect();
        }
        // All at once: with a store that does not answer, a scrape takes no longer than one of them.
        let (checks, waiting, stats) = tokio::join!(self.ready(), self.waiting_calls(), self.stats());
        gauges.ready = checks.iter().all(|check| check.ok);
        if let Some(waiting) = waiting {
            gauges.webhook_calls = waiting.iter().map(|one| one.calls).sum();
            let oldest = waiting.iter().map(|one| one.oldest).min();
            gauges.webhook_oldest_seconds = oldest.map_or(0.0, age);
        }
        if self.queue.get().is_none() {
            gauges.storage_away_seconds = self.waited().map_or(0.0, |waited| waited.as_secs_f64());
        }
        if let Some(queue) = self.queue.get() {
            gauges.storage_free_bytes = queue.spool().free_bytes();
            gauges.storage_size_bytes = queue.spool().size_bytes();
            gauges.scratch_used_bytes = queue.spool().scratch_used();
            gauges.scratch_limit_bytes = queue.spool().scratch_limit();
            gauges.storage_away_seconds = queue.store().away().map_or(0.0, |away| away.as_secs_f64());
            gauges.servers = queue
                .store()
                .shared()
                .map_or(1, |shared| shared.borrow().servers as u64);
        }
        if let Some(stats) = stats {
            gauges.queue_depth = stats.messages;
            gauges.recipients = State::ALL
                .map(State::name)
                .into_iter()
                .zip(stats.recipients)
                .collect();
            gauges.oldest_due_seconds = stats.oldest_due.map_or(0.0, age);
            gauges.due = stats.due;
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
        smtp_deliver::txt_records(&servers, name, self.observer.clone()).await
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
        Some(self.password())
    }

    async fn reload(&self) -> Result<Reloaded, String> {
        let house = self.me.upgrade().ok_or("the server is gone")?;
        let reloaded = house.reload_configuration().await;
        if let Some(queue) = self.queue.get() {
            match queue.store().ask_all_to_reload().await {
                Ok(asked) => drop(self.reloads_seen.fetch_max(asked, Ordering::AcqRel)),
                Err(error) => self.observer.emit(Event::StoreFailed {
                    operation: "reload",
                    error: &error.to_string(),
                }),
            }
        }
        reloaded
    }

    fn drain(&self, who: &str, now: bool) {
        self.stop.ask(&format!("asked by {who}"), now);
    }

    fn drain_status(&self) -> DrainStatus {
        let sessions = self
            .reception()
            .map(|reception| reception.sessions(None, MAX_HOLDING));
        let deliveries = self.delivery().map(|delivery| delivery.held());
        let webhooks = self.webhooks.get().map(|webhooks| webhooks.standings());
        let mut holding: Vec<Holding> = sessions
            .into_iter()
            .flatten()
            .map(shown::session_holding)
            .chain(deliveries.into_iter().flatten().map(shown::delivery_holding))
            .chain(webhooks.into_iter().flatten().filter_map(shown::webhook_holding))
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

    async fn servers(&self) -> Result<Vec<Member>, StoreError> {
        let queue = self.queue.get().ok_or_else(still_opened)?;
        if let Some(all) = queue.store().servers().await? {
            return Ok(all.into_iter().map(Member::from).collect());
        }
        let stats = queue.store().stats().await?;
        let now = Timestamp::now();
        let age = SignedDuration::try_from(self.started.elapsed()).unwrap_or_default();
        Ok(vec![Member {
            id: "local".into(),
            name: storage::server_name(),
            version: Some(VERSION.to_owned()),
            started: now.saturating_sub(age).ok(),
            seen: now,
            draining: self.stop.is_near(),
            leases: stats.recipients.get(State::Leased as usize).copied().unwrap_or(0),
            this: true,
        }])
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
                .chain([
                    ("http", text(self.http_addresses())),
                    ("admin", text(self.admin_addresses())),
                    ("metrics", text(metrics)),
                ])
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
