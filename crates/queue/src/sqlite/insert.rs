//! Storing a message: its row, its content, its recipients.

use super::commit::{Change, Load, Operation};
use super::outbox;
use crate::message::{Beginning, Body, Claim, NewMessage, NewRecipient, State};
use crate::spool::Spool;
use crate::store::StoreError;
use crate::stored;
use jiff::Timestamp;
use rusqlite::params;

/// Stores one message; see `Store::insert`.
pub(super) struct Insert {
    pub(super) message: NewMessage,
    pub(super) beginning: Beginning,
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
        let key = insert(change, &self.message, &self.beginning)?;
        Ok(match self.beginning {
            Beginning::Leased(until) => Some(self.message.claimed(key, until)),
            Beginning::Due | Beginning::Deferred(_) | Beginning::Parked(_) => None,
        })
    }

    fn abandon(&self) {
        abandon(&self.message);
    }
}

/// Refuses what could not be delivered or found again.
pub(super) fn check(message: &NewMessage, spool: &Spool) -> Result<(), StoreError> {
    if message.recipients.is_empty() {
        return Err(StoreError::Unavailable(format!(
            "message {} has no recipients",
            message.id
        )));
    }
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

/// Writes all rows of a message; gives its key.
pub(super) fn insert(
    change: &mut Change<'_>,
    message: &NewMessage,
    beginning: &Beginning,
) -> rusqlite::Result<i64> {
    let key = change.new_key();
    insert_message(change, key, message)?;
    if let Body::Memory(bytes) = &message.body {
        change.execute(
            "INSERT INTO bodies (message, content) VALUES (?1, ?2)",
            params![key, &bytes[..]],
        )?;
    }
    let state = match beginning {
        Beginning::Due | Beginning::Parked(_) => State::Queued,
        Beginning::Leased(_) => State::Leased,
        Beginning::Deferred(_) => State::Deferred,
    };
    for (index, recipient) in message.recipients.iter().enumerate() {
        let standing = Standing::new(beginning, index, message.received_at);
        insert_recipient(change, key, index, recipient, state, &standing)?;
    }
    if let Beginning::Deferred(deferrals) = beginning {
        for deferral in deferrals {
            outbox::insert(change, &deferral.calls)?;
        }
    }
    change.effects.counters.message(1, stored_size(message));
    change
        .effects
        .counters
        .recipients(state, message.recipients.len() as i64);
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

/// How a recipient begins.
struct Standing<'a> {
    due: Timestamp,
    epoch: i64,
    attempts: u32,
    last_result: Option<&'a str>,
    parked: bool,
}

impl<'a> Standing<'a> {
    fn new(beginning: &'a Beginning, index: usize, received_at: Timestamp) -> Self {
        let untried = |due, epoch| Standing {
            due,
            epoch,
            attempts: 0,
            last_result: None,
            parked: false,
        };
        match beginning {
            Beginning::Due => untried(received_at, 0),
            Beginning::Leased(until) => untried(*until, 1),
            Beginning::Parked(until) => Standing {
                parked: true,
                ..untried(*until, 0)
            },
            Beginning::Deferred(deferrals) => match deferrals.get(index) {
                Some(deferral) => Standing {
                    due: deferral.due,
                    epoch: 0,
                    attempts: 1,
                    last_result: Some(&deferral.text),
                    parked: false,
                },
                None => untried(received_at, 0),
            },
        }
    }
}

fn insert_recipient(
    change: &Change<'_>,
    key: i64,
    index: usize,
    recipient: &NewRecipient,
    state: State,
    standing: &Standing<'_>,
) -> rusqlite::Result<()> {
    change.execute(
        "INSERT INTO recipients (message, idx, address, domain, notify, orcpt, state, attempts, due, epoch,
                                 delay_notified, last_result, parked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11, ?12)",
        params![
            key,
            index as i64,
            recipient.address.as_str(),
            recipient.address.domain().to_lowercase(),
            recipient.notify.map(|notify| notify.bits()),
            recipient.orcpt.as_ref().map(|orcpt| orcpt.as_str()),
            state as u8,
            standing.attempts,
            standing.due.as_millisecond(),
            standing.epoch,
            standing.last_result,
            standing.parked,
        ],
    )?;
    Ok(())
}
