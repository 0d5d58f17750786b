//! Writing results. When the last recipient of a message is final, the message goes in the same change.

use super::claim::{attempt, columns};
use super::client::{Client, query};
use super::columns::MessageColumns;
use super::error::Error;
use super::filter::plain;
use super::insert::{self, Insert};
use super::lane::{Change, GUARD, Ticket, unless_late};
use super::outbox::{self, Calls};
use super::param::Param;
use crate::message::{Attempt, Outcome, RecipientResult};
use crate::store::Finished;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::HashSet;
use tokio_postgres::Row;

/// What could not be read after all: a message's key, and why.
pub(super) type SetAside = Vec<(i64, String)>;

/// What [`Finish`] did.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) finished: Finished,
    pub(super) set_aside: SetAside,
    pub(super) dropped: outbox::Dropped,
}

/// In order, so that two servers do not wait for each other; and one after the other for a message, so that the last of its
/// recipients is seen to be the last.
const LOCK: &str = "SELECT key FROM messages WHERE key = ANY($1) ORDER BY key FOR UPDATE";

/// The results whose lease is still theirs. Without a state the lease is given back.
///
/// A message's only recipient, which is done, goes with it: there is no need to write that down first, nor to look it up again. What it is told apart
/// by is a list that is hashed: by a join the planner could compare each with each. And it is made before anything is updated: what has to wait for
/// somebody else's change is looked at again, and a deletion cannot be.
///
/// `state + 0`: else an index of all that is leased is walked through for each row.
const WRITE: &str = "WITH given AS MATERIALIZED (
         SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::smallint[], $5::bigint[], $6::boolean[], $7::boolean[], $8::text[])
              AS given (message, idx, epoch, state, due, notified, parked, result)),
     gone AS (
         DELETE FROM recipients AS r USING given
         WHERE r.message = given.message AND r.idx = given.idx AND r.epoch = given.epoch AND r.state + 0 = 1 AND given.state IN (4, 5, 6)
             AND NOT EXISTS (SELECT 1 FROM recipients AS o WHERE o.message = r.message AND o.idx <> r.idx)
         RETURNING r.message, r.idx, r.epoch),
     rest AS MATERIALIZED (SELECT * FROM given WHERE (message, idx) NOT IN (SELECT message, idx FROM gone)),
     kept AS (
         UPDATE recipients AS r SET
             state = coalesce(rest.state, CASE WHEN r.attempts = 0 THEN 0 ELSE 2 END),
             attempts = r.attempts + CASE WHEN rest.state IS NULL THEN 0 ELSE 1 END,
             due = coalesce(rest.due, r.due),
             owner = NULL,
             delay_notified = r.delay_notified OR rest.notified,
             last_result = CASE WHEN rest.state IS NULL THEN r.last_result ELSE rest.result END,
             parked = rest.parked
         FROM rest
         WHERE r.message = rest.message AND r.idx = rest.idx AND r.epoch = rest.epoch AND r.state + 0 = 1
         RETURNING r.message, r.idx, r.epoch)
     SELECT message, idx, epoch FROM gone UNION ALL SELECT message, idx, epoch FROM kept";

/// Messages that have no recipient left to be done go, with what belonged to them.
const DONE: &str = "WITH done AS (
         DELETE FROM messages AS m WHERE m.key = ANY($1)
             AND NOT EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND r.state NOT IN (4, 5, 6))
         RETURNING m.key, m.id),
     addressed AS (DELETE FROM recipients AS r USING done WHERE r.message = done.key),
     bodies AS (DELETE FROM bodies AS b USING done WHERE b.message = done.key)
     SELECT id FROM done";

/// Writes results and stores reports about them, all in one transaction and one round trip; see `Store::finish`.
pub(super) struct Finish<'r> {
    pub(super) results: &'r [RecipientResult],
    pub(super) reports: &'r [Insert],
    /// By the database's clock.
    pub(super) now: Timestamp,
}

#[async_trait]
impl Change for Finish<'_> {
    type Output = Written;
    async fn make(&self, db: &Client, ticket: Ticket) -> Result<Option<Written>, Error> {
        finish(db, ticket, self.results, self.reports, self.now).await
    }
}

