//! Writing results. When the last recipient of a message is final, the message goes in the same change.

use super::commit::{Change, Load, Operation};
use super::insert::{abandon, insert, octets_in_row};
use super::outbox;
use super::row;
use crate::id::QueueId;
use crate::message::{Beginning, NewMessage, Outcome, RecipientResult, State};
use crate::store::Finished;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;

/// Writes results and reports; see `Store::finish`.
pub(super) struct Finish {
    pub(super) results: Vec<RecipientResult>,
    pub(super) reports: Vec<NewMessage>,
}

impl Operation for Finish {
    type Output = Finished;
    const NAME: &'static str = "finish";

    fn load(&self) -> Load {
        let reports = self.reports.iter().map(octets_in_row);
        let calls = self.results.iter().flat_map(|result| &result.calls);
        let calls = calls.map(|call| call.body.len());
        Load {
            messages: self.reports.len(),
            results: self.results.len(),
            octets: reports.chain(calls).sum(),
            patient: true,
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Finished> {
        let mut finished = Finished::default();
        if let [result] = self.results.as_slice() {
            finish_message(change, result.attempt.message, &[result], &mut finished)?;
        } else {
            let mut by_message: BTreeMap<i64, Vec<&RecipientResult>> = BTreeMap::new();
            for result in &self.results {
                by_message.entry(result.attempt.message).or_default().push(result);
            }
            for (key, results) in by_message {
                finish_message(change, key, &results, &mut finished)?;
            }
        }
        for report in &self.reports {
            insert(change, report, &Beginning::Due, report.received_at)?;
        }
        Ok(finished)
    }

    fn abandon(&self) {
        self.reports.iter().for_each(abandon);
    }
}

/// What a message's rows say before its results are written.
#[derive(Default)]
struct Standing<'a> {
    /// Results whose lease is still theirs.
    valid: Vec<&'a RecipientResult>,
    /// A recipient that these results are not about, is not final.
    others_open: bool,
    /// Final recipients that these results are not about, by state.
    others_final: Vec<State>,
}

fn finish_message(
    change: &mut Change<'_>,
    key: i64,
    results: &[&RecipientResult],
    finished: &mut Finished,
) -> rusqlite::Result<()> {
    let standing = standing(change, key, results)?;
    let fenced = results
        .iter()
        .filter(|result| !standing.valid.iter().any(|valid| std::ptr::eq(*valid, **result)));
    finished.fenced.extend(fenced.map(|result| result.attempt));
    if standing.valid.is_empty() {
        return Ok(());
    }
    for result in &standing.valid {
        outbox::insert(change, &result.calls)?;
    }
    let all_final = standing
        .valid
        .iter()
        .all(|result| result.outcome.state().is_some_and(State::is_final));
    if all_final && !standing.others_open {
        let counters = &mut change.effects.counters;
        counters.recipients(State::Leased, -(standing.valid.len() as i64));
        standing
            .others_final
            .iter()
            .for_each(|state| counters.recipients(*state, -1));
        change.execute("DELETE FROM recipients WHERE message = ?1", [key])?;
        finished.removed.extend(remove_message(change, key)?);
        return Ok(());
    }
    for result in &standing.valid {
        write_result(change, result)?;
    }
    Ok(())
}

/// Reads a message's recipients, no further than needed.
fn standing<'a>(
    change: &Change<'_>,
    key: i64,
    results: &[&'a RecipientResult],
) -> rusqlite::Result<Standing<'a>> {
    let mut standing = Standing::default();
    let by_lease: BTreeMap<(u32, i64), &'a RecipientResult> = results
        .iter()
        .map(|result| ((result.attempt.recipient, result.attempt.epoch), *result))
        .collect();
    let mut statement = change
        .db
        .prepare_cached("SELECT idx, epoch, state FROM recipients WHERE message = ?1")?;
    let mut rows = statement.query([key])?;
    while let Some(row) = rows.next()? {
        // A state that means nothing is not final: it keeps the message.
        let state = row::state(row, 2).unwrap_or(State::Quarantined);
        let held = by_lease
            .get(&(row.get(0)?, row.get(1)?))
            .filter(|_| state == State::Leased);
        match held {
            Some(result) => standing.valid.push(result),
            None if state.is_final() => standing.others_final.push(state),
            None => standing.others_open = true,
        }
        if standing.others_open && standing.valid.len() == by_lease.len() {
            break;
        }
    }
    Ok(standing)
}

fn write_result(change: &mut Change<'_>, result: &RecipientResult) -> rusqlite::Result<()> {
    let attempt = &result.attempt;
    let (message, index) = (attempt.message, attempt.recipient);
    let outcome = &result.outcome;
    let due = outcome.due().map(Timestamp::as_millisecond);
    let Some(state) = outcome.state() else {
        return give_back(
            change,
            message,
            index,
            due,
            matches!(outcome, Outcome::Parked { .. }),
        );
    };
    change.execute(
        "UPDATE recipients SET state = ?3, attempts = attempts + 1, due = ifnull(?4, due),
                               delay_notified = max(delay_notified, ?5), last_result = ?6
         WHERE message = ?1 AND idx = ?2",
        params![
            message,
            index,
            state as u8,
            due,
            outcome.tells_of_delay(),
            result.text
        ],
    )?;
    change.effects.counters.moved(State::Leased, state);
    if state == State::Quarantined {
        let id = message_id(change, message)?;
        change
            .effects
            .quarantined
            .push((id, format!("recipient {index}: {}", result.text)));
    }
    Ok(())
}

/// Gives a lease back: the recipient is as it was before, due then.
fn give_back(
    change: &mut Change<'_>,
    message: i64,
    index: u32,
    due: Option<i64>,
    parked: bool,
) -> rusqlite::Result<()> {
    let mut statement = change.db.prepare_cached(
        "UPDATE recipients SET state = iif(attempts = 0, 0, 2), due = ifnull(?3, due), parked = ?4
         WHERE message = ?1 AND idx = ?2 RETURNING attempts",
    )?;
    let values = params![message, index, due, parked];
    let attempts: u32 = statement.query_row(values, |row| row.get(0))?;
    change
        .effects
        .counters
        .moved(State::Leased, State::given_back(attempts));
    Ok(())
}

fn message_id(change: &Change<'_>, key: i64) -> rusqlite::Result<String> {
    let mut statement = change
        .db
        .prepare_cached("SELECT id FROM messages WHERE key = ?1")?;
    let id = statement.query_row([key], |row| Ok(row::id(row, 0))).optional()?;
    Ok(id
        .and_then(Result::ok)
        .map_or_else(|| format!("key {key}"), |id| id.to_string()))
}

/// Removes a message whose recipients are gone, with its content. Gives its id, if it had one.
pub(super) fn remove_message(change: &mut Change<'_>, key: i64) -> rusqlite::Result<Option<QueueId>> {
    let mut statement = change
        .db
        .prepare_cached("SELECT id, size, in_file FROM messages WHERE key = ?1")?;
    let found = statement
        .query_row([key], |row| {
            Ok((row::id(row, 0), row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
        })
        .optional()?;
    let Some((id, size, in_file)) = found else {
        return Ok(None);
    };
    let id = id.ok();
    if in_file {
        // Without a readable id its file cannot be named; the next start finds it as an orphan.
        change.effects.unlink.extend(id);
    } else {
        change.execute("DELETE FROM bodies WHERE message = ?1", [key])?;
    }
    change.execute("DELETE FROM messages WHERE key = ?1", [key])?;
    change.effects.counters.message(-1, size);
    Ok(id)
}
