//! Taking messages out of quarantine: what could not be read is read again, as delivery would read it. What can be read
//! now is queued; what cannot stays where it is, with the reason of this time.

use super::SqliteStore;
use super::commit::{Change, Operation};
use super::filter::Condition;
use super::operate::still_meant;
use super::read::{Content, check_file, content};
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use crate::message::State;
use crate::spool::Spool;
use crate::store::{Released, StoreError, Unreadable};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

impl SqliteStore {
    /// Works through the messages of a condition, some at a time.
    pub(super) async fn release_readable(
        &self,
        condition: Condition,
        now: Timestamp,
    ) -> Result<Released, StoreError> {
        let (mut released, mut after) = (Released::default(), i64::MIN);
        loop {
            let keys = self.keys(&condition, after).await?;
            let Some(&last) = keys.last() else {
                return Ok(released);
            };
            after = last;
            let mut messages = Vec::with_capacity(keys.len());
            for key in keys {
                messages.push(self.inspect(key).await?);
            }
            let condition = condition.clone();
            let operation = Release {
                condition,
                now,
                messages,
            };
            released.add(self.commit(operation).await?);
        }
    }

    /// Reads a message again. One at a time: contents are dropped as soon as they were read.
    async fn inspect(&self, key: i64) -> Result<Inspected, StoreError> {
        let spool = self.spool.clone();
        let (name, content) = self.readers.ask(move |db| read(db, &spool, key)).await?;
        let readable = match check_file(content).await? {
            Content::Found(_) => Ok(()),
            Content::Unreadable(reason) => Err(reason),
            Content::Gone => Err("it left the queue".to_owned()),
        };
        Ok(Inspected { key, name, readable })
    }
}

/// A message that was read again.
struct Inspected {
    key: i64,
    /// Its id, or `key N` when that cannot be read.
    name: String,
    /// Its row and its content; the recipients' rows are read with the change.
    readable: Result<(), String>,
}

fn read(db: &Connection, spool: &Spool, key: i64) -> rusqlite::Result<(String, Content)> {
    let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE key = ?1");
    let found = db
        .prepare_cached(&sql)?
        .query_row([key], |row| Ok((row::id(row, 1), row::message(row))))
        .optional()?;
    let unnamed = || format!("key {key}");
    let Some((id, message)) = found else {
        return Ok((unnamed(), Content::Gone));
    };
    let content = match message {
        Ok(message) => content(db, spool, &message)?,
        Err(reason) => Content::Unreadable(reason),
    };
    Ok((id.map_or_else(|_| unnamed(), |id| id.to_string()), content))
}

/// Queues the quarantined recipients of the messages that can be read again; see `Store::release`.
struct Release {
    condition: Condition,
    now: Timestamp,
    messages: Vec<Inspected>,
}

impl Operation for Release {
    type Output = Released;
    const NAME: &'static str = "release";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Released> {
        let mut released = Released::default();
        for message in &self.messages {
            if !still_meant(change, &self.condition, message.key)? {
                continue;
            }
            let (queued, reason) = match &message.readable {
                Ok(()) => queue_recipients(change, message.key, self.now)?,
                Err(reason) => {
                    keep(change, message.key, None, reason)?;
                    (false, Some(reason.clone()))
                }
            };
            let id = message.name.clone();
            released.add(Released {
                messages: u64::from(queued),
                still: u64::from(reason.is_some()),
                unreadable: reason
                    .map(|reason| Unreadable { id, reason })
                    .into_iter()
                    .collect(),
            });
        }
        Ok(released)
    }
}

/// Queues the quarantined recipients that can be read. Gives whether there were any, and why the last
/// of the others cannot.
fn queue_recipients(
    change: &mut Change<'_>,
    key: i64,
    now: Timestamp,
) -> rusqlite::Result<(bool, Option<String>)> {
    let sql = format!("SELECT {RECIPIENT_COLUMNS} FROM recipients WHERE message = ?1 AND state = 7");
    let mut statement = change.db.prepare_cached(&sql)?;
    let recipients = statement
        .query_map([key], |row| Ok((row.get(0)?, row::recipient(row).map(|_| ()))))?
        .collect::<rusqlite::Result<Vec<(i64, Result<(), String>)>>>()?;
    let (mut queued, mut kept) = (false, None);
    for (index, readable) in recipients {
        match readable {
            Ok(()) => {
                change.execute(
                    "UPDATE recipients SET state = 0, due = ?3, last_result = NULL WHERE message = ?1 AND idx = ?2",
                    params![key, index, now.as_millisecond()],
                )?;
                change.effects.counters.moved(State::Quarantined, State::Queued);
                queued = true;
            }
            Err(reason) => {
                keep(change, key, Some(index), &reason)?;
                kept = Some(format!("recipient {index}: {reason}"));
            }
        }
    }
    Ok((queued, kept))
}

/// Writes down why a recipient, or every one that is in quarantine, stays there.
fn keep(change: &Change<'_>, key: i64, index: Option<i64>, reason: &str) -> rusqlite::Result<()> {
    change.execute(
        "UPDATE recipients SET last_result = ?3 WHERE message = ?1 AND idx = ifnull(?2, idx) AND state = 7",
        params![key, index, reason],
    )?;
    Ok(())
}
