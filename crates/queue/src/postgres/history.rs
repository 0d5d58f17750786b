//! The history of messages, of all servers together.
//!
//! COMMIT does not wait for the disk here: what a crash takes is the last moments of history. Calls block, on a thread of the history's.

use super::PostgresStore;
use super::client::{Client, query, run};
use super::clock::Clock;
use super::error::Error;
use super::link::Link;
use super::turns::Turns;
use crate::store::StoreError;
use jiff::Timestamp;
use smtp_history::{Addition, Archive, MOST_STEPS, Old, Record};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_postgres::Row;

/// Messages forgotten in one transaction.
const FORGET: i64 = 500;
/// Octets that a message takes beside its steps, by estimate.
const OVERHEAD: i64 = 400;
const COLUMNS: &str = "h.id, h.ended, h.sender, h.account, h.message_id, h.steps, h.omitted";

/// Histories in the database of a store.
#[derive(Debug)]
pub struct PostgresHistory {
    link: Arc<Link>,
    clock: Clock,
    turns: Arc<Turns>,
    runtime: Handle,
}

impl PostgresStore {
    /// Where histories are kept. On the runtime that the store was opened on.
    pub fn history(&self) -> Arc<PostgresHistory> {
        Arc::new(PostgresHistory {
            link: self.link.clone(),
            clock: self.shop.clock.clone(),
            turns: self.turns.clone(),
            runtime: Handle::current(),
        })
    }
}

impl PostgresHistory {
    fn block<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> Result<T, String> {
        if self.link.pool.is_closed() {
            // The runtime may be gone too.
            return Err(StoreError::Closed.to_string());
        }
        let done = async {
            let client = self.link.client().await?;
            work(&client).await
        };
        self.runtime
            .block_on(done)
            .map_err(|error| StoreError::from(error).to_string())
    }
}

impl Archive for PostgresHistory {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn add(&self, additions: &[Addition]) -> Result<(), String> {
        let open = !self.link.pool.is_closed();
        let _turn = open.then(|| self.runtime.block_on(self.turns.take()));
        self.block(async |client| add(client, additions).await)
    }

    fn forget(&self, old: &Old) -> Result<u64, String> {
        self.block(async |client| forget(client, old).await)
    }

    fn by_id(&self, id: &str) -> Result<Option<Record>, String> {
        let sql = format!("SELECT {COLUMNS} FROM history AS h WHERE h.id = $1");
        let rows = self.block(async |client| query(client, &sql, &[&id]).await)?;
        Ok(rows.first().map(record))
    }

