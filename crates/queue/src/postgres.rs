//! The store that many servers share: PostgreSQL 14 or newer.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `connect`, `tls` | how the database is reached |
//! | `link` | connections, statements, and an end to waiting |
//! | `schema` | the schema and its migrations |
//! | `servers`, `pulse` | the servers that share the queue, and what each does again and again |
//! | `lane` | certainty about each change, and why nothing can be lost |
//! | `writer` | many messages in one statement |
//! | `insert`, `claim`, `finish`, `operate` | one file for each kind of change |
//! | `bodies` | large contents, in pieces |
//! | `clock` | the clock of the database |
//! | `records` | the audit trail, tokens, suspensions |
//! | `outbox`, `directory` | what webhooks are to be told; domains, accounts, aliases and keys |
//! | `history` | what happened to each message |
//! | `read` | questions |
//! | `row`, `filter`, `error` | what rows, filters and errors mean |
//!
//! Every change is one transaction with `synchronous_commit = on`, and is answered after its COMMIT.

mod bodies;
mod claim;
mod clock;
mod connect;
mod directory;
mod error;
mod filter;
mod finish;
mod history;
mod insert;
mod lane;
mod link;
mod operate;
mod outbox;
mod pulse;
mod read;
mod records;
mod results;
mod row;
mod schema;
mod servers;
mod tls;
mod writer;

pub use connect::Database;
pub use history::PostgresHistory;
pub use schema::Migration;

use crate::id::QueueId;
use crate::message::{Attempt, Beginning, Body, Claim, Message, NewMessage, RecipientResult, State};
use crate::operator::{
    Action, ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded,
};
use crate::spool::{Folders, Spool};
use crate::store::{
    ClaimRequest, Filter, Finished, MessageDetail, MessageSummary, Released, Shared, Stats, Store, StoreError,
};
use async_trait::async_trait;
use bodies::Content;
use claim::Unreadable;
use clock::{Clock, Measured};
use filter::Condition;
use insert::Insert;
use jiff::Timestamp;
use lane::Lane;
use link::{Client, Link};
use pulse::Pulse;
use results::Results;
use smtp_observe::{Event, Observer};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use uuid::Uuid;
use writer::{LANES, Shop, Writer};

/// Results that are worth a transaction.
const COMPANY: usize = 64;
/// How long fewer of them wait.
const LINGER: Duration = Duration::from_millis(3);

/// Where and how to open the store.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The database.
    pub database: Database,
    /// This server's name, for people.
    pub name: String,
    /// A folder of this machine for large bodies while they are received or sent; nothing in it is needed after a restart.
    pub folder: PathBuf,
    /// Octets that must stay free on its disk.
    pub min_free: u64,
    /// Octets of received bodies held in memory at once.
    pub memory_budget: usize,
}

/// The PostgreSQL store.
#[derive(Debug)]
pub struct PostgresStore {
    link: Arc<Link>,
    /// This process among those that share the queue.
    id: Uuid,
    shop: Shop,
    writer: Writer,
    /// The lane of results.
    results: tokio::sync::Mutex<Results>,
    spool: Spool,
    shared: watch::Sender<Shared>,
    /// Says that this server is there, and looks after those that are not.
    pulse: JoinHandle<()>,
    /// Of the folder: no other server uses it.
    _lock: File,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.pulse.abort();
    }
}