async fn finish(
    db: &Client,
    ticket: Ticket,
    results: &[RecipientResult],
    reports: &[Insert],
    now: Timestamp,
) -> Result<Option<Written>, Error> {
    let columns = Columns::of(results);
    let calls = Calls::of(results.iter().flat_map(|result| &result.calls), now);
    if !calls.is_empty() {
        return finish_and_tell(db, ticket, results, reports, &columns, now).await;
    }
    let (insert, reported) = (insert::guarded(), MessageColumns::of(reports));
    let (lane, keys, values, reports_values) = (
        ticket.values(),
        columns.keys(),
        columns.values(),
        reported.values(&ticket),
    );
    let mut statements = vec![
        (GUARD, lane.as_slice()),
        (LOCK, &keys),
        (WRITE, &values),
        (DONE, &keys),
    ];
    if !reports.is_empty() {
        statements.push((&insert, &reports_values));
    }
    let Some(rows) = unless_late(db.all_in_one(&statements).await)? else {
        return Ok(None);
    };
    let of = |place: usize| rows.get(place).map_or(&[][..], Vec::as_slice);
    let valid = of(2).iter().map(attempt).collect();
    Ok(Some(written(results, &valid, of(3), outbox::Dropped::new())))
}

/// The same when webhooks are told: of what comes too late they are not, so it is looked at first.
async fn finish_and_tell(
    db: &Client,
    ticket: Ticket,
    results: &[RecipientResult],
    reports: &[Insert],
    columns: &Columns,
    now: Timestamp,
) -> Result<Option<Written>, Error> {
    let t = db.transaction_by_keys().await?;
    let (keys, values) = (columns.keys(), columns.values());
    if unless_late(query(&t, GUARD, &ticket.values()).await)?.is_none() {
        return Ok(None);
    }
    query(&t, LOCK, &keys).await?;
    let valid: HashSet<Attempt> = query(&t, WRITE, &values).await?.iter().map(attempt).collect();
    let told = results.iter().filter(|result| valid.contains(&result.attempt));
    let calls = Calls::of(told.flat_map(|result| &result.calls), now);
    let stored = query(&t, outbox::INSERT, &calls.values()).await?;
    let done = query(&t, DONE, &keys).await?;
    if !reports.is_empty() {
        let reported = MessageColumns::of(reports);
        query(&t, &insert::guarded(), &reported.values(&ticket)).await?;
    }
    t.commit().await?;
    Ok(Some(written(results, &valid, &done, calls.dropped(&stored))))
}

fn written(
    results: &[RecipientResult],
    valid: &HashSet<Attempt>,
    done: &[Row],
    dropped: outbox::Dropped,
) -> Written {
    let mut written = Written {
        dropped,
        ..Written::default()
    };
    for result in results {
        let attempt = result.attempt;
        if !valid.contains(&attempt) {
            written.finished.fenced.push(attempt);
        } else if result.outcome == Outcome::Quarantined {
            let reason = format!("recipient {}: {}", attempt.recipient, result.text);
            written.set_aside.push((attempt.message, reason));
        }
    }
    let ids = done.iter().filter_map(|row| super::row::id(row, 0).ok());
    written.finished.removed = ids.collect();
    written.finished.removed.sort_unstable();
    written
}

/// Results as columns.
struct Columns {
    /// Each message once, in order.
    distinct: Vec<i64>,
    messages: Vec<i64>,
    indices: Vec<i32>,
    epochs: Vec<i64>,
    states: Vec<Option<i16>>,
    due: Vec<Option<i64>>,
    notified: Vec<bool>,
    parked: Vec<bool>,
    texts: Vec<String>,
}

impl Columns {
    fn of(results: &[RecipientResult]) -> Columns {
        let attempts: Vec<Attempt> = results.iter().map(|result| result.attempt).collect();
        let (messages, indices, epochs) = columns(&attempts);
        let mut distinct = messages.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let outcomes = || results.iter().map(|result| &result.outcome);
        Columns {
            distinct,
            messages,
            indices,
            epochs,
            states: outcomes()
                .map(|outcome| outcome.state().map(|state| state as i16))
                .collect(),
            due: outcomes()
                .map(|outcome| outcome.due().map(Timestamp::as_millisecond))
                .collect(),
            notified: outcomes().map(Outcome::tells_of_delay).collect(),
            parked: outcomes()
                .map(|outcome| matches!(outcome, Outcome::Parked { .. }))
                .collect(),
            texts: results.iter().map(|result| plain(&result.text)).collect(),
        }
    }

    fn keys(&self) -> [&(dyn Param + '_); 1] {
        [&self.distinct]
    }

    fn values(&self) -> [&(dyn Param + '_); 8] {
        [
            &self.messages,
            &self.indices,
            &self.epochs,
            &self.states,
            &self.due,
            &self.notified,
            &self.parked,
            &self.texts,
        ]
    }
}
