//! What this room asks of the others. The server fulfils it.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use smtp_directory::Directory;
use smtp_observe::Gauges;
use smtp_queue::{Filter, Store, StoreError};
use std::sync::Arc;

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: `listeners`, `storage`, `draining`.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, for people; empty for nothing to tell.
    pub detail: String,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reloaded {
    /// Generation of the configuration in force now.
    pub generation: u64,
    /// Keys with a new value in force.
    pub changed: Vec<String>,
    /// Keys whose new value needs a restart.
    pub needs_restart: Vec<String>,
}

/// The other rooms, as far as HTTP needs them.
#[async_trait]
pub trait Rooms: Send + Sync + 'static {
    /// Whether accept loops and schedulers make progress, or which one does not. Must not
    /// wait for a database, DNS or a disk.
    fn alive(&self) -> Result<(), String>;
    /// Everything that decides whether the server can take mail now; ready when all are ok.
    async fn ready(&self) -> Vec<Check>;
    /// The rooms' own figures.
    async fn gauges(&self) -> Gauges;
    /// The queue's store; `None` until recovery is done: the API answers 503.
    fn store(&self) -> Option<Arc<dyn Store>>;
    /// Domains, accounts, aliases and keys; `None` until the store is open: the API answers 503.
    fn directory(&self) -> Option<Arc<Directory>>;
    /// The values of the TXT records of a name, the strings of each joined; none when there is no such record.
    ///
    /// # Errors
    /// What went wrong with DNS.
    async fn txt_records(&self, name: &str) -> Result<Vec<String>, String>;
    /// An operator made recipients due: delivery tries them now.
    fn retry_now(&self);
    /// Bounces what waits and is meant, with this text or one of the server's. Gives how many messages, and whether there are more.
    ///
    /// # Errors
    /// The store's, or that delivery has not started yet.
    async fn bounce(&self, filter: &Filter, text: Option<&str>) -> Result<(u64, bool), StoreError>;
    /// Suspensions were changed in the store: they are in force when this returns.
    ///
    /// # Errors
    /// The store's; then they are in force within some seconds.
    async fn suspensions_changed(&self) -> Result<(), StoreError>;
    /// The admin password in force; `None` when there is none: the API answers 403 to everybody.
    fn admin_password(&self) -> Option<Arc<str>>;
    /// Reads the configuration again. The error is what is wrong with it; the old one stays.
    async fn reload(&self) -> Result<Reloaded, String>;
    /// The effective configuration with origins, secrets masked.
    fn config(&self) -> Value;
    /// Version, uptime, listeners, drain state, configuration generation.
    fn status(&self) -> Value;
}
