//! What webhooks are to be told; see [`Outbox`].

use super::SqliteStore;
use super::commit::{Change, Load, Operation};
use crate::id::QueueId;
use crate::outbox::{Call, CallOutcome, CallResult, CallsWaiting, MOST_CALLS, NewCall, Outbox};
use crate::store::StoreError;
use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::sync::watch;

/// Calls forgotten, or made due, in one transaction.
const PORTION: usize = 500;
/// What a call takes, by estimate, in octets.
const CALL: usize = 1024;

/// Stores calls about something that is written in the same change. What has no room is counted as dropped; gives how many.
pub(super) fn insert(change: &mut Change<'_>, calls: &[NewCall]) -> rusqlite::Result<u64> {
    let mut dropped = 0;
    for call in calls {
        let (webhook, now) = (&call.webhook, Timestamp::now().as_millisecond());
        if change.calls_waiting(webhook) >= MOST_CALLS {
            *change.effects.calls_dropped.entry(webhook.clone()).or_default() += 1;
            dropped += 1;
            continue;
        }
        let key = change.new_key();
        change.execute(
            "INSERT INTO webhook_calls (key, webhook, event, created, due, tries, claimed, body)
             VALUES (?1, ?2, ?3, ?4, ?4, 0, 0, ?5)",
            params![key, webhook, call.event.to_bytes(), now, call.body],
        )?;
        change.effects.counters.calls(webhook, 1);
        change.effects.calls_stored = true;
    }
    Ok(dropped)
}

/// Stores calls; see `Outbox::add_calls`.
struct AddCalls(Vec<NewCall>);

impl Operation for AddCalls {
    type Output = u64;
    const NAME: &'static str = "add_calls";
    fn load(&self) -> Load {
        Load {
            octets: self.0.len() * CALL,
            ..Load::default()
        }
    }
    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<u64> {
        let mut there: HashMap<&str, HashSet<QueueId>> = HashMap::new();
        for call in &self.0 {
            if !there.contains_key(call.webhook.as_str()) {
                there.insert(&call.webhook, events(change.db, &call.webhook)?);
            }
        }
        let is_there = |call: &NewCall| there[call.webhook.as_str()].contains(&call.event);
        let new: Vec<NewCall> = self.0.iter().filter(|call| !is_there(call)).cloned().collect();
        insert(change, &new)
    }
}

/// Events that a webhook is yet to be told of.
fn events(db: &Connection, webhook: &str) -> rusqlite::Result<HashSet<QueueId>> {
    let mut statement = db.prepare_cached("SELECT event FROM webhook_calls WHERE webhook = ?1")?;
    let rows = statement.query_map([webhook], |row| Ok(QueueId::from_bytes(row.get(0)?)))?;
    rows.collect()
}

/// Claims what is due; see `Outbox::claim_calls`.
struct ClaimCalls {
    webhook: String,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
}

impl Operation for ClaimCalls {
    type Output = Vec<Call>;
    const NAME: &'static str = "claim_calls";

    fn load(&self) -> Load {
        Load {
            octets: self.limit * CALL,
            patient: true,
            ..Load::default()
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Vec<Call>> {
        let keys: Vec<i64> = change
            .db
            .prepare_cached(
                "SELECT key FROM webhook_calls WHERE webhook = ?1 AND due <= ?2 ORDER BY due, key LIMIT ?3",
            )?
            .query_map(
                params![self.webhook, self.now.as_millisecond(), self.limit as i64],
                |row| row.get(0),
            )?
            .collect::<rusqlite::Result<_>>()?;
        let mut statement = change.db.prepare_cached(
            "UPDATE webhook_calls SET due = ?2, tries = tries + 1, claimed = 1 WHERE key = ?1
             RETURNING key, event, created, tries, body",
        )?;
        keys.iter()
            .map(|key| statement.query_row(params![key, self.until.as_millisecond()], call))
            .collect()
    }
}

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    Ok(Call {
        key: row.get(0)?,
        event: QueueId::from_bytes(row.get(1)?),
        created: Timestamp::from_millisecond(row.get(2)?).unwrap_or_default(),
        tries: row.get(3)?,
        body: row.get(4)?,
    })
}

/// Writes what became of calls; see `Outbox::finish_calls`.
struct FinishCalls(Vec<CallResult>);

impl Operation for FinishCalls {
    type Output = ();
    const NAME: &'static str = "finish_calls";

