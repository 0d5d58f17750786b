//! Storing messages: many in one statement, which is one transaction and one round trip.

use super::bodies::Upload;
use super::error::Error;
use super::filter::plain;
use super::lane::{Change, GUARD, IN_A_LANE, LANE, Ticket, unless_late};
use super::link::{Client, Param, query};
use super::outbox::{self, Calls};
use super::row;
use crate::id::QueueId;
use crate::message::{Beginning, Body, NewMessage, NewRecipient, State};
use crate::steady::Steady;
use crate::store::{StoreError, Term};
use crate::stored;
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

/// What cannot be stored at all.
pub(super) fn check(message: &NewMessage) -> Result<(), StoreError> {
    if message.recipients.is_empty() {
        let text = format!("message {} has no recipients", message.id);
        return Err(StoreError::Unavailable(text));
    }
    Ok(())
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

/// Messages as columns.
#[derive(Default)]
struct Messages<'m> {
    ids: Vec<Vec<u8>>,
    uploaded: Vec<Option<i64>>,
    received_at: Vec<i64>,
    senders: Vec<String>,
    sizes: Vec<i64>,
    body_types: Vec<i16>,
    smtputf8: Vec<bool>,
    has_8bit: Vec<bool>,
    header_8bit: Vec<bool>,
    rets: Vec<Option<i16>>,
    envids: Vec<Option<String>>,
    origins: Vec<String>,
    accounts: Vec<Option<String>>,
    traceparents: Vec<Option<String>>,
    message_ids: Vec<Option<String>>,
    contents: Vec<Option<&'m [u8]>>,
}

impl<'m> Messages<'m> {
    fn push(&mut self, insert: &'m Insert) {
        let (message, options) = (&insert.message, &insert.message.options);
        let text = |text: &Option<String>| text.as_deref().map(plain);
        self.ids.push(message.id.to_bytes().to_vec());
        self.uploaded.push(insert.uploaded.as_ref().map(Upload::key));
        self.received_at.push(message.received_at.as_millisecond());
        self.senders.push(
            message
                .sender
                .as_ref()
                .map_or_else(String::new, |sender| plain(sender.as_str())),
        );
        self.sizes
            .push(i64::try_from(message.body.size()).unwrap_or(i64::MAX));
        self.body_types
            .push(stored::body_type_number(options.body_type).into());
        self.smtputf8.push(options.smtputf8);
        self.has_8bit.push(options.has_8bit);
        self.header_8bit.push(options.header_8bit);
        self.rets
            .push(options.ret.map(|ret| stored::ret_number(ret).into()));
        self.envids.push(text(&options.envid));
        self.origins.push(plain(&options.origin));
        self.accounts.push(text(&options.account));
        self.traceparents
            .push(options.traceparent.map(|context| context.to_string()));
        self.message_ids.push(text(&options.message_id));
        self.contents.push(match &message.body {
            Body::Memory(octets) => Some(octets),
            Body::File { .. } => None,
        });
    }
}

/// Recipients as columns.
#[derive(Default)]
struct Recipients {
    places: Vec<i64>,
    indices: Vec<i32>,
    addresses: Vec<String>,
    domains: Vec<String>,
    notifies: Vec<Option<i16>>,
    orcpts: Vec<Option<String>>,
    states: Vec<i16>,
    /// Without one it is now, by the database's clock.
    due: Vec<Option<i64>>,
    /// How much later a lease ends, in milliseconds.
    leases: Vec<i64>,
    results: Vec<Option<String>>,
    parked: Vec<bool>,
    attempts: Vec<i32>,
    notified: Vec<bool>,
}

impl Recipients {
    fn push(&mut self, place: i64, index: usize, recipient: &NewRecipient, insert: &Insert) {
        let received_at = insert.message.received_at;
        let untried = || (State::Queued, Some(received_at), None, 0);
        let (state, due, result, attempts) = match &insert.beginning {
            Beginning::Due => untried(),
            Beginning::Leased(lease) => (State::Leased, lease.now, None, 0),
            Beginning::Parked(until) => (State::Queued, Some(*until), None, 0),
            Beginning::Deferred(deferrals) => deferrals.get(index).map_or_else(untried, |one| {
                (State::Deferred, Some(one.due), Some(plain(&one.text)), 1)
            }),
            Beginning::AsBefore(recipients) => recipients.get(index).map_or_else(untried, |one| {
                let result = one.last_result.as_deref().map(plain);
                (one.moved_state(), Some(one.due), result, one.attempts)
            }),
        };
        let (before, lease) = match &insert.beginning {
            Beginning::AsBefore(recipients) => (recipients.get(index), None),
            Beginning::Leased(lease) => (None, Some(*lease)),
            _ => (None, None),
        };
        self.places.push(place);
        self.indices.push(i32::try_from(index).unwrap_or(i32::MAX));
        self.addresses.push(plain(recipient.address.as_str()));
        self.domains
            .push(plain(&recipient.address.domain().to_lowercase()));
        self.notifies
            .push(recipient.notify.map(|notify| notify.bits().into()));
        self.orcpts
            .push(recipient.orcpt.as_ref().map(|orcpt| plain(orcpt.as_str())));
        self.states.push(state as i16);
        self.due.push(due.map(Timestamp::as_millisecond));
        self.leases.push(lease.map_or(0, Term::millis));
        self.results.push(result);
        let parked = matches!(insert.beginning, Beginning::Parked(_));
        self.parked.push(before.map_or(parked, |before| before.parked));
        self.attempts.push(i32::try_from(attempts).unwrap_or(i32::MAX));
        self.notified
            .push(before.is_some_and(|before| before.delay_notified));
    }
}

/// What is bound to the statement that stores messages.
pub(super) struct Columns<'m> {
    messages: Messages<'m>,
    recipients: Recipients,
}

impl<'m> Columns<'m> {
    pub(super) fn of(inserts: &'m [Insert]) -> Self {
        let (mut messages, mut recipients) = (Messages::default(), Recipients::default());
        for (insert, place) in inserts.iter().zip(1..) {
            messages.push(insert);
            for (index, recipient) in insert.message.recipients.iter().enumerate() {
                recipients.push(place, index, recipient, insert);
            }
        }
        Columns { messages, recipients }
    }

    pub(super) fn values<'p>(&'p self, ticket: &'p Ticket) -> Vec<&'p (dyn Param + 'p)> {
        let (m, r) = (&self.messages, &self.recipients);
        vec![
            &ticket.server,
            &ticket.number,
            &ticket.before,
            &ticket.after,
            &m.ids,
            &m.uploaded,
            &m.received_at,
            &m.senders,
            &m.sizes,
            &m.body_types,
            &m.smtputf8,
            &m.has_8bit,
            &m.header_8bit,
            &m.rets,
            &m.envids,
            &m.origins,
            &m.accounts,
            &m.traceparents,
            &m.message_ids,
            &m.contents,
            &r.places,
            &r.indices,
            &r.addresses,
            &r.domains,
            &r.notifies,
            &r.orcpts,
            &r.states,
            &r.due,
            &r.results,
            &r.parked,
            &r.attempts,
            &r.notified,
            &r.leases,
        ]
    }
}

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
    let columns = Columns::of(inserts);
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
