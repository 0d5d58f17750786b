//! An operator's changes: retry, hold, unhold, delete, release. Found some hundreds at a time; looked at again before anything is changed.

use super::client::{Client, query, run};
use super::error::Error;
use super::filter::{Condition, plain};
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use crate::id::QueueId;
use crate::operator::Action;
use crate::store::Unreadable;
use tokio_postgres::Row;

/// Does something to those of these messages that are still meant. Gives whom it touched.
pub(super) async fn operate(
    db: &Client,
    action: Action,
    condition: &Condition,
    keys: &[i64],
) -> Result<Vec<QueueId>, Error> {
    db.change_by_keys(|| operate_once(db, action, condition, keys))
        .await
}

async fn operate_once(
    t: &Client,
    action: Action,
    condition: &Condition,
    keys: &[i64],
) -> Result<Vec<QueueId>, Error> {
    let meant = format!(
        "WITH meant AS MATERIALIZED (SELECT m.key FROM messages AS m WHERE m.key = ANY($1) AND {} ORDER BY m.key FOR UPDATE OF m)",
        condition.sql(3)
    );
    let (change, value) = match action {
        Action::Retry { now } => (
            "UPDATE recipients AS r SET state = 0, due = $2, parked = false FROM meant
             WHERE r.message = meant.key AND r.state + 0 IN (0, 2) RETURNING r.message"
                .to_owned(),
            now.as_millisecond(),
        ),
        Action::Hold => (
            format!(
                "UPDATE recipients AS r SET state = $2::bigint::smallint FROM meant, messages AS m
                 WHERE m.key = meant.key AND r.message = meant.key AND r.state + 0 IN (0, 2) AND {} RETURNING r.message",
                condition.joined_sql(3)
            ),
            3,
        ),
        Action::Unhold { now } => (
            format!(
                "UPDATE recipients AS r SET state = 0, due = $2, parked = false FROM meant, messages AS m
                 WHERE m.key = meant.key AND r.message = meant.key AND r.state + 0 = 3 AND {} RETURNING r.message",
                condition.joined_sql(3)
            ),
            now.as_millisecond(),
        ),
        Action::Delete => (
            "DELETE FROM messages AS m USING meant WHERE m.key = meant.key AND $2::bigint = 0 RETURNING m.key, m.id".to_owned(),
            0,
        ),
    };
    let rows = query(
        t,
        &format!("{meant} {change}"),
        &condition.values(&[&keys, &value]),
    )
    .await?;
    let mut touched: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    touched.sort_unstable();
    touched.dedup();
    if let Action::Delete = action {
        for table in ["recipients", "bodies"] {
            run(
                t,
                &format!("DELETE FROM {table} WHERE message = ANY($1)"),
                &[&touched],
            )
            .await?;
        }
        return Ok(rows
            .iter()
            .map(|row| row::id(row, 1).unwrap_or(QueueId::from_bytes([0; 16])))
            .collect());
    }
    let rows = query(t, "SELECT id FROM messages WHERE key = ANY($1)", &[&touched]).await?;
    Ok(rows.iter().filter_map(|row| row::id(row, 0).ok()).collect())
}

/// Reads quarantined messages again, and queues what can be read; see `Store::release`. Gives how many are queued, and what is not.
pub(super) async fn release(
    db: &Client,
    condition: &Condition,
    keys: &[i64],
    now: i64,
) -> Result<(u64, Vec<Unreadable>), Error> {
    db.change_by_keys(|| release_once(db, condition, keys, now)).await
}

async fn release_once(
    t: &Client,
    condition: &Condition,
    keys: &[i64],
    now: i64,
) -> Result<(u64, Vec<Unreadable>), Error> {
    let sql = format!(
        "SELECT {MESSAGE_COLUMNS},
             coalesce(octet_length(m.content), (SELECT coalesce(sum(octet_length(b.content)), -1)::bigint FROM bodies AS b WHERE b.message = m.key))
         FROM messages AS m WHERE m.key = ANY($1) AND {} ORDER BY m.key FOR UPDATE OF m",
        condition.sql(2)
    );
    let (mut queued, mut unreadable) = (0, Vec::new());
    for row in &query(t, &sql, &condition.values(&[&keys])).await? {
        let key: i64 = row.get(0);
        let id = row::id(row, 1).map_or_else(|_| format!("key {key}"), |id| id.to_string());
        let reason = match readable(row) {
            Ok(()) => {
                let (some, reason) = queue_recipients(t, key, now).await?;
                queued += u64::from(some);
                reason
            }
            Err(reason) => {
                keep(t, key, None, &reason).await?;
                Some(reason)
            }
        };
        unreadable.extend(reason.map(|reason| Unreadable { id, reason }));
    }
    Ok((queued, unreadable))
}

fn readable(row: &Row) -> Result<(), String> {
    let message = row::message(row, 0)?;
    check_size(message.size, row.get::<_, i64>(15))
}

/// Whether a content of so many octets is there whole; negative: there is none.
pub(super) fn check_size(expected: u64, found: i64) -> Result<(), String> {
    match u64::try_from(found) {
        Err(_) => Err("its content is missing from the database".to_owned()),
        Ok(found) if found != expected => Err(format!(
            "its content has {found} octets and should have {expected}"
        )),
        Ok(_) => Ok(()),
    }
}

async fn queue_recipients(t: &Client, key: i64, now: i64) -> Result<(bool, Option<String>), Error> {
    let sql = format!(
        "SELECT {RECIPIENT_COLUMNS} FROM recipients AS r WHERE r.message = $1 AND r.state = 7 ORDER BY r.idx"
    );
    let (mut queued, mut kept) = (false, None);
    for row in &query(t, &sql, &[&key]).await? {
        let index: i32 = row.get(0);
        match row::recipient(row) {
            Ok(_) => {
                let sql = "UPDATE recipients SET state = 0, due = $3, last_result = NULL WHERE message = $1 AND idx = $2";
                run(t, sql, &[&key, &index, &now]).await?;
                queued = true;
            }
            Err(reason) => {
                keep(t, key, Some(index), &reason).await?;
                kept = Some(format!("recipient {index}: {reason}"));
            }
        }
    }
    Ok((queued, kept))
}

/// Writes down why a recipient, or every one that is in quarantine, stays there.
async fn keep(t: &Client, key: i64, index: Option<i32>, reason: &str) -> Result<(), Error> {
    let sql =
        "UPDATE recipients SET last_result = $3 WHERE message = $1 AND idx = coalesce($2, idx) AND state = 7";
    run(t, sql, &[&key, &index, &plain(reason)]).await?;
    Ok(())
}
