//! The store that many servers share: PostgreSQL 14 or newer.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `schema` | the schema and its migrations |
//! | `servers` | the servers that share the queue, and what the dead among them had claimed |
//! | `insert`, `claim`, `finish`, `operate` | one file for each kind of change |
//! | `records` | the audit trail, tokens, suspensions |
//! | `outbox`, `directory` | what webhooks are to be told; domains, accounts, aliases and keys |
//! | `read` | questions |
//! | `row`, `filter`, `error` | what rows, filters and errors mean |
//!
//! Every change is one transaction with `synchronous_commit = on`, and is answered after its COMMIT.

mod claim;
mod directory;
mod error;
mod filter;
mod finish;
mod insert;
mod operate;
mod outbox;
mod read;
mod records;
mod row;
mod schema;
mod servers;

use crate::id::QueueId;
use crate::message::{Attempt, Beginning, Body, Claim, Message, NewMessage, RecipientResult, State};
use crate::operator::{
    Action, ApiToken, AuditRecord, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded,
};
use crate::store::{
    ClaimRequest, Filter, Finished, MessageDetail, MessageSummary, Released, Stats, Store, StoreError,
};
use async_trait::async_trait;
use claim::Unreadable;
use deadpool_postgres::{GenericClient, Pool};
use error::Error;
use filter::Condition;
use jiff::Timestamp;
use smtp_observe::{Event, Observer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

type Client = deadpool_postgres::Object;
type Transaction<'a> = deadpool_postgres::Transaction<'a>;

/// Runs a statement of fixed text, prepared once a connection.
async fn query(
    db: &impl GenericClient,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.query(&statement, params).await
}

async fn query_one(db: &impl GenericClient, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.query_one(&statement, params).await
}

/// The same for one that gives no rows; gives how many it touched.
async fn run(db: &impl GenericClient, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.execute(&statement, params).await
}

/// The PostgreSQL store.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    /// This process among those that share the queue.
    id: Uuid,
    observer: Observer,
    calls_stored: watch::Sender<()>,
    /// Says that this server is there, and looks after those that are not.
    heart: JoinHandle<()>,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl PostgresStore {
    /// Opens the store, on the current runtime: migrates, and takes over what dead servers had claimed.
    ///
    /// # Errors
    /// The database's; [`StoreError::Damaged`] when its schema is newer than this program.
    pub async fn open(pool: Pool, name: &str, observer: Observer) -> Result<PostgresStore, StoreError> {
        let (id, mut client) = (Uuid::new_v4(), pool.get().await?);
        schema::migrate(&mut client).await?;
        servers::announce(&client, id, name).await?;
        servers::take_over(&client).await?;
        Ok(PostgresStore {
            heart: tokio::spawn(servers::beat_on(pool.clone(), id, observer.clone())),
            pool,
            id,
            observer,
            calls_stored: watch::Sender::new(()),
        })
    }

    async fn client(&self) -> Result<Client, StoreError> {
        if self.pool.is_closed() {
            return Err(StoreError::Closed);
        }
        Ok(self.pool.get().await?)
    }

    fn report(&self, unreadable: Unreadable) {
        for (id, reason) in unreadable {
            self.observer.emit(Event::Quarantined {
                id: &id,
                reason: &reason,
            });
        }
    }

    /// Does something to all messages of a filter, some at a time.
    async fn operate(&self, filter: &Filter, action: Action) -> Result<u64, StoreError> {
        let condition = Condition::new(filter);
        let (mut touched, mut after) = (0, i64::MIN);
        let mut client = self.client().await?;
        loop {
            let keys = read::keys(&client, &condition, after, operate::BATCH).await?;
            let Some(&last) = keys.last() else {
                return Ok(touched);
            };
            after = last;
            let t = client.transaction().await?;
            let ids = operate::operate(&t, action, &condition, &keys).await?;
            t.commit().await?;
            touched += ids.len() as u64;
            for id in ids {
                self.observer.emit(action.event(&id.to_string()));
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
        let mut client = self.client().await?;
        let t = client.transaction().await?;
        let key = insert::insert(&t, self.id, &message, &beginning).await?;
        t.commit().await?;
        if let Beginning::Deferred(_) = beginning {
            self.calls_stored.send_replace(());
        }
        Ok(match beginning {
            Beginning::Leased(until) => Some(message.claimed(key, until)),
            Beginning::Due | Beginning::Deferred(_) | Beginning::Parked(_) => None,
        })
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        let mut client = self.client().await?;
        let t = client.transaction().await?;
        let (claims, unreadable) = claim::due(&t, self.id, &request).await?;
        t.commit().await?;
        self.report(unreadable);
        Ok(claims)
    }

    async fn renew(&self, attempts: Vec<Attempt>, until: Timestamp) -> Result<Vec<Attempt>, StoreError> {
        let mut client = self.client().await?;
        let t = client.transaction().await?;
        let lost = claim::renew(&t, &attempts, until).await?;
        t.commit().await?;
        Ok(lost)
    }

    async fn finish(
        &self,
        results: Vec<RecipientResult>,
        reports: Vec<NewMessage>,
    ) -> Result<Finished, StoreError> {
        let mut client = self.client().await?;
        let t = client.transaction().await?;
        let (finished, set_aside) = finish::finish(&t, &results).await?;
        for report in &reports {
            insert::insert(&t, self.id, report, &Beginning::Due).await?;
        }
        t.commit().await?;
        let named = set_aside
            .into_iter()
            .map(|(key, reason)| (format!("key {key}"), reason));
        self.report(named.collect());
        if results.iter().any(|result| !result.calls.is_empty()) {
            self.calls_stored.send_replace(());
        }
        Ok(finished)
    }

    async fn body(&self, message: &Message) -> Result<Body, StoreError> {
        let mut client = self.client().await?;
        let sql = "SELECT b.content FROM messages AS m LEFT JOIN bodies AS b ON b.message = m.key
                   WHERE m.key = $1 AND m.id = $2 ORDER BY b.number";
        let rows = query(&client, sql, &[&message.key, &message.id.to_bytes().as_slice()]).await?;
        if rows.is_empty() {
            return Err(StoreError::Unavailable(format!(
                "message {} is not in the queue any more",
                message.id
            )));
        }
        let pieces: Vec<&[u8]> = rows
            .iter()
            .filter_map(|row| row.get::<_, Option<&[u8]>>(0))
            .collect();
        let found = match pieces.is_empty() {
            true => -1,
            false => pieces.iter().map(|piece| piece.len() as i64).sum(),
        };
        if let Err(reason) = operate::check_size(message.size, found) {
            let t = client.transaction().await?;
            let touched = claim::quarantine_all(&t, message.key, &reason).await?;
            t.commit().await?;
            let id = message.id.to_string();
            if touched > 0 {
                self.report(vec![(id.clone(), reason.clone())]);
            }
            return Err(StoreError::Damaged(format!(
                "message {id} was quarantined: {reason}"
            )));
        }
        Ok(Body::Memory(pieces.concat().into()))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(read::next_due(&self.client().await?, false).await?)
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
        let mut client = self.client().await?;
        let limit = request.limit.min(operate::BATCH);
        let keys = read::keys(&client, &condition, after.unwrap_or(i64::MIN), limit).await?;
        let Some(&last) = keys.last() else {
            return Ok((Vec::new(), None));
        };
        let t = client.transaction().await?;
        let (claims, unreadable) = claim::selected(&t, self.id, &condition, &keys, &request).await?;
        t.commit().await?;
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
        let mut client = self.client().await?;
        loop {
            let keys = read::keys(&client, &condition, after, operate::BATCH).await?;
            let Some(&last) = keys.last() else {
                return Ok(released);
            };
            after = last;
            let t = client.transaction().await?;
            let (queued, unreadable) = operate::release(&t, &condition, &keys, now).await?;
            t.commit().await?;
            released.add(Released {
                messages: queued,
                still: unreadable.len() as u64,
                unreadable,
            });
        }
    }

    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        let mut client = self.client().await?;
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
        let mut client = self.client().await?;
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
            touched += records::unpark(&t, &places, now).await?;
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
        let mut client = self.client().await?;
        let t = client.transaction().await?;
        records::audit(&t, &record).await?;
        Ok(t.commit().await?)
    }

    async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(records::audited(&self.client().await?, before, limit).await?)
    }

    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        let mut client = self.client().await?;
        let t = client.transaction().await?;
        let added = records::add_token(&t, &token).await?;
        t.commit().await?;
        Ok(added)
    }

    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        let mut client = self.client().await?;
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
        Ok(read::stats(&self.client().await?).await?)
    }

    async fn writable(&self) -> Result<(), StoreError> {
        servers::beat(&self.client().await?, self.id).await?;
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        self.heart.abort();
        servers::leave(&client, self.id).await?;
        // What it still had claimed is due for the others at once.
        servers::take_over(&client).await?;
        drop(client);
        self.pool.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
