//! Leasing recipients that are due, and setting aside what cannot be read.

use super::error::Error;
use super::filter::Condition;
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use super::{Transaction, query, run};
use crate::message::{Attempt, Claim, ClaimedRecipient, Message};
use crate::store::ClaimRequest;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio_postgres::Row;
use uuid::Uuid;

/// Most recipients in one claim, whatever was asked for: a claim is one transaction.
const MAX_CLAIM: usize = 10_000;

/// What could not be read: the id or key, and why.
pub(super) type Unreadable = Vec<(String, String)>;

/// When a lease that is asked for ends.
fn lease_end(request: &ClaimRequest) -> Timestamp {
    let lease = SignedDuration::try_from(request.lease).unwrap_or(SignedDuration::from_hours(1));
    request.now.saturating_add(lease).unwrap_or(request.now)
}

/// Claims what is due; see `Store::claim`.
pub(super) async fn due(
    t: &Transaction<'_>,
    server: Uuid,
    request: &ClaimRequest,
) -> Result<(Vec<Claim>, Unreadable), Error> {
    let until = lease_end(request);
    let rows = query(
        t,
        &format!(
            "WITH due AS (
                 SELECT message, idx, due AS since FROM recipients
                 WHERE state <= 2 AND due <= $1 AND domain <> ALL($2) ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED)
             UPDATE recipients AS r SET state = 1, due = $4, epoch = r.epoch + 1, owner = $5, parked = false
             FROM due WHERE r.message = due.message AND r.idx = due.idx
             RETURNING {RECIPIENT_COLUMNS}, due.since"
        ),
        &[
            &request.now.as_millisecond(),
            &request.exclude_domains,
            &(request.limit.min(MAX_CLAIM) as i64),
            &until.as_millisecond(),
            &server,
        ],
    )
    .await?;
    claims(t, rows, until).await
}

/// Claims recipients of these messages that an operator means, due or not; see `Store::claim_selected`.
pub(super) async fn selected(
    t: &Transaction<'_>,
    server: Uuid,
    condition: &Condition,
    keys: &[i64],
    request: &ClaimRequest,
) -> Result<(Vec<Claim>, Unreadable), Error> {
    let until = lease_end(request);
    let sql = format!(
        "WITH meant AS (
             SELECT r.message, r.idx FROM messages AS m JOIN recipients AS r ON r.message = m.key
             WHERE m.key = ANY($1) AND r.state IN (0, 2, 3) AND {} FOR UPDATE OF r SKIP LOCKED)
         UPDATE recipients AS r SET state = 1, due = $2, epoch = r.epoch + 1, owner = $3, parked = false
         FROM meant WHERE r.message = meant.message AND r.idx = meant.idx
         RETURNING {RECIPIENT_COLUMNS}, r.message",
        condition.joined_sql(4)
    );
    let until_stored = until.as_millisecond();
    let rows = query(t, &sql, &condition.values(&[&keys, &until_stored, &server])).await?;
    claims(t, rows, until).await
}

/// Claims of leased rows, in the order of their thirteenth column.
async fn claims(
    t: &Transaction<'_>,
    mut rows: Vec<Row>,
    until: Timestamp,
) -> Result<(Vec<Claim>, Unreadable), Error> {
    rows.sort_by_key(|row| (row.get::<_, i64>(12), row.get::<_, i64>(11), row.get::<_, i32>(0)));
    let mut order: Vec<i64> = Vec::new();
    let mut by_message: HashMap<i64, Vec<&Row>> = HashMap::new();
    for row in &rows {
        let group = by_message.entry(row.get(11)).or_default();
        if group.is_empty() {
            order.push(row.get(11));
        }
        group.push(row);
    }
    let messages = messages(t, &order).await?;
    let (mut claims, mut unreadable) = (Vec::with_capacity(order.len()), Unreadable::new());
    for key in order {
        let group = by_message.remove(&key).unwrap_or_default();
        let missing = || Err("its message is missing".to_owned());
        match messages.get(&key).cloned().unwrap_or_else(missing) {
            Ok(message) => claims.extend(claim(t, message, group, until, &mut unreadable).await?),
            Err(reason) => {
                for row in group {
                    quarantine(t, key, row.get(0), &reason).await?;
                }
                unreadable.push((format!("key {key}"), reason));
            }
        }
    }
    Ok((claims, unreadable))
}

