//! Leasing recipients that are due, and setting aside what cannot be read.
//!
//! All of it waits for the disk: a claim that a crash of the database takes back is another server's a moment later, while this one delivers.

use super::client::{Client, query_durably};
use super::error::Error;
use super::filter::Condition;
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use super::servers::BEGAN;
use crate::limits;
use crate::message::{Attempt, Body, Claim, ClaimedRecipient, Message};
use crate::steady::Steady;
use crate::store::{ClaimRequest, Term};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio_postgres::Row;
use uuid::Uuid;

/// What could not be read: the id or key, and why.
pub(super) type Unreadable = Vec<(String, String)>;

/// Recipients that are looked at for one that is claimed, when many are: so there is a choice of domains.
const CHOICE: usize = 4;
/// Domains whose longest due recipients are due within so many bits of milliseconds of each other, 16 s, are equally urgent.
const ALIKE: u32 = 14;
/// 0 for every nth domain where there are n servers, another nth for each of them.
const NOT_ITS_OWN: &str = "((hashtext(domain) & 65535) + (SELECT count(*) FROM servers WHERE id < $5)) % (SELECT greatest(1, count(*)) FROM servers)";
/// Claims from that size on are by domain.
const MANY: usize = 64;
/// Contents of so many octets come along with the claim; larger ones are asked for when their turn comes.
const BROUGHT: i64 = 16 << 10;

/// What [`due`] claimed.
pub(super) struct Due {
    pub(super) claims: Vec<Claim>,
    pub(super) unreadable: Unreadable,
    /// Recipients that another server had, and whose lease it let end.
    pub(super) taken_over: u64,
}

/// What counts as now, in milliseconds; without it, what the database's clock shows.
fn now(lease: Term) -> Option<i64> {
    lease.now.map(Timestamp::as_millisecond)
}

/// Claims what is due; see `Store::claim`. What is due, and when the leases end, the database says by its clock when it is asked, not its
/// caller: of who has an old idea of the time, or had to wait, nobody's lease is taken.
///
/// Large claims take domain after domain, the one with the longest due recipient first: so each server gets much for few next hops, and
/// nothing waits because others are preferred for ever. What another server is just claiming is passed over; what it has claimed since this
/// one began to look is locked for as long as this claim takes, and results of it wait. So of domains that are as urgent each server
/// prefers its own.
///
/// Leases that ended are taken too, unless nobody may be judged ([`super::calm`]).
///
/// `+ 0` keeps the planner from looking for each recipient by when it is due, when its key is known.
pub(super) async fn due(
    db: &Client,
    server: Uuid,
    request: &ClaimRequest,
    asked: Steady,
    ended_too: bool,
) -> Result<Due, Error> {
    let (lease, limit) = (request.lease, request.limit.min(limits::CLAIMED));
    let looked_at = if limit < MANY { limit } else { limit * CHOICE };
    let rows = query_durably(
        db,
        &due_sql(ended_too),
        &[
            &now(lease),
            &request.exclude_domains,
            &(limit as i64),
            &lease.millis(),
            &server,
            &(looked_at as i64),
            &BROUGHT,
        ],
    )
    .await?;
    let taken_over = rows.iter().filter(|row| row.get(29)).count() as u64;
    let (claims, unreadable) = claims(db, rows, asked + lease.length).await?;
    Ok(Due {
        claims,
        unreadable,
        taken_over,
    })
}

/// What [`due`] asks. How much is looked at is hidden in a question: told that it is more than what it believes to be due (it may have no
/// statistics, after a rush), the planner would read and sort all that is.
///
/// Of what is looked at, four times what is claimed, little is compared: domains rather than their recipients. And recipients are looked up
/// and locked one by one, in the order that they are wanted in, until there are enough: what stands in `LATERAL` with a lock the planner
/// can only do so, whatever it believes.
pub(super) fn due_sql(ended_too: bool) -> String {
    // By an index each.
    let claimable = if ended_too { "<= 2" } else { "IN (0, 2)" };
    format!(
        "WITH next AS MATERIALIZED (
             SELECT message, idx, domain, due FROM recipients
             WHERE state {claimable} AND due <= coalesce($1, {BEGAN}) AND domain <> ALL($2) ORDER BY due LIMIT (SELECT $6::bigint)),
         domains AS MATERIALIZED (
             SELECT domain, row_number() OVER (ORDER BY first >> {ALIKE}, {NOT_ITS_OWN}, first, domain) AS turn
             FROM (SELECT domain, min(due) AS first FROM next GROUP BY domain) AS next),
         sorted AS (
             SELECT turn, next.due, message, idx FROM next JOIN domains USING (domain) ORDER BY turn, next.due, message, idx),
         locked AS MATERIALIZED (
             SELECT r.* FROM sorted CROSS JOIN LATERAL (
                 SELECT r.message, r.idx, r.due AS since, r.state = 1 AND r.owner IS DISTINCT FROM $5 AS ended FROM recipients AS r
                 WHERE r.message = sorted.message AND r.idx = sorted.idx AND r.state + 0 {claimable} AND r.due + 0 <= coalesce($1, {BEGAN})
                 FOR UPDATE SKIP LOCKED) AS r
             LIMIT $3),
         due AS (SELECT *, row_number() OVER (PARTITION BY message ORDER BY idx) = 1 AS leads FROM locked)
         UPDATE recipients AS r SET state = 1, due = coalesce($1, {BEGAN}) + $4, epoch = r.epoch + 1, owner = $5, parked = false
         FROM due LEFT JOIN messages AS m ON m.key = due.message WHERE r.message = due.message AND r.idx = due.idx
         RETURNING {RECIPIENT_COLUMNS}, due.since, {MESSAGE_COLUMNS}, CASE WHEN due.leads AND m.size <= $7 THEN m.content END,
             due.ended"
    )
}

