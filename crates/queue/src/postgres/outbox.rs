//! What webhooks are to be told; see [`Outbox`].

use super::PostgresStore;
use super::client::{DURABLE, query, query_durably, run};
use super::filter::plain;
use super::param::Param;
use super::row::about;
use crate::outbox::{Call, CallOutcome, CallResult, CallsWaiting, MOST_CALLS, NewCall, Outbox};
use crate::store::{Store, StoreError};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio_postgres::Row;

macro_rules! given {
    () => {
        "unnest($1::text[], $2::bytea[], $3::text[]) WITH ORDINALITY AS given (webhook, event, body, place)"
    };
}

/// Stores those of `$from`, as many as there is room for.
macro_rules! insert {
    ($from:expr) => {
        concat!(
            "INSERT INTO webhook_calls (webhook, event, created, due, tries, body)
             SELECT given.webhook, event, $4, $5, 0, body
             FROM (SELECT *, row_number() OVER (PARTITION BY webhook ORDER BY place) AS number FROM ",
            $from,
            ") AS given
             JOIN (SELECT webhook, (SELECT count(*) FROM (SELECT 1 FROM webhook_calls AS c WHERE c.webhook = w.webhook LIMIT $6) AS c) AS waiting
                   FROM (SELECT DISTINCT unnest($1::text[]) AS webhook) AS w) AS counted USING (webhook)
             WHERE waiting + number <= $6 ORDER BY place RETURNING webhook"
        )
    };
}

/// Stores calls about something that is written in the same change. What has no room is left out. Gives whose calls were stored.
pub(super) const INSERT: &str = insert!(given!());

/// The same, but for those that are there already. Gives whose calls were stored, or were there. How many there are of a webhook, nobody can say
/// before it is asked: so all of them are read once, whatever is believed of them.
const ADD: &str = concat!(
    "WITH there AS MATERIALIZED (
         SELECT webhook, event FROM webhook_calls WHERE webhook = ANY($1::text[]) AND event = ANY($2::bytea[])),
     listed AS MATERIALIZED (
         SELECT given.*, EXISTS (SELECT 1 FROM there AS t WHERE t.webhook = given.webhook AND t.event = given.event) AS known FROM ",
    given!(),
    "),
     stored AS (",
    insert!("listed WHERE NOT known"),
    ")
     SELECT webhook FROM stored UNION ALL SELECT webhook FROM listed WHERE known"
);

/// What another one is just adding is waited for, and seen: of an attempt that was killed the database may be at the COMMIT still.
const ONE_AT_A_TIME: &str = "LOCK TABLE webhook_calls IN SHARE ROW EXCLUSIVE MODE";

/// Forgets calls that were taken, as long as nobody else has claimed them since.
const DONE: &str =
    "DELETE FROM webhook_calls AS c USING unnest($1::bigint[], $2::integer[]) AS given (key, tries)
     WHERE c.key = given.key AND c.tries = given.tries";

/// Gives calls back that were not.
const AGAIN: &str =
    "UPDATE webhook_calls AS c SET due = given.due, tries = c.tries - given.spent, owner = NULL
     FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::integer[]) AS given (key, tries, due, spent)
     WHERE c.key = given.key AND c.tries = given.tries";

/// Calls that had no room, by webhook.
pub(super) type Dropped = BTreeMap<String, u64>;

/// Calls as columns: what is bound to [`INSERT`].
pub(super) struct Calls {
    webhooks: Vec<String>,
    events: Vec<Vec<u8>>,
    bodies: Vec<String>,
    created: i64,
    due: i64,
    most: i64,
}

impl Calls {
    pub(super) fn of<'c>(calls: impl Iterator<Item = &'c NewCall> + Clone, now: Timestamp) -> Calls {
        Calls {
            webhooks: calls.clone().map(|call| plain(&call.webhook)).collect(),
            events: calls.clone().map(|call| call.event.to_bytes().to_vec()).collect(),
            bodies: calls.map(|call| plain(&call.body)).collect(),
            created: now.as_millisecond(),
            due: now.as_millisecond(),
            most: i64::try_from(MOST_CALLS).unwrap_or(i64::MAX),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.webhooks.is_empty()
    }

    pub(super) fn values(&self) -> [&(dyn Param + '_); 6] {
        [
            &self.webhooks,
            &self.events,
            &self.bodies,
            &self.created,
            &self.due,
            &self.most,
        ]
    }

    /// Those that are not among the stored ones, of which there is a row each.
    pub(super) fn dropped(&self, stored: &[Row]) -> Dropped {
        let mut dropped = Dropped::new();
        for webhook in &self.webhooks {
            *dropped.entry(webhook.clone()).or_default() += 1;
        }
        for row in stored {
            let left = dropped.entry(row.get(0)).or_default();
            *left = left.saturating_sub(1);
        }
        dropped.retain(|_, calls| *calls > 0);
        dropped
    }
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn claim_calls(
        &self,
        webhook: String,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Call>, StoreError> {
        let client = self.client().await?;
        let until = now.saturating_add(lease).unwrap_or(now);
        let rows = query(
            &client,
            "WITH due AS (
                 SELECT key, due AS since FROM webhook_calls WHERE webhook = $1 AND due <= $2 AND (owner IS NULL OR $6)
                 ORDER BY due, key LIMIT $3 FOR UPDATE SKIP LOCKED)
             UPDATE webhook_calls AS c SET due = $4, tries = tries + 1, owner = $5 FROM due WHERE c.key = due.key
             RETURNING c.key, c.event, c.created, c.tries, c.body, due.since",
            &[
                &plain(&webhook),
                &now.as_millisecond(),
                &(limit as i64),
                &until.as_millisecond(),
                &self.id(),
                // A claim says nothing of its end when nobody could be heard of.
                &self.shop.calm.is_known(),
            ],
        )
        .await?;
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|row| (row.get::<_, i64>(5), row.get::<_, i64>(0)));
        let call = |row: &&tokio_postgres::Row| {
            Some(Call {
                key: row.get(0),
                event: super::row::id(row, 1).ok()?,
                created: about(row.get(2)),
                tries: row.get::<_, i32>(3).unsigned_abs(),
                body: row.get(4),
            })
        };
        Ok(rows.iter().filter_map(call).collect())
    }

    async fn finish_calls(&self, results: Vec<CallResult>) -> Result<(), StoreError> {
        let of = |wanted: fn(&CallOutcome) -> bool| -> (Vec<i64>, Vec<i32>) {
            let meant = results.iter().filter(|one| wanted(&one.outcome));
            let tries = |one: &CallResult| i32::try_from(one.tries).unwrap_or(i32::MAX);
            meant.map(|one| (one.key, tries(one))).unzip()
        };
        let (done, done_tries) = of(|outcome| *outcome == CallOutcome::Done);
        let (keys, tries) = of(|outcome| *outcome != CallOutcome::Done);
        let again = results.iter().filter_map(|one| match one.outcome {
            CallOutcome::Done => None,
            CallOutcome::Again(due) => Some((due.as_millisecond(), 0)),
            CallOutcome::Released(due) => Some((due.as_millisecond(), 1)),
        });
        let (due, spent): (Vec<i64>, Vec<i32>) = again.unzip();
        let client = &self.client().await?;
        let finish = || async {
            run(client, DONE, &[&done, &done_tries]).await?;
            run(client, AGAIN, &[&keys, &tries, &due, &spent]).await.map(drop)
        };
        Ok(client.change(finish).await?)
    }

    async fn add_calls(&self, calls: Vec<NewCall>) -> Result<u64, StoreError> {
        let calls = Calls::of(calls.iter(), self.now());
        let client = self.client().await?;
        let values = calls.values();
        let statements = [(ONE_AT_A_TIME, &[][..]), (DURABLE, &[]), (ADD, &values)];
        let rows = client.all_in_one(&statements).await?;
        let stored = rows.get(2).map_or(&[][..], Vec::as_slice);
        let dropped = calls.dropped(stored);
        self.shop.say_dropped(&dropped);
        self.shop.calls_stored.send_replace(());
        Ok(dropped.values().sum())
    }

    async fn retry_calls(&self, webhook: String, now: Timestamp) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let sql = "WITH due AS (UPDATE webhook_calls SET due = $2 WHERE webhook = $1 AND due > $2 AND owner IS NULL RETURNING 1)
                   SELECT count(*) FROM due";
        let rows = query_durably(&client, sql, &[&plain(&webhook), &now.as_millisecond()]).await?;
        self.shop.calls_stored.send_replace(());
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
    }

    async fn next_call(&self, webhook: String) -> Result<Option<Timestamp>, StoreError> {
        let client = self.client().await?;
        let rows = query(
            &client,
            "SELECT min(due) FROM webhook_calls WHERE webhook = $1 AND (owner IS NULL OR $2)",
            &[&plain(&webhook), &self.shop.calm.is_known()],
        )
        .await?;
        Ok(rows
            .first()
            .and_then(|row| row.get::<_, Option<i64>>(0))
            .map(about))
    }

    async fn expire_calls(&self, before: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        let client = self.client().await?;
        let sql = "WITH gone AS (DELETE FROM webhook_calls WHERE created < $1 RETURNING webhook)
                   SELECT webhook, count(*) FROM gone GROUP BY webhook";
        let rows = query(&client, sql, &[&before.as_millisecond()]).await?;
        let gone: BTreeMap<String, u64> = rows
            .iter()
            .map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs()))
            .collect();
        Ok(gone.into_iter().collect())
    }

    fn calls_stored(&self) -> watch::Receiver<()> {
        self.shop.calls_stored.subscribe()
    }

    async fn calls_waiting(&self) -> Result<Vec<CallsWaiting>, StoreError> {
        let client = self.client().await?;
        let sql = "SELECT webhook, count(*), min(created) FROM webhook_calls GROUP BY webhook ORDER BY webhook COLLATE \"C\"";
        let rows = query(&client, sql, &[]).await?;
        let waiting = |row: &tokio_postgres::Row| CallsWaiting {
            webhook: row.get(0),
            calls: row.get::<_, i64>(1).unsigned_abs(),
            oldest: about(row.get(2)),
        };
        Ok(rows.iter().map(waiting).collect())
    }
}
