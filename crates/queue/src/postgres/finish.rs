//! Writing results. When the last recipient of a message is final, the message goes in the same change.

use super::claim::{attempt, columns};
use super::error::Error;
use super::filter::plain;
use super::outbox;
use super::{Transaction, query, run};
use crate::id::QueueId;
use crate::message::{Attempt, Outcome, RecipientResult, State};
use crate::store::Finished;
use std::collections::HashSet;

/// What could not be read after all: a message's key, and why.
pub(super) type SetAside = Vec<(i64, String)>;

/// Writes results; see `Store::finish`.
pub(super) async fn finish(
    t: &Transaction<'_>,
    results: &[RecipientResult],
) -> Result<(Finished, SetAside), Error> {
    let mut finished = Finished::default();
    if results.is_empty() {
        return Ok((finished, SetAside::new()));
    }
    let attempts: Vec<Attempt> = results.iter().map(|result| result.attempt).collect();
    let mut keys: Vec<i64> = attempts.iter().map(|attempt| attempt.message).collect();
    keys.sort_unstable();
    keys.dedup();
    // In order, so that two servers do not wait for each other; and one after the other for a message, so that the last of its
    // recipients is seen to be the last.
    query(
        t,
        "SELECT key FROM messages WHERE key = ANY($1) ORDER BY key FOR UPDATE",
        &[&keys],
    )
    .await?;
    let valid = write(t, results, &attempts).await?;
    let mut set_aside = SetAside::new();
    let mut calls = Vec::new();
    for result in results {
        let attempt = result.attempt;
        if !valid.contains(&attempt) {
            finished.fenced.push(attempt);
            continue;
        }
        calls.extend(&result.calls);
        if result.outcome == Outcome::Quarantined {
            set_aside.push((
                attempt.message,
                format!("recipient {}: {}", attempt.recipient, result.text),
            ));
        }
    }
    outbox::insert(t, &calls).await?;
    let touched: Vec<i64> = valid.iter().map(|attempt| attempt.message).collect();
    finished.removed = remove_done(t, &touched).await?;
    Ok((finished, set_aside))
}

/// Writes the results whose lease is still theirs; gives whose they were.
async fn write(
    t: &Transaction<'_>,
    results: &[RecipientResult],
    attempts: &[Attempt],
) -> Result<HashSet<Attempt>, Error> {
    let (messages, indices, epochs) = columns(attempts);
    // State; `None` gives the lease back.
    let states: Vec<Option<i16>> = results
        .iter()
        .map(|result| match result.outcome {
            Outcome::Delivered => Some(State::Delivered),
            Outcome::Bounced => Some(State::Bounced),
            Outcome::Expired => Some(State::Expired),
            Outcome::Deferred { .. } => Some(State::Deferred),
            Outcome::Quarantined => Some(State::Quarantined),
            Outcome::Released { .. } | Outcome::Parked { .. } => None,
        })
        .map(|state| state.map(|state| state as i16))
        .collect();
    let due: Vec<Option<i64>> = results
        .iter()
        .map(|result| match result.outcome {
            Outcome::Deferred { due, .. } | Outcome::Released { due } => Some(due.as_millisecond()),
            Outcome::Parked { until } => Some(until.as_millisecond()),
            _ => None,
        })
        .collect();
    let notified: Vec<bool> = results
        .iter()
        .map(|result| {
            matches!(
                result.outcome,
                Outcome::Deferred {
                    delay_notified: true,
                    ..
                }
            )
        })
        .collect();
    let parked: Vec<bool> = results
        .iter()
        .map(|result| matches!(result.outcome, Outcome::Parked { .. }))
        .collect();
    let texts: Vec<String> = results.iter().map(|result| plain(&result.text)).collect();
    let rows = query(
        t,
        "UPDATE recipients AS r SET
             state = coalesce(given.state, CASE WHEN r.attempts = 0 THEN 0 ELSE 2 END),
             attempts = r.attempts + CASE WHEN given.state IS NULL THEN 0 ELSE 1 END,
             due = coalesce(given.due, r.due),
             owner = NULL,
             delay_notified = r.delay_notified OR given.notified,
             last_result = CASE WHEN given.state IS NULL THEN r.last_result ELSE given.result END,
             parked = given.parked
         FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::smallint[], $5::bigint[], $6::boolean[], $7::boolean[], $8::text[])
              AS given (message, idx, epoch, state, due, notified, parked, result)
         WHERE r.message = given.message AND r.idx = given.idx AND r.epoch = given.epoch AND r.state = 1
         RETURNING r.message, r.idx, r.epoch",
        &[&messages, &indices, &epochs, &states, &due, &notified, &parked, &texts],
    )
    .await?;
    Ok(rows.iter().map(attempt).collect())
}

/// Removes those of these messages that have no recipient left to be done. Gives their ids.
async fn remove_done(t: &Transaction<'_>, keys: &[i64]) -> Result<Vec<QueueId>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query(
        t,
        "DELETE FROM messages AS m WHERE m.key = ANY($1)
             AND NOT EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND r.state NOT IN (4, 5, 6))
         RETURNING m.key, m.id",
        &[&keys],
    )
    .await?;
    let gone: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    remove_rest(t, &gone).await?;
    let mut ids: Vec<QueueId> = rows
        .iter()
        .filter_map(|row| super::row::id(row, 1).ok())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Removes what belongs to messages that are gone.
pub(super) async fn remove_rest(t: &Transaction<'_>, keys: &[i64]) -> Result<(), Error> {
    if !keys.is_empty() {
        run(
            t,
            "WITH gone AS (DELETE FROM recipients WHERE message = ANY($1)) DELETE FROM bodies WHERE message = ANY($1)",
            &[&keys],
        )
        .await?;
    }
    Ok(())
}