/// Claims recipients of these messages that an operator means, due or not; see `Store::claim_selected`.
pub(super) async fn selected(
    db: &Client,
    server: Uuid,
    condition: &Condition,
    keys: &[i64],
    lease: Term,
    asked: Steady,
) -> Result<(Vec<Claim>, Unreadable), Error> {
    let sql = format!(
        "WITH meant AS (
             SELECT r.message, r.idx FROM messages AS m JOIN recipients AS r ON r.message = m.key
             WHERE m.key = ANY($1) AND r.state + 0 IN (0, 2, 3) AND {} FOR UPDATE OF r SKIP LOCKED)
         UPDATE recipients AS r SET state = 1, due = coalesce($4, {BEGAN}) + $2, epoch = r.epoch + 1, owner = $3, parked = false
         FROM meant LEFT JOIN messages AS m ON m.key = meant.message WHERE r.message = meant.message AND r.idx = meant.idx
         RETURNING {RECIPIENT_COLUMNS}, r.message, {MESSAGE_COLUMNS}, NULL::bytea",
        condition.joined_sql(5)
    );
    let (length, now) = (lease.millis(), now(lease));
    let rows = query_durably(db, &sql, &condition.values(&[&keys, &length, &server, &now])).await?;
    claims(db, rows, asked + lease.length).await
}

/// Claims of leased rows, in the order of their thirteenth column; behind it stand the message and, with one of its rows, its content.
async fn claims(db: &Client, mut rows: Vec<Row>, until: Steady) -> Result<(Vec<Claim>, Unreadable), Error> {
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
    let (mut claims, mut unreadable) = (Vec::with_capacity(order.len()), Unreadable::new());
    for key in order {
        let group = by_message.remove(&key).unwrap_or_default();
        let message = match group.first() {
            Some(row) if row.get::<_, Option<i64>>(13).is_some() => row::message(row, 13),
            _ => Err("its message is missing".to_owned()),
        };
        match message {
            Ok(message) => claims.extend(claim(db, message, group, until, &mut unreadable).await?),
            Err(reason) => {
                for row in group {
                    quarantine(db, key, row.get(0), &reason).await?;
                }
                unreadable.push((format!("key {key}"), reason));
            }
        }
    }
    Ok((claims, unreadable))
}

async fn claim(
    db: &Client,
    message: Message,
    mut rows: Vec<&Row>,
    until: Steady,
    unreadable: &mut Unreadable,
) -> Result<Option<Claim>, Error> {
    rows.sort_by_key(|row| row.get::<_, i32>(0));
    let content = rows.iter().find_map(|row| row.get::<_, Option<Vec<u8>>>(28));
    let mut recipients = Vec::with_capacity(rows.len());
    for row in rows {
        match row::recipient(row) {
            Ok(recipient) => recipients.push(ClaimedRecipient {
                recipient,
                epoch: row.get(10),
            }),
            Err(reason) => {
                let index: i32 = row.get(0);
                quarantine(db, message.key, index, &reason).await?;
                unreadable.push((message.id.to_string(), format!("recipient {index}: {reason}")));
            }
        }
    }
    Ok((!recipients.is_empty()).then(|| Claim {
        // One that is not whole is found out when it is asked for.
        body: content
            .filter(|content| content.len() as u64 == message.size)
            .map(|content| Body::Memory(content.into())),
        message: Arc::new(message),
        recipients,
        until,
    }))
}

async fn quarantine(db: &Client, message: i64, index: i32, reason: &str) -> Result<(), Error> {
    query_durably(
        db,
        "UPDATE recipients SET state = 7, epoch = epoch + 1, last_result = $3 WHERE message = $1 AND idx = $2",
        &[&message, &index, &super::filter::plain(reason)],
    )
    .await?;
    Ok(())
}

/// Sets aside the recipients of a message whose content cannot be read; their leases are lost. Gives how many.
pub(super) async fn quarantine_all(db: &Client, key: i64, reason: &str) -> Result<u64, Error> {
    let sql = "UPDATE recipients SET state = 7, epoch = epoch + 1, last_result = $2 WHERE message = $1 AND state <= 2 RETURNING idx";
    let rows = query_durably(db, sql, &[&key, &super::filter::plain(reason)]).await?;
    Ok(rows.len() as u64)
}

/// Extends leases; see `Store::renew`. Gives those that were lost.
pub(super) async fn renew(db: &Client, attempts: &[Attempt], lease: Term) -> Result<Vec<Attempt>, Error> {
    let (messages, indices, epochs) = columns(attempts);
    let rows = query_durably(
        db,
        &format!(
            "UPDATE recipients AS r SET due = coalesce($5, {BEGAN}) + $1
         FROM unnest($2::bigint[], $3::integer[], $4::bigint[]) AS given (message, idx, epoch)
         WHERE r.message = given.message AND r.idx = given.idx AND r.epoch = given.epoch AND r.state + 0 = 1
         RETURNING r.message, r.idx, r.epoch"
        ),
        &[&lease.millis(), &messages, &indices, &epochs, &now(lease)],
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