impl PostgresStore {
    /// Opens the store, on the current runtime: migrates, and takes over what dead servers had claimed.
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`] when the settings make no sense; the database's; [`StoreError::Damaged`] when its schema is newer
    /// than this program.
    pub async fn open(
        settings: PostgresSettings,
        observer: Observer,
    ) -> Result<(Arc<PostgresStore>, Spool), StoreError> {
        let link = settings.database.link().map_err(StoreError::Unsuitable)?;
        let (spool, lock) = scratch(&settings)?;
        let (id, name): (_, Arc<str>) = (Uuid::new_v4(), settings.name.as_str().into());
        let client = link.client().await?;
        schema::check(&client).await?;
        schema::migrate(&client, false).await?;
        if let Some(before) = predecessor(&settings.folder, id)? {
            // It had this folder, so it is dead: what it had claimed need not wait for that to be noticed.
            servers::leave(&client, before).await?;
        }
        servers::beat(&client, id, &name).await?;
        servers::say_taken_over(&observer, servers::take_over(&client).await?);
        let clock = Measured::default();
        let shared = watch::Sender::new(pulse::look(&client, &clock).await?);
        drop(client);
        let shop = Shop {
            link: link.clone(),
            server: id,
            clock,
            observer,
            calls_stored: watch::Sender::new(()),
            overflow: Arc::default(),
            unneeded: Arc::default(),
        };
        let lane = |number| Lane::new(link.clone(), id, name.clone(), number);
        let pulse = Pulse {
            shop: shop.clone(),
            name: name.clone(),
            shared: shared.clone(),
        };
        let store = PostgresStore {
            writer: Writer::start(shop.clone(), (0..LANES).map(lane).collect()),
            results: tokio::sync::Mutex::new(Results::new(lane(LANES))),
            pulse: tokio::spawn(pulse.run()),
            link: link.clone(),
            id,
            shop,
            spool: spool.clone(),
            shared,
            _lock: lock,
        };
        Ok((Arc::new(store), spool))
    }

    /// Brings a database's schema up to date without opening a store, or only tries it. Gives the steps.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(database: &Database, only_try: bool) -> Result<Vec<Migration>, StoreError> {
        let link = database.link().map_err(StoreError::Unsuitable)?;
        let client = link.client().await?;
        schema::check(&client).await?;
        schema::migrate(&client, only_try).await
    }

    /// How many other servers share the queue.
    ///
    /// # Errors
    /// The database's.
    pub async fn other_servers(&self) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let row = link::query_one(
            &client,
            "SELECT count(*) FROM servers WHERE id <> $1",
            &[&self.id],
        )
        .await?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    fn is_open(&self) -> Result<(), StoreError> {
        match self.link.pool.is_closed() {
            true => Err(StoreError::Closed),
            false => Ok(()),
        }
    }

    async fn client(&self) -> Result<Client, StoreError> {
        self.is_open()?;
        Ok(self.link.client().await?)
    }

    fn clock(&self) -> Clock {
        self.shop.clock.clock()
    }

    fn report(&self, unreadable: Unreadable) {
        for (id, reason) in unreadable {
            self.shop.observer.emit(Event::Quarantined {
                id: &id,
                reason: &reason,
            });
        }
    }

    /// Does something to all messages of a filter, some at a time.
    async fn operate(&self, filter: &Filter, action: Action) -> Result<u64, StoreError> {
        let condition = Condition::new(filter);
        let (mut touched, mut after) = (0, i64::MIN);
        let client = self.client().await?;
        loop {
            let keys = read::keys(&client, &condition, after, operate::BATCH).await?;
            let Some(&last) = keys.last() else {
                return Ok(touched);
            };
            after = last;
            let t = client.transaction().await?;
            let ids = operate::operate(&t, action, &condition, &keys, self.clock()).await?;
            t.commit().await?;
            touched += ids.len() as u64;
            for id in ids {
                self.shop.observer.emit(action.event(&id.to_string()));
            }
        }
    }

    /// All suspensions but this one.
    async fn others(
        client: &Client,
        (kind, name): (SuspensionKind, &str),
    ) -> Result<Vec<Suspension>, StoreError> {
        let mut others = records::suspensions(client).await?;
        others.retain(|one| (one.kind, &*one.name) != (kind, name));
        Ok(others)
    }
}

/// Before all places.
const FIRST: records::Place = (i64::MIN, 0);

#[async_trait]
impl Store for PostgresStore {
    async fn insert(&self, message: NewMessage, beginning: Beginning) -> Result<Option<Claim>, StoreError> {
        self.is_open()?;
        let insert = Insert {
            message,
            beginning,
            uploaded: None,
        };
        self.writer.store(insert).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        let client = self.client().await?;
        let due = claim::due(&client, self.id, &request, self.clock()).await?;
        self.report(due.unreadable);
        servers::say_taken_over(&self.shop.observer, due.taken_over);
        Ok(due.claims)
    }

    async fn renew(&self, attempts: Vec<Attempt>, until: Timestamp) -> Result<Vec<Attempt>, StoreError> {
        let client = self.client().await?;
        Ok(claim::renew(&client, &attempts, self.clock().stored(until)).await?)
    }

    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError> {
        self.is_open()?;
        if results.is_empty() && reports.is_empty() {
            return Ok(Finished::default());
        }
        let mut inserts = Vec::with_capacity(reports.len());
        for message in reports {
            insert::check(&message)?;
            let uploaded = match &message.body {
                Body::Memory(_) => None,
                Body::File { path, .. } => {
                    Some(bodies::upload(&self.client().await?, &self.shop, path).await?)
                }
            };
            inserts.push(Insert {
                message,
                beginning: Beginning::Due,
                uploaded,
            });
        }
        if results.len() < COMPANY {
            // Nobody waits for it, and meanwhile more comes for the next: fewer transactions, each with more in it.
            tokio::time::sleep(LINGER).await;
        }
        let (start, count) = (Instant::now(), results.len());
        let told = results.iter().any(|result| !result.calls.is_empty());
        let mut lane = self.results.lock().await;
        let written = lane.write(results, inserts, self.clock()).await?;
        drop(lane);
        self.shop.observer.emit(Event::Committed {
            messages: 0,
            results: count,
            duration: start.elapsed(),
        });
        if told {
            self.shop.calls_stored.send_replace(());
        }
        let named = written.set_aside.into_iter();
        self.report(
            named
                .map(|(key, reason)| (format!("key {key}"), reason))
                .collect(),
        );
        self.shop.say_dropped(&written.dropped);
        Ok(written.finished)
    }

    async fn body(&self, message: &Message) -> Result<Body, StoreError> {
        let client = self.client().await?;
        let (found, small) = match bodies::find(&client, message.key, message.id).await? {
            Content::Gone => {
                return Err(StoreError::Unavailable(format!(
                    "message {} is not in the queue any more",
                    message.id
                )));
            }
            Content::Small(content) => (content.len() as i64, Some(content)),
            Content::Large(found) => (found, None),
        };
        if let Err(reason) = operate::check_size(message.size, found) {
            let touched = claim::quarantine_all(&client, message.key, &reason).await?;
            let id = message.id.to_string();
            if touched > 0 {
                self.report(vec![(id.clone(), reason.clone())]);
            }
            return Err(StoreError::Damaged(format!(
                "message {id} was quarantined: {reason}"
            )));
        }
        match small {
            Some(content) => Ok(Body::Memory(self.spool.read_back(content))),
            None => bodies::download(&client, &self.spool, message.key, message.id).await,
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read::next_due(&self.client().await?, false, self.clock()).await?)
    }

    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let condition = Condition::new(&filter);
        Ok(read::list(&self.client().await?, &condition, after, limit).await?)
    }

    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError> {
        Ok(read::show(&self.client().await?, id).await?)
    }

    async fn retry(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Retry { now }).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Delete).await
    }

    async fn hold(&self, filter: Filter) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Hold).await
    }

    async fn unhold(&self, filter: Filter, now: Timestamp) -> Result<u64, StoreError> {
        self.operate(&filter, Action::Unhold { now }).await
    }

    async fn claim_selected(
        &self,
        filter: Filter,
        after: Option<i64>,
        request: ClaimRequest,
    ) -> Result<(Vec<Claim>, Option<i64>), StoreError> {
        let condition = Condition::new(&filter);
        let client = self.client().await?;
        let limit = request.limit.min(operate::BATCH);
        let keys = read::keys(&client, &condition, after.unwrap_or(i64::MIN), limit).await?;
        let Some(&last) = keys.last() else {
            return Ok((Vec::new(), None));
        };
        let (claims, unreadable) =
            claim::selected(&client, self.id, &condition, &keys, &request, self.clock()).await?;
        self.report(unreadable);
        Ok((claims, Some(last)))
    }

    async fn portion(&self, filter: Filter, limit: usize) -> Result<Option<i64>, StoreError> {
        let condition = Condition::new(&filter);
        let keys = read::keys(&self.client().await?, &condition, i64::MIN, limit).await?;
        Ok(keys.last().copied())
    }

    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError> {
        let condition = Condition::new(&filter).in_states(&states);
        Ok(read::count(&self.client().await?, &condition).await?)
    }

    async fn release(&self, filter: Filter, now: Timestamp) -> Result<Released, StoreError> {
        let condition = Condition::new(&filter).in_states(&[State::Quarantined]);
        let (mut released, mut after) = (Released::default(), i64::MIN);
        let client = self.client().await?;
        loop {
            let keys = read::keys(&client, &condition, after, operate::BATCH).await?;
            let Some(&last) = keys.last() else {
                return Ok(released);
            };
            after = last;
            let t = client.transaction().await?;
            let (queued, unreadable) =
                operate::release(&t, &condition, &keys, self.clock().stored(now)).await?;
            t.commit().await?;
            released.add(Released {
                messages: queued,
                still: unreadable.len() as u64,
                unreadable,
            });
        }
    }

    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let t = client.transaction().await?;
        let taken = records::suspend(&t, &suspension).await?;
        t.commit().await?;
        Ok(taken)
    }

    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let client = self.client().await?;
        let others = Self::others(&client, (kind, &name)).await?;
        let t = client.transaction().await?;
        let ended = records::end_suspension(&t, kind, &name).await?;
        t.commit().await?;
        if !ended {
            return Ok(None);
        }
        let (mut touched, mut after) = (0, Some(FIRST));
        while let Some(at) = after {
            let (places, next) = records::parked(&client, (kind, &name), &others, at).await?;
            after = next;
            let t = client.transaction().await?;
            touched += records::unpark(&t, &places, self.clock().stored(now)).await?;
            t.commit().await?;
        }
        Ok(Some(touched))
    }

    async fn parked(&self, kind: SuspensionKind, name: String) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let others = Self::others(&client, (kind, &name)).await?;
        let (mut count, mut after) = (0, Some(FIRST));
        while let Some(at) = after {
            let (places, next) = records::parked(&client, (kind, &name), &others, at).await?;
            count += places.len() as u64;
            after = next;
        }
        Ok(count)
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        Ok(records::suspensions(&self.client().await?).await?)
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        let client = self.client().await?;
        let t = client.transaction().await?;
        records::audit(&t, &record).await?;
        Ok(t.commit().await?)
    }

    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(records::audited(&self.client().await?, before, limit).await?)
    }

    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        let client = self.client().await?;
        let t = client.transaction().await?;
        let added = records::add_token(&t, &token).await?;
        t.commit().await?;
        Ok(added)
    }

    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let t = client.transaction().await?;
        let removed = records::remove_token(&t, &name).await?;
        t.commit().await?;
        Ok(removed)
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        Ok(records::tokens(&self.client().await?).await?)
    }

    async fn shape(&self, filter: Filter, by: ShapeBy, now: Timestamp) -> Result<Shape, StoreError> {
        let condition = Condition::new(&filter);
        Ok(read::shape(&self.client().await?, &condition, by, now).await?)
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(read::stats(&self.client().await?, self.clock()).await?)
    }

    async fn writable(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        Ok(servers::beat(&client, self.id, "").await?)
    }

    fn away(&self) -> Option<Duration> {
        self.link.away()
    }

    fn shared(&self) -> Option<watch::Receiver<Shared>> {
        Some(self.shared.subscribe())
    }

    async fn ask_all_to_reload(&self) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let sql = "UPDATE signals SET number = number + 1 WHERE name = 'reload' RETURNING number";
        let row = link::query_one(&client, sql, &[]).await?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        self.pulse.abort();
        servers::leave(&client, self.id).await?;
        // What it still had claimed is due for the others at once.
        servers::take_over(&client).await?;
        drop(client);
        self.link.pool.close();
        Ok(())
    }
}

/// The server that had the folder before, and now this one.
fn predecessor(folder: &Path, id: Uuid) -> Result<Option<Uuid>, StoreError> {
    let path = folder.join("server");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(&path, id.to_string())
        .map_err(|error| crate::spool::file_error(&format!("cannot write {}", path.display()), &error))?;
    Ok(Uuid::parse_str(before.trim()).ok())
}

/// Opens the folder for large bodies.
fn scratch(settings: &PostgresSettings) -> Result<(Spool, File), StoreError> {
    let folder = &settings.folder;
    let failed = |error: std::io::Error| {
        StoreError::Unsuitable(format!(
            "cannot use {} for large messages (the folder of storage.path): {error}",
            folder.display()
        ))
    };
    crate::spool::make_folder(folder).map_err(failed)?;
    let lock = crate::spool::lock(folder)?;
    let folders = Folders::create(folder).map_err(failed)?;
    folders.clear_temporary().map_err(failed)?;
    Ok((
        Spool::passing(folders, settings.min_free, settings.memory_budget),
        lock,
    ))
}

#[cfg(test)]
mod tests;