async fn messages(t: &Transaction<'_>, keys: &[i64]) -> Result<HashMap<i64, Result<Message, String>>, Error> {
    let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages AS m WHERE m.key = ANY($1)");
    let rows = query(t, &sql, &[&keys]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row::message(row))).collect())
}

async fn claim(
    t: &Transaction<'_>,
    message: Message,
    mut rows: Vec<&Row>,
    until: Timestamp,
    unreadable: &mut Unreadable,
) -> Result<Option<Claim>, Error> {
    rows.sort_by_key(|row| row.get::<_, i32>(0));
    let mut recipients = Vec::with_capacity(rows.len());
    for row in rows {
        match row::recipient(row) {
            Ok(recipient) => recipients.push(ClaimedRecipient {
                recipient,
                epoch: row.get(10),
            }),
            Err(reason) => {
                let index: i32 = row.get(0);
                quarantine(t, message.key, index, &reason).await?;
                unreadable.push((message.id.to_string(), format!("recipient {index}: {reason}")));
            }
        }
    }
    Ok((!recipients.is_empty()).then(|| Claim {
        message: Arc::new(message),
        recipients,
        body: None,
        until,
    }))
}

async fn quarantine(t: &Transaction<'_>, message: i64, index: i32, reason: &str) -> Result<(), Error> {
    run(
        t,
        "UPDATE recipients SET state = 7, epoch = epoch + 1, last_result = $3 WHERE message = $1 AND idx = $2",
        &[&message, &index, &super::filter::plain(reason)],
    )
    .await?;
    Ok(())
}

/// Sets aside the recipients of a message whose content cannot be read; their leases are lost. Gives how many.
pub(super) async fn quarantine_all(t: &Transaction<'_>, key: i64, reason: &str) -> Result<u64, Error> {
    let sql = "UPDATE recipients SET state = 7, epoch = epoch + 1, last_result = $2 WHERE message = $1 AND state <= 2";
    run(t, sql, &[&key, &super::filter::plain(reason)]).await
}

/// Extends leases; see `Store::renew`. Gives those that were lost.
pub(super) async fn renew(
    t: &Transaction<'_>,
    attempts: &[Attempt],
    until: Timestamp,
) -> Result<Vec<Attempt>, Error> {
    let (messages, indices, epochs) = columns(attempts);
    let rows = query(
        t,
        "UPDATE recipients AS r SET due = $1
         FROM unnest($2::bigint[], $3::integer[], $4::bigint[]) AS given (message, idx, epoch)
         WHERE r.message = given.message AND r.idx = given.idx AND r.epoch = given.epoch AND r.state = 1
         RETURNING r.message, r.idx, r.epoch",
        &[&until.as_millisecond(), &messages, &indices, &epochs],
    )
    .await?;
    let kept: HashSet<Attempt> = rows.iter().map(attempt).collect();
    let lost = |attempt: &&Attempt| !kept.contains(*attempt);
    Ok(attempts.iter().filter(lost).copied().collect())
}

/// The attempt that a row of message, place and epoch names.
pub(super) fn attempt(row: &Row) -> Attempt {
    Attempt {
        message: row.get(0),
        recipient: row.get::<_, i32>(1).unsigned_abs(),
        epoch: row.get(2),
    }
}

/// Attempts as columns.
pub(super) fn columns(attempts: &[Attempt]) -> (Vec<i64>, Vec<i32>, Vec<i64>) {
    let messages = attempts.iter().map(|one| one.message).collect();
    let indices = attempts
        .iter()
        .map(|one| i32::try_from(one.recipient).unwrap_or(i32::MAX))
        .collect();
    (messages, indices, attempts.iter().map(|one| one.epoch).collect())
}
