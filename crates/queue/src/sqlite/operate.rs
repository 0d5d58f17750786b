//! An operator's changes: retry, hold, unhold, delete. All name messages by a filter; a reader finds them, some hundreds at
//! a time, and the writer looks again whether the filter still holds before it changes anything.

use super::commit::{Change, Operation};
use super::filter::Condition;
use super::finish::remove_message;
use super::row;
use crate::id::QueueId;
use crate::message::State;
use crate::operator::Action;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params, params_from_iter};

/// Does something to some messages; gives how many were touched.
pub(super) struct Operate {
    pub(super) action: Action,
    pub(super) condition: Condition,
    pub(super) keys: Vec<i64>,
}

impl Operation for Operate {
    type Output = u64;
    const NAME: &'static str = "operate";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<u64> {
        let mut touched = 0;
        for &key in &self.keys {
            if !still_meant(change, &self.condition, key)? {
                continue;
            }
            let id = id(change, key)?;
            let done = match self.action {
                Action::Retry { now } => retry(change, key, now)?,
                Action::Hold => self.hold(change, key)?,
                Action::Unhold { now } => self.unhold(change, key, now)?,
                Action::Delete => delete(change, key)?,
            };
            touched += u64::from(done);
            change
                .effects
                .operated
                .extend(id.filter(|_| done).map(|id| (id, self.action)));
        }
        Ok(touched)
    }
}

impl Operate {
    fn hold(&self, change: &mut Change<'_>, key: i64) -> rusqlite::Result<bool> {
        let held = State::Held as i64;
        let mut touched = false;
        for from in [State::Queued, State::Deferred] {
            let count = self.move_meant(change, key, from, "state = ?3", held)?;
            for _ in 0..count {
                change.effects.counters.moved(from, State::Held);
            }
            touched |= count > 0;
        }
        Ok(touched)
    }

    fn unhold(&self, change: &mut Change<'_>, key: i64, now: Timestamp) -> rusqlite::Result<bool> {
        let now = now.as_millisecond();
        let count = self.move_meant(change, key, State::Held, "state = 0, due = ?3, parked = 0", now)?;
        for _ in 0..count {
            change.effects.counters.moved(State::Held, State::Queued);
        }
        Ok(count > 0)
    }

    /// Sets something, to which `value` belongs, for the message's recipients in a state that the filter means; gives how many.
    fn move_meant(
        &self,
        change: &Change<'_>,
        key: i64,
        from: State,
        set: &'static str,
        value: i64,
    ) -> rusqlite::Result<usize> {
        let sql = format!(
            "UPDATE recipients AS r SET {set} WHERE message = ?1 AND state = ?2 AND {}",
            self.condition.recipients_sql(4)
        );
        let fixed = [key.into(), (from as i64).into(), value.into()];
        let values = fixed.into_iter().chain(self.condition.recipients_values());
        change.execute(&sql, params_from_iter(values))
    }
}

/// Whether the condition holds for the message at this moment.
pub(super) fn still_meant(change: &Change<'_>, condition: &Condition, key: i64) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT 1 FROM messages AS m WHERE m.key = ?1 AND {}",
        condition.sql(2)
    );
    let values = std::iter::once(key.into()).chain(condition.values());
    change.db.prepare_cached(&sql)?.exists(params_from_iter(values))
}

/// The message's id, if it can be read.
fn id(change: &Change<'_>, key: i64) -> rusqlite::Result<Option<QueueId>> {
    let mut statement = change
        .db
        .prepare_cached("SELECT id FROM messages WHERE key = ?1")?;
    let id = statement
        .query_row([key], |row| Ok(row.get::<_, [u8; 16]>(0).ok()))
        .optional()?;
    Ok(id.flatten().map(QueueId::from_bytes))
}

fn retry(change: &mut Change<'_>, key: i64, now: Timestamp) -> rusqlite::Result<bool> {
    let states = states(change, key)?;
    let touched = change.execute(
        "UPDATE recipients SET state = 0, due = ?2, parked = 0 WHERE message = ?1 AND state IN (0, 2)",
        params![key, now.as_millisecond()],
    )?;
    for state in states {
        if state == State::Deferred {
            change.effects.counters.moved(State::Deferred, State::Queued);
        }
    }
    Ok(touched > 0)
}

fn delete(change: &mut Change<'_>, key: i64) -> rusqlite::Result<bool> {
    for state in states(change, key)? {
        change.effects.counters.recipients(state, -1);
    }
    change.execute("DELETE FROM recipients WHERE message = ?1", [key])?;
    remove_message(change, key)?;
    Ok(true)
}

fn states(change: &Change<'_>, key: i64) -> rusqlite::Result<Vec<State>> {
    let mut statement = change
        .db
        .prepare_cached("SELECT state FROM recipients WHERE message = ?1")?;
    let rows = statement.query_map([key], |row| Ok(row::state(row, 0).unwrap_or(State::Quarantined)))?;
    rows.collect()
}
