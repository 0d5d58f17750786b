//! Storing messages: many in one statement, which is one transaction and one round trip.

use super::bodies::Upload;
use super::client::{Client, query};
use super::columns::MessageColumns;
use super::error::Error;
use super::lane::{Change, GUARD, IN_A_LANE, LANE, Ticket, unless_late};
use super::outbox::{self, Calls};
use super::row;
use crate::id::QueueId;
use crate::message::{Beginning, Body, NewMessage};
use crate::steady::Steady;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::HashMap;
use tokio_postgres::Row;

/// A message on its way into the database.
#[derive(Debug)]
pub(super) struct Insert {
    pub(super) message: NewMessage,
    pub(super) beginning: Beginning,
    /// Its large content, which is there already.
    pub(super) uploaded: Option<Upload>,
    /// When that was asked for: a lease lasts from then at least.
    pub(super) asked: Steady,
}

/// What a recipient has beside its address, in octets, about.
const RECIPIENT: u64 = 100;

impl Insert {
    pub(super) fn new(message: NewMessage, beginning: Beginning) -> Insert {
        Insert {
            message,
            beginning,
            uploaded: None,
            asked: Steady::now(),
        }
    }

    /// Octets that travel in the statement, about.
    pub(super) fn octets(&self) -> u64 {
        let content = match &self.message.body {
            Body::Memory(content) => content.len() as u64,
            Body::File { .. } => 0,
        };
        let recipients = self.message.recipients.iter();
        content
            + recipients
                .map(|one| one.address.as_str().len() as u64 + RECIPIENT)
                .sum::<u64>()
    }
}

/// What follows `lane`: messages and their recipients. One whose large content was swept, because this server was thought dead, is left out.
const INSERT: &str = ",
     taken AS (DELETE FROM uploads AS u USING lane WHERE u.message = ANY($6) RETURNING u.message),
     given AS MATERIALIZED (
         SELECT coalesce(given.uploaded, nextval('message_keys')) AS key, given.*
         FROM lane CROSS JOIN unnest($5::bytea[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::smallint[], $11::boolean[],
                  $12::boolean[], $13::boolean[], $14::smallint[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bytea[])
              WITH ORDINALITY AS given (id, uploaded, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, ret, envid,
                  origin, account, traceparent, message_id, content, place)
         LEFT JOIN taken ON taken.message = given.uploaded WHERE given.uploaded IS NULL OR taken.message IS NOT NULL),
     stored AS (
         INSERT INTO messages (key, id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, ret, envid, origin, account,
                               traceparent, message_id, content)
         SELECT key, id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, ret, envid, origin, account, traceparent,
                message_id, content
         FROM given ORDER BY place RETURNING key),
     addressed AS (
         INSERT INTO recipients (message, idx, address, domain, notify, orcpt, state, attempts, due, epoch, owner, delay_notified,
                                 last_result, parked)
         SELECT given.key, r.idx, r.address, r.domain, r.notify, r.orcpt, r.state, r.attempts,
                coalesce(r.due, (extract(epoch FROM now()) * 1000)::bigint) + r.lease,
                CASE r.state WHEN 1 THEN 1 ELSE 0 END, CASE r.state WHEN 1 THEN $1 END, r.notified, r.result, r.parked
         FROM unnest($21::bigint[], $22::integer[], $23::text[], $24::text[], $25::smallint[], $26::text[], $27::smallint[], $28::bigint[],
                  $29::text[], $30::boolean[], $31::integer[], $32::boolean[], $33::bigint[])
              AS r (place, idx, address, domain, notify, orcpt, state, due, result, parked, attempts, notified, lease)
         JOIN given USING (place))";
const KEYS: &str = " SELECT given.id, given.key FROM lane LEFT JOIN given ON true";

/// The statement, as part of a transaction that began with [`GUARD`].
pub(super) fn guarded() -> String {
    format!("{IN_A_LANE}{INSERT}{KEYS}")
}

/// The key of each message that was stored.
pub(super) type Keys = HashMap<QueueId, i64>;

/// What became of an attempt to store messages.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) keys: Keys,
    /// Whether a message without a key was not stored.
    pub(super) is_certain: bool,
    pub(super) dropped: outbox::Dropped,
}

/// Stores messages, all or none.
pub(super) struct InsertAll<'i> {
    pub(super) inserts: &'i [Insert],
    /// By the database's clock.
    pub(super) now: Timestamp,
}

#[async_trait]
impl Change for InsertAll<'_> {
    type Output = Stored;
    async fn make(&self, db: &Client, ticket: Ticket) -> Result<Option<Stored>, Error> {
        insert(db, ticket, self.inserts, self.now).await
    }
}

async fn insert(
    db: &Client,
    ticket: Ticket,
    inserts: &[Insert],
    now: Timestamp,
) -> Result<Option<Stored>, Error> {
    let columns = MessageColumns::of(inserts);
    let calls = Calls::of(
        inserts.iter().flat_map(|insert| {
            match &insert.beginning {
                Beginning::Deferred(deferrals) => deferrals.as_slice(),
                _ => &[],
            }
            .iter()
            .flat_map(|deferral| &deferral.calls)
        }),
        now,
    );
    if calls.is_empty() {
        let rows = query(db, &format!("{LANE}{INSERT}{KEYS}"), &columns.values(&ticket)).await?;
        return Ok((!rows.is_empty()).then(|| Stored {
            keys: keys(&rows),
            is_certain: true,
            ..Stored::default()
        }));
    }
    let (sql, ticket_values) = (guarded(), ticket.values());
    let statements = [
        (GUARD, ticket_values.as_slice()),
        (&*sql, &columns.values(&ticket)),
        (outbox::INSERT, &calls.values()),
    ];
    let done = unless_late(db.all_in_one(&statements).await)?;
    let stored = |rows: Vec<Vec<Row>>| Stored {
        keys: rows.get(1).map(|rows| keys(rows)).unwrap_or_default(),
        is_certain: true,
        dropped: calls.dropped(rows.get(2).map_or(&[], Vec::as_slice)),
    };
    Ok(done.map(stored))
}

fn keys(rows: &[Row]) -> Keys {
    let key = |row: &Row| Some((row::id(row, 0).ok()?, row.get(1)));
    rows.iter().filter_map(key).collect()
}

/// The keys of messages that are there.
pub(super) async fn look_up(db: &Client, inserts: &[Insert]) -> Result<Keys, Error> {
    let ids: Vec<Vec<u8>> = inserts
        .iter()
        .map(|insert| insert.message.id.to_bytes().to_vec())
        .collect();
    let rows = query(db, "SELECT id, key FROM messages WHERE id = ANY($1)", &[&ids]).await?;
    Ok(keys(&rows))
}