    fn newest(&self, term: Option<i64>, from: &str, to: &str, limit: usize) -> Result<Vec<Record>, String> {
        let sql = match term {
            None => format!(
                "SELECT {COLUMNS} FROM history AS h WHERE h.id >= $1 AND h.id < $2 AND $3::bigint IS NULL ORDER BY h.id DESC LIMIT $4"
            ),
            Some(_) => format!(
                "SELECT {COLUMNS} FROM history_terms AS t JOIN history AS h ON h.id = t.id
                 WHERE t.hash = $3 AND t.id >= $1 AND t.id < $2 ORDER BY t.id DESC LIMIT $4"
            ),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.block(async |client| query(client, &sql, &[&from, &to, &term, &limit]).await)?;
        Ok(rows.iter().map(record).collect())
    }
}

fn record(row: &Row) -> Record {
    Record {
        id: row.get(0),
        ended: row.get(1),
        sender: row.get(2),
        account: row.get(3),
        message_id: row.get(4),
        steps: row.get(5),
        omitted: row.get(6),
    }
}

async fn add(client: &Client, additions: &[Addition]) -> Result<(), Error> {
    let plain = |text: &String| super::filter::plain(text);
    let text = |of: fn(&Addition) -> &Option<String>| -> Vec<Option<String>> {
        additions.iter().map(|one| of(one).as_ref().map(plain)).collect()
    };
    let ids: Vec<String> = additions.iter().map(|one| plain(&one.id)).collect();
    let ended: Vec<Option<i64>> = additions.iter().map(|one| one.ended).collect();
    let (senders, accounts) = (text(|one| &one.sender), text(|one| &one.account));
    let message_ids = text(|one| &one.message_id);
    let steps: Vec<String> = additions.iter().map(|one| plain(&one.steps)).collect();
    let last_steps: Vec<String> = additions.iter().map(|one| plain(&one.last_steps)).collect();
    let omissible: Vec<i64> = additions.iter().map(|one| one.omissible).collect();
    let places = || additions.iter().zip(1_i64..);
    let term_places: Vec<i64> = places()
        .flat_map(|(one, place)| one.terms.iter().map(move |_| place))
        .collect();
    let terms: Vec<i64> = additions.iter().flat_map(|one| &one.terms).copied().collect();
    run(
        client,
        "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true)),
         terms AS MATERIALIZED (SELECT place, array_agg(term) AS terms FROM unnest($9::bigint[], $10::bigint[]) AS t (place, term) GROUP BY place),
         news AS MATERIALIZED (
             SELECT news.*, coalesce(terms.terms, '{}') AS terms
             FROM relaxed CROSS JOIN unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
                  WITH ORDINALITY AS news (id, ended, sender, account, message_id, steps, last_steps, omissible, place)
             LEFT JOIN terms USING (place)),
         kept AS (
             INSERT INTO history AS h (id, ended, sender, account, message_id, steps, omitted, terms)
             SELECT id, ended, sender, account, message_id, steps, 0, terms FROM news ORDER BY id
             ON CONFLICT (id) DO UPDATE SET
                ended = coalesce(excluded.ended, h.ended), sender = coalesce(h.sender, excluded.sender),
                account = coalesce(h.account, excluded.account), message_id = coalesce(h.message_id, excluded.message_id),
                steps = h.steps || CASE WHEN octet_length(h.steps) < $11::bigint THEN excluded.steps
                                        ELSE (SELECT news.last_steps FROM news WHERE news.id = excluded.id) END,
                omitted = h.omitted + CASE WHEN octet_length(h.steps) < $11::bigint THEN 0
                                           ELSE (SELECT news.omissible FROM news WHERE news.id = excluded.id) END,
                terms = ARRAY(SELECT DISTINCT unnest(h.terms || excluded.terms)))
         , found AS (INSERT INTO history_terms (hash, id) SELECT unnest(terms), id FROM news ON CONFLICT DO NOTHING)
         INSERT INTO history_size SELECT coalesce(sum(octet_length(steps) + $12::bigint), 0) FROM news",
        &[
            &ids, &ended, &senders, &accounts, &message_ids, &steps, &last_steps, &omissible, &term_places, &terms, &MOST_STEPS,
            &OVERHEAD,
        ],
    )
    .await?;
    Ok(())
}

/// One server does it at a time; the others find nothing to do.
async fn forget(client: &Client, old: &Old) -> Result<u64, Error> {
    client.change(|| forget_once(client, old)).await
}

async fn forget_once(t: &Client, old: &Old) -> Result<u64, Error> {
    let turn = "SELECT 1 FROM signals WHERE name = 'history' FOR UPDATE SKIP LOCKED";
    if query(t, turn, &[]).await?.is_empty() {
        return Ok(0);
    }
    let summed = "WITH gone AS (DELETE FROM history_size RETURNING octets)
                  INSERT INTO history_size SELECT sum(octets) FROM gone HAVING count(*) > 0 RETURNING octets::bigint";
    let size: i64 = query(t, summed, &[]).await?.first().map_or(0, |row| row.get(0));
    let ended = "SELECT id FROM history WHERE id < $1 AND (ended < $2 OR (ended IS NULL AND id < $3)) ORDER BY id LIMIT $4";
    let (came, lost) = (old.came_before(), old.lost());
    let mut rows = query(t, ended, &[&came, &old.ended_before, &lost, &FORGET]).await?;
    let excess = size - i64::try_from(old.max_size).unwrap_or(i64::MAX);
    if rows.is_empty() && excess > 0 {
        rows = oldest(t, excess).await?;
    }
    let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if !ids.is_empty() {
        let sql = "WITH gone AS (DELETE FROM history WHERE id = ANY($1) RETURNING id, steps, terms),
                        unfound AS (DELETE FROM history_terms AS t USING (SELECT id, unnest(terms) AS hash FROM gone) AS g
                                    WHERE t.hash = g.hash AND t.id = g.id)
                   INSERT INTO history_size SELECT -coalesce(sum(octet_length(steps) + $2::bigint), 0) FROM gone";
        run(t, sql, &[&ids, &OVERHEAD]).await?;
    }
    Ok(ids.len() as u64)
}

/// The oldest messages that have ended, or the oldest of all when none has: as many as make up for so many octets, so that a few large
/// ones do not take everything with them.
async fn oldest(t: &Client, excess: i64) -> Result<Vec<Row>, Error> {
    for which in ["WHERE ended IS NOT NULL", ""] {
        let sql = format!(
            "SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id) - size AS older
                             FROM (SELECT id, octet_length(steps) + $3::bigint AS size FROM history {which} ORDER BY id LIMIT $1) AS oldest) AS summed
             WHERE older < $2::bigint"
        );
        let rows = query(t, &sql, &[&FORGET, &excess, &OVERHEAD]).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    Ok(Vec::new())
}
