//! Writing results. When the last recipient of a message is final, the message goes in the same change.

use super::claim::{attempt, columns};
use super::client::{Client, query, run};
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

// `state + 0`, here and below: else an index of all that is leased is walked through for each row.

/// A message's only recipient, which is done, goes with it: there is no need to write that down first.
const ONLY: &str = "DELETE FROM recipients AS r USING unnest($1::bigint[], $2::integer[], $3::bigint[], $4::smallint[]) AS given (message, idx, epoch, state)
     WHERE r.message = given.message AND r.idx = given.idx AND r.epoch = given.epoch AND r.state + 0 = 1 AND given.state IN (4, 5, 6)
         AND NOT EXISTS (SELECT 1 FROM recipients AS o WHERE o.message = r.message AND o.idx <> r.idx)
     RETURNING r.message, r.idx, r.epoch";

/// The results whose lease is still theirs. Without a state the lease is given back.
const WRITE: &str = "UPDATE recipients AS r SET
         state = coalesce(given.state, CASE WHEN r.attempts = 0 THEN 0 ELSE 2 END),
         attempts = r.attempts + CASE WHEN given.state IS NULL THEN 0 ELSE 1 END,
         due = coalesce(given.due, r.due),
         owner = NULL,
         delay_notified = r.delay_notified OR given.notified,
         last_result = CASE WHEN given.state IS NULL THEN r.last_result ELSE given.result END,
         parked = given.parked
     FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::smallint[], $5::bigint[], $6::boolean[], $7::boolean[], $8::text[])
          AS given (message, idx, epoch, state, due, notified, parked, result)
     WHERE r.message = given.message AND r.idx = given.idx AND r.epoch = given.epoch AND r.state + 0 = 1
     RETURNING r.message, r.idx, r.epoch";

/// Messages that have no recipient left to be done.
const DONE: &str = "DELETE FROM messages AS m WHERE m.key = ANY($1)
         AND NOT EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND r.state NOT IN (4, 5, 6))
     RETURNING m.id";

/// What belonged to messages that are gone.
const REST: &str = "WITH gone AS (SELECT key FROM unnest($1::bigint[]) AS given (key) WHERE NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.key = given.key)),
     addressed AS (DELETE FROM recipients AS r USING gone WHERE r.message = gone.key)
     DELETE FROM bodies AS b USING gone WHERE b.message = gone.key";

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
        (ONLY, &values[..4]),
        (WRITE, &values),
        (DONE, &keys),
        (REST, &keys),
    ];
    if !reports.is_empty() {
        statements.push((&insert, &reports_values));
    }
    let Some(rows) = unless_late(db.all_in_one(&statements).await)? else {
        return Ok(None);
    };
    let of = |place: usize| rows.get(place).map_or(&[][..], Vec::as_slice);
    let valid = of(2).iter().chain(of(3)).map(attempt).collect();
    Ok(Some(written(results, &valid, of(4), outbox::Dropped::new())))
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
    let only = query(&t, ONLY, &values[..4]).await?;
    let rest = query(&t, WRITE, &values).await?;
    let valid: HashSet<Attempt> = only.iter().chain(&rest).map(attempt).collect();
    let told = results.iter().filter(|result| valid.contains(&result.attempt));
    let calls = Calls::of(told.flat_map(|result| &result.calls), now);
    let stored = query(&t, outbox::INSERT, &calls.values()).await?;
    let done = query(&t, DONE, &keys).await?;
    run(&t, REST, &keys).await?;
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

/// Removes what belongs to messages that are gone.
pub(super) async fn remove_rest(db: &Client, keys: &[i64]) -> Result<(), Error> {
    if !keys.is_empty() {
        run(db, REST, &[&keys]).await?;
    }
    Ok(())
}
