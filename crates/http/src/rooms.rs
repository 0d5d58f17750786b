//! What this room asks of the others. The server fulfils it.

use crate::auth;
use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use smtp_config::Scope;
use smtp_directory::Directory;
use smtp_history::History;
use smtp_observe::Gauges;
use smtp_queue::{Filter, ServerInfo, Store, StoreError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use utoipa::ToSchema;

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: `listeners`, `storage`, `draining`.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, for people; empty for nothing to tell. Of a check that is as it should be: what is less than well.
    pub detail: String,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Reloaded {
    /// Generation of the configuration in force now.
    pub generation: u64,
    /// Keys with a new value in force.
    pub changed: Vec<String>,
    /// Keys whose new value needs a restart.
    pub needs_restart: Vec<String>,
}

/// The server at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// `development`, `testing` or `production`.
    pub profile: String,
    /// Its name.
    pub hostname: String,
    /// Since the process started.
    pub uptime_seconds: u64,
    /// Whether it stops.
    pub draining: bool,
    /// Sessions open now.
    pub connections: u64,
    /// The addresses of each listener.
    pub listeners: BTreeMap<&'static str, Vec<String>>,
    /// The configuration in force.
    pub config: ConfigStatus,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConfigStatus {
    /// One more with each reload, from 1.
    pub generation: u64,
    /// Whether the last reload was taken.
    pub last_reload_succeeded: bool,
    /// Its file, if it has one.
    pub file: Option<String>,
}

/// A setting in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Setting {
    /// `section.key`.
    pub key: String,
    /// Its value; secrets are `***`.
    pub value: Value,
    /// Where the value came from: default, profile, file and line, variable or flag.
    pub origin: String,
    /// When a change of it takes effect: `live` (with a reload) or `restart`.
    pub reload: String,
}

/// A token that the configuration declares.
#[derive(Clone, Debug)]
pub struct DeclaredToken {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) hash: [u8; 32],
}

impl DeclaredToken {
    /// A token of that name, for that much.
    pub fn new(name: &str, scope: Scope, secret: &str) -> DeclaredToken {
        DeclaredToken {
            name: name.to_owned(),
            scope,
            hash: auth::hash(secret.as_bytes()),
        }
    }
}

/// An SMTP session in progress.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Session {
    /// Its number; later sessions have higher ones.
    pub number: u64,
    /// When the connection was taken.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Address and port of the client.
    pub peer: String,
    /// `smtp`, `smtps` or `submission`.
    pub listener: &'static str,
    /// Version of TLS; null in clear.
    pub tls: Option<&'static str>,
    /// Who it is, since AUTH.
    pub account: Option<String>,
    /// `handshake`, `command` (between mails), `mail` (an envelope is being made), `content` (a message comes in), `storing`.
    pub state: &'static str,
    /// Messages taken so far.
    pub messages: u64,
}

/// A server of the queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Server)]
pub struct Member {
    /// Its id; each start is another one. `local` with a queue in SQLite, which has one server.
    pub id: String,
    /// Its machine, which is the pod, and its process.
    pub name: String,
    /// Its version; null when it is an older one that does not say.
    pub version: Option<String>,
    /// When it started; null as above.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it was heard of last; one that was not for 60 s is dead.
    #[schema(value_type = String, format = DateTime)]
    pub seen: Timestamp,
    /// Whether it stops: it begins nothing.
    pub draining: bool,
    /// Recipients that it has in hand.
    pub leases: u64,
    /// Whether it is the one that answers.
    pub this: bool,
}

impl From<ServerInfo> for Member {
    fn from(one: ServerInfo) -> Member {
        Member {
            id: one.id,
            name: one.name,
            version: (!one.version.is_empty()).then_some(one.version),
            started: one.started,
            seen: one.seen,
            draining: one.draining,
            leases: one.leases,
            this: one.this,
        }
    }
}

