//! Questions about the queue.

use super::client::{Client, query, query_one};
use super::error::Error;
use super::filter::Condition;
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use crate::id::QueueId;
use crate::limits;
use crate::message::{Message, Recipient};
use crate::operator::{AGES, Shape, ShapeBy, Shaping};
use crate::store::{MessageDetail, MessageSummary, Stats};
use jiff::Timestamp;
use std::collections::HashMap;
use tokio_postgres::Row;

/// Keys of messages that a condition holds for, ascending, after a key.
pub(super) async fn keys(
    db: &Client,
    condition: &Condition,
    after: i64,
    limit: usize,
) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "SELECT m.key FROM messages AS m WHERE m.key > $1 AND {} ORDER BY m.key LIMIT $2",
        condition.sql(3)
    );
    let rows = query(db, &sql, &condition.values(&[&after, &(limit as i64)])).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How many messages a condition holds for.
pub(super) async fn count(db: &Client, condition: &Condition) -> Result<u64, Error> {
    let sql = format!("SELECT count(*) FROM messages AS m WHERE {}", condition.sql(1));
    let rows = query(db, &sql, &condition.values(&[])).await?;
    Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}

/// One page of a listing.
pub(super) async fn list(
    db: &Client,
    condition: &Condition,
    after: Option<QueueId>,
    limit: usize,
) -> Result<Vec<MessageSummary>, Error> {
    let sql = format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages AS m WHERE m.id > $1 AND {} ORDER BY m.id LIMIT $2",
        condition.sql(3)
    );
    let after = after.map_or_else(Vec::new, |id| id.to_bytes().to_vec());
    let limit = limit.min(limits::LISTED) as i64;
    let rows = query(db, &sql, &condition.values(&[&after, &limit])).await?;
    // Without a readable id a message can be neither named nor shown.
    let messages: Vec<Message> = rows
        .iter()
        .filter_map(|row| row::message_lenient(row).ok())
        .collect();
    let keys: Vec<i64> = messages.iter().map(|message| message.key).collect();
    let mut recipients = recipients(db, &keys, "r.state NOT IN (4, 5, 6)", limits::LISTED_RECIPIENTS).await?;
    let summary = |message: Message| MessageSummary {
        recipients: recipients.remove(&message.key).unwrap_or_default(),
        message,
    };
    Ok(messages.into_iter().map(summary).collect())
}

/// One message with all its recipients.
pub(super) async fn show(db: &Client, id: QueueId) -> Result<Option<MessageDetail>, Error> {
    let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages AS m WHERE m.id = $1");
    let rows = query(db, &sql, &[&id.to_bytes().as_slice()]).await?;
    let Some(Ok(message)) = rows.first().map(row::message_lenient) else {
        return Ok(None);
    };
    let mut recipients = recipients(db, &[message.key], "true", i64::MAX).await?;
    let recipients = recipients.remove(&message.key).unwrap_or_default();
    Ok(Some(MessageDetail { message, recipients }))
}

/// At most so many recipients of each of these messages.
async fn recipients(
    db: &Client,
    keys: &[i64],
    condition: &'static str,
    limit: i64,
) -> Result<HashMap<i64, Vec<Recipient>>, Error> {
    let sql = format!(
        "SELECT r.* FROM unnest($1::bigint[]) AS given (key) CROSS JOIN LATERAL (
             SELECT {RECIPIENT_COLUMNS} FROM recipients AS r WHERE r.message = given.key AND {condition} ORDER BY r.idx LIMIT $2) AS r"
    );
    let mut by_message: HashMap<i64, Vec<Recipient>> = HashMap::new();
    for row in &query(db, &sql, &[&keys, &limit]).await? {
        if let Ok(recipient) = row::recipient_lenient(row) {
            by_message.entry(row.get(11)).or_default().push(recipient);
        }
    }
    Ok(by_message)
}

/// What [`next_due`] asks.
pub(super) fn next_due_sql(unclaimed: bool) -> &'static str {
    match unclaimed {
        true => "SELECT due FROM recipients WHERE state IN (0, 2) ORDER BY due LIMIT 1",
        false => "SELECT due FROM recipients WHERE state <= 2 ORDER BY due LIMIT 1",
    }
}

/// When the next recipient is due or the next lease ends; only unclaimed ones with `unclaimed`.
pub(super) async fn next_due(db: &Client, unclaimed: bool) -> Result<Option<Timestamp>, Error> {
    let rows = query(db, next_due_sql(unclaimed), &[]).await?;
    // A time that cannot be read is due: the claim will find it and set it aside.
    let time = |row: &Row| Timestamp::from_millisecond(row.get(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(rows.first().map(time))
}

/// Figures of the queue, at `now` by the database's clock. How many are due is counted by the caller.
pub(super) async fn stats(db: &Client, now: Timestamp, due: u64) -> Result<Stats, Error> {
    let sql = "SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(octets), 0)::bigint, coalesce(sum(queued), 0)::bigint,
                      coalesce(sum(leased), 0)::bigint, coalesce(sum(deferred), 0)::bigint, coalesce(sum(held), 0)::bigint,
                      coalesce(sum(delivered), 0)::bigint, coalesce(sum(bounced), 0)::bigint, coalesce(sum(expired), 0)::bigint,
                      coalesce(sum(quarantined), 0)::bigint FROM figures";
    let row = query_one(db, sql, &[]).await?;
    let figure = |place: usize| u64::try_from(row.get::<_, i64>(place)).unwrap_or(0);
    let oldest_due = next_due(db, true).await?;
    Ok(Stats {
        messages: figure(0),
        bytes: figure(1),
        recipients: std::array::from_fn(|state| figure(state + 2)),
        oldest_due: oldest_due.filter(|due| *due <= now),
        due,
    })
}

/// Counts the recipients that are not final and that a condition holds for, by domain and age.
pub(super) async fn shape(
    db: &Client,
    condition: &Condition,
    by: ShapeBy,
    now: Timestamp,
) -> Result<Shape, Error> {
    let name = match by {
        ShapeBy::Recipient => "r.domain",
        ShapeBy::Sender => "regexp_replace(lower(m.sender), '^.*@', '')",
    };
    let sql = format!(
        "SELECT {name}, width_bucket(($1 - m.received_at) / 60000, $2::bigint[]), count(*)
         FROM messages AS m JOIN recipients AS r ON r.message = m.key
         WHERE r.state NOT IN (4, 5, 6) AND {} GROUP BY 1, 2",
        condition.joined_sql(3)
    );
    let bounds: Vec<i64> = AGES.iter().map(|bound| i64::from(*bound)).collect();
    let now = now.as_millisecond();
    let mut shaping = Shaping::default();
    for row in &query(db, &sql, &condition.values(&[&now, &bounds])).await? {
        let place = usize::try_from(row.get::<_, i32>(1)).unwrap_or(0);
        shaping.count(Some(row.get(0)), place, row.get::<_, i64>(2).unsigned_abs());
    }
    Ok(shaping.done())
}
