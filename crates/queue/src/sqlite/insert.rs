//! Storing a message: its row, its content, its recipients.

use super::commit::{Change, Load, Operation};
use super::outbox;
use crate::message::{Beginning, Body, Claim, NewMessage, NewRecipient, Standing};
use crate::spool::Spool;
use crate::steady::Steady;
use crate::store::StoreError;
use crate::stored;
use jiff::Timestamp;
use rusqlite::params;

/// Stores one message; see `Store::insert`.
pub(super) struct Insert {
    pub(super) message: NewMessage,
    pub(super) beginning: Beginning,
    /// When it was asked for, by the two clocks.
    pub(super) asked: Steady,
    pub(super) now: Timestamp,
}

impl Operation for Insert {
    type Output = Option<Claim>;
    const NAME: &'static str = "insert";

    fn load(&self) -> Load {
        Load {
            messages: 1,
            octets: octets_in_row(&self.message),
            ..Load::default()
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Self::Output> {
        let key = insert(change, &self.message, &self.beginning, self.now)?;
        Ok(match self.beginning {
            Beginning::Leased(lease) => {
                let until = self.asked + lease.length;
                Some(self.message.claimed(key, lease.end(self.now), until))
            }
            Beginning::Due | Beginning::Deferred(_) | Beginning::Parked(_) | Beginning::AsBefore(_) => None,
        })
    }

    fn abandon(&self) {
        abandon(&self.message);
    }
}

/// Refuses what could not be delivered or found again.
pub(super) fn check(message: &NewMessage, spool: &Spool) -> Result<(), StoreError> {
    message.check()?;
    match &message.body {
        Body::File { path, .. } if *path != spool.body_path(message.id) => Err(StoreError::Unavailable(
            format!("{} is not the body of {}", path.display(), message.id),
        )),
        _ => Ok(()),
    }
}

/// Removes the body of a message that is not stored.
pub(super) fn abandon(message: &NewMessage) {
    if let Body::File { path, .. } = &message.body {
        let _ = std::fs::remove_file(path);
    }
}

pub(super) fn octets_in_row(message: &NewMessage) -> usize {
    match &message.body {
        Body::Memory(bytes) => bytes.len(),
        Body::File { .. } => 0,
    }
}

/// Writes all rows of a message, at `now`; gives its key.
pub(super) fn insert(
    change: &mut Change<'_>,
    message: &NewMessage,
    beginning: &Beginning,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let key = change.new_key();
    insert_message(change, key, message)?;
    if let Body::Memory(bytes) = &message.body {
        change.execute(
            "INSERT INTO bodies (message, content) VALUES (?1, ?2)",
            params![key, &bytes[..]],
        )?;
    }
    for (index, recipient) in message.recipients.iter().enumerate() {
        let standing = beginning.standing(index, message.received_at);
        insert_recipient(change, (key, index), recipient, &standing, now)?;
        change.effects.counters.recipients(standing.state, 1);
    }
    if let Beginning::Deferred(deferrals) = beginning {
        for deferral in deferrals {
            outbox::insert(change, &deferral.calls)?;
        }
    }
    change.effects.counters.message(1, stored_size(message));
    Ok(key)
}

fn stored_size(message: &NewMessage) -> i64 {
    i64::try_from(message.body.size()).unwrap_or(i64::MAX)
}

fn insert_message(change: &Change<'_>, key: i64, message: &NewMessage) -> rusqlite::Result<()> {
    let options = &message.options;
    change.execute(
        "INSERT INTO messages (key, id, received_at, sender, size, in_file, body_type, smtputf8, has_8bit,
                               header_8bit, ret, envid, origin, account, traceparent, message_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params![
            key,
            message.id.to_bytes(),
            message.received_at.as_millisecond(),
            message.sender.as_ref().map_or("", |sender| sender.as_str()),
            stored_size(message),
            matches!(message.body, Body::File { .. }),
            stored::body_type_number(options.body_type),
            options.smtputf8,
            options.has_8bit,
            options.header_8bit,
            options.ret.map(stored::ret_number),
            options.envid,
            options.origin,
            options.account,
            options.traceparent.map(|context| context.to_string()),
            options.message_id,
        ],
    )?;
    Ok(())
}

fn insert_recipient(
    change: &Change<'_>,
    (key, index): (i64, usize),
    recipient: &NewRecipient,
    standing: &Standing<'_>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    // A lease is the first, and ends by our clock; without one it is said when it is due.
    let due = standing.lease.map(|lease| lease.end(now)).or(standing.due);
    change.execute(
        "INSERT INTO recipients (message, idx, address, domain, notify, orcpt, state, attempts, due, epoch,
                                 delay_notified, last_result, parked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            key,
            index as i64,
            recipient.address.as_str(),
            recipient.address.domain().to_lowercase(),
            recipient.notify.map(|notify| notify.bits()),
            recipient.orcpt.as_ref().map(|orcpt| orcpt.as_str()),
            standing.state as u8,
            standing.attempts,
            due.unwrap_or(now).as_millisecond(),
            i64::from(standing.lease.is_some()),
            standing.delay_notified,
            standing.last_result,
            standing.parked,
        ],
    )?;
    Ok(())
}