/// A next hop, as delivery sees it now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Destination {
    /// Host and port, or the domain whose exchangers are asked; `local` for Maildirs.
    pub name: String,
    /// `up`, `down` (left alone until `next_attempt`) or `probing` (one connection tries whether it is back).
    pub state: &'static str,
    /// Recipients in memory that wait for a connection.
    pub waiting: u64,
    /// Recipients whose mail is being sent.
    pub sending: u64,
    /// Open connections.
    pub connections: u64,
    /// Connections that it gets now; grows with success.
    pub concurrency: u64,
    /// Connections that it gets at most.
    pub max_concurrency: u64,
    /// Messages in a second that it gets at most from this server; null: there is no limit.
    pub max_rate: Option<f64>,
    /// Whether its mail waits for that now.
    pub waits_for_rate: bool,
    /// Times in a row that it could not be talked to.
    pub failures: u64,
    /// Why it could not be talked to the last time; null when it never failed or was forgotten since.
    pub last_error: Option<String>,
    /// When that was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_error_at: Option<Timestamp>,
    /// When it is tried again, while it is down.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt: Option<Timestamp>,
}

/// A webhook, and how its receiver stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Webhook {
    /// Its name in the configuration.
    pub name: String,
    /// `up`; `down`: it takes no calls; `untried` since the start; `gone`: it is not configured any more.
    pub state: &'static str,
    /// Where calls go.
    pub url: Option<String>,
    /// What it is told of: `delivered`, `deferred`, `bounced`, `expired`, `captured`.
    pub events: Vec<&'static str>,
    /// Whose mail; empty: everybody's.
    pub accounts: Vec<String>,
    /// Calls that wait.
    pub waiting: u64,
    /// When the oldest call's event was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Timestamp>,
    /// Calls that it took since the start.
    pub taken: u64,
    /// When it took the last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_taken_at: Option<Timestamp>,
    /// Why it did not take one, the last time that it did not.
    pub last_error: Option<String>,
    /// When that was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_error_at: Option<Timestamp>,
}

/// How far the server's end is, and what holds it up.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DrainStatus {
    /// `running`; `draining`: nothing is begun, what was begun may finish; `handover`: the pod does not come back, and its mail is tried once
    /// more; `closing`: the store is written out.
    pub phase: &'static str,
    /// Who asked: the name of a signal, or of a caller.
    pub reason: Option<String>,
    /// When it was asked for.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Messages that are still in the queue of a pod that does not come back; null for any other, and before they could be counted.
    pub left: Option<u64>,
    /// How many things hold it up.
    pub count: u64,
    /// The first thousand of them, oldest first; while the server runs what would.
    pub holding: Vec<Holding>,
}

/// Something that has to end before the server can.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Holding {
    /// Whose it is: `receive`, `deliver` or `webhooks`.
    pub room: &'static str,
    /// What it is, for people.
    pub what: String,
    /// When it began; null where that is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
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
    /// What happened to messages; `None` while the store is being opened, and when the configuration does not want it.
    fn history(&self) -> Option<Arc<History>>;
    /// The folder of captured mail, whether there is any or not.
    fn captured(&self) -> PathBuf;
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
    /// Asks for the server's end, as SIGTERM does; with `now` also that nothing be waited for, as a second one does.
    fn drain(&self, who: &str, now: bool);
    /// How far the end is.
    fn drain_status(&self) -> DrainStatus;
    /// The next hops that delivery remembers, by name.
    fn destinations(&self) -> Vec<Destination>;
    /// The webhooks by name, those too that are gone while something waits for them.
    ///
    /// # Errors
    /// The store's.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;
    /// Makes what waits for a webhook now. Gives how many calls; `None` when there is none of that name.
    ///
    /// # Errors
    /// The store's.
    async fn retry_webhook(&self, name: &str) -> Result<Option<u64>, StoreError>;
    /// The servers of the queue by id.
    ///
    /// # Errors
    /// The store's.
    async fn servers(&self) -> Result<Vec<Member>, StoreError>;
    /// Sessions in progress, by number: at most `limit` with higher numbers than `after`.
    fn sessions(&self, after: Option<u64>, limit: usize) -> Vec<Session>;
    /// The admin password in force; `None` when there is none: the API answers 403 to everybody.
    fn admin_password(&self) -> Option<Arc<str>>;
    /// The tokens that the configuration in force declares.
    fn declared_tokens(&self) -> Vec<DeclaredToken>;
    /// Reads the configuration again. The error is what is wrong with it; the old one stays.
    async fn reload(&self) -> Result<Reloaded, String>;
    /// The effective configuration with origins, secrets masked.
    fn config(&self) -> Vec<Setting>;
    /// The server at a glance.
    fn status(&self) -> Status;
}