    fn load(&self) -> Load {
        Load {
            octets: self.0.len() * CALL,
            patient: true,
            ..Load::default()
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        for CallResult { key, tries, outcome } in &self.0 {
            let (due, spent) = match outcome {
                CallOutcome::Again(due) => (due, 0),
                CallOutcome::Released(due) => (due, 1),
                CallOutcome::Done => {
                    let gone: Option<String> = change
                        .db
                        .prepare_cached(
                            "DELETE FROM webhook_calls WHERE key = ?1 AND tries = ?2 RETURNING webhook",
                        )?
                        .query_row(params![key, tries], |row| row.get(0))
                        .optional()?;
                    if let Some(webhook) = gone {
                        change.effects.counters.calls(&webhook, -1);
                    }
                    continue;
                }
            };
            change.execute(
                "UPDATE webhook_calls SET due = ?3, tries = tries - ?4, claimed = 0 WHERE key = ?1 AND tries = ?2",
                params![key, tries, due.as_millisecond(), spent],
            )?;
        }
        Ok(())
    }
}

/// Makes calls due, some at a time; see `Outbox::retry_calls`.
struct RetryCalls {
    webhook: String,
    now: Timestamp,
}

impl Operation for RetryCalls {
    type Output = usize;
    const NAME: &'static str = "retry_calls";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<usize> {
        change.effects.calls_stored = true;
        change.execute(
            "UPDATE webhook_calls SET due = ?2 WHERE key IN
             (SELECT key FROM webhook_calls WHERE webhook = ?1 AND due > ?2 AND claimed = 0 LIMIT ?3)",
            params![self.webhook, self.now.as_millisecond(), PORTION as i64],
        )
    }
}

/// Forgets the oldest calls, some at a time: those of events before that.
struct ExpireCalls(Timestamp);

impl Operation for ExpireCalls {
    type Output = BTreeMap<String, u64>;
    const NAME: &'static str = "expire_calls";

    fn load(&self) -> Load {
        Load {
            patient: true,
            ..Load::default()
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<BTreeMap<String, u64>> {
        // Keys grow with time: what is old is at the beginning.
        let mut gone = BTreeMap::new();
        let mut statement = change.db.prepare_cached(
            "DELETE FROM webhook_calls WHERE created < ?1 AND key IN (SELECT key FROM webhook_calls ORDER BY key LIMIT ?2)
             RETURNING webhook",
        )?;
        let rows = statement.query_map(params![self.0.as_millisecond(), PORTION as i64], |row| {
            row.get::<_, String>(0)
        })?;
        for webhook in rows {
            *gone.entry(webhook?).or_default() += 1;
        }
        drop(statement);
        for (webhook, calls) in &gone {
            change.effects.counters.calls(webhook, -(*calls as i64));
        }
        Ok(gone)
    }
}

/// What the last process had claimed is due: nobody makes those calls any more.
pub(super) fn release_claims(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE webhook_calls SET due = created, claimed = 0 WHERE claimed = 1",
        [],
    )?;
    Ok(())
}

/// Keys grow with time. The plus leaves the index alone, from which all calls of the webhook would have to be sorted: at each scrape.
fn oldest(db: &Connection, webhook: &str) -> rusqlite::Result<Option<Timestamp>> {
    let found = db
        .prepare_cached("SELECT created FROM webhook_calls WHERE +webhook = ?1 ORDER BY key LIMIT 1")?
        .query_row([webhook], |row| row.get(0))
        .optional()?;
    Ok(found.and_then(|created| Timestamp::from_millisecond(created).ok()))
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn claim_calls(
        &self,
        webhook: String,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Call>, StoreError> {
        let until = now.saturating_add(lease).unwrap_or(now);
        self.commit(ClaimCalls {
            webhook,
            now,
            until,
            limit,
        })
        .await
    }

    async fn finish_calls(&self, results: Vec<CallResult>) -> Result<(), StoreError> {
        self.commit(FinishCalls(results)).await
    }

    async fn add_calls(&self, calls: Vec<NewCall>) -> Result<u64, StoreError> {
        self.commit(AddCalls(calls)).await
    }

    async fn retry_calls(&self, webhook: String, now: Timestamp) -> Result<u64, StoreError> {
        let mut touched = 0;
        loop {
            let webhook = webhook.clone();
            let some = self.commit(RetryCalls { webhook, now }).await?;
            touched += some as u64;
            if some < PORTION {
                return Ok(touched);
            }
        }
    }

    async fn next_call(&self, webhook: String) -> Result<Option<Timestamp>, StoreError> {
        let due: Option<i64> = self
            .readers
            .ask(move |db| {
                db.prepare_cached("SELECT min(due) FROM webhook_calls WHERE webhook = ?1")?
                    .query_row([webhook], |row| row.get(0))
            })
            .await?;
        Ok(due.and_then(|due| Timestamp::from_millisecond(due).ok()))
    }

    async fn expire_calls(&self, before: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            let gone = self.commit(ExpireCalls(before)).await?;
            let calls: u64 = gone.values().sum();
            for (webhook, calls) in gone {
                *all.entry(webhook).or_default() += calls;
            }
            if calls < PORTION as u64 {
                return Ok(all.into_iter().collect());
            }
        }
    }

    fn calls_stored(&self) -> watch::Receiver<()> {
        self.calls_stored.subscribe()
    }

    async fn calls_waiting(&self) -> Result<Vec<CallsWaiting>, StoreError> {
        let counted: Vec<(String, u64)> = self.counters.lock().all_calls();
        self.readers
            .ask(move |db| {
                let mut all = Vec::new();
                for (webhook, calls) in counted {
                    if let Some(oldest) = oldest(db, &webhook)? {
                        all.push(CallsWaiting {
                            webhook,
                            calls,
                            oldest,
                        });
                    }
                }
                Ok(all)
            })
            .await
    }
}
