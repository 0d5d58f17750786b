//! Leasing recipients that are due, and setting aside what cannot be read.

use super::commit::{Change, Load, Operation};
use super::filter::Condition;
use super::operate::still_meant;
use super::row::{self, MESSAGE_COLUMNS, RECIPIENT_COLUMNS};
use crate::limits;
use crate::message::{Attempt, Claim, ClaimedRecipient, Message, State};
use crate::steady::Steady;
use crate::store::ClaimRequest;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params, params_from_iter};
use std::collections::HashMap;
use std::sync::Arc;

/// What is to be claimed, and when that was asked for.
pub(super) struct Wanted {
    now: Timestamp,
    /// When the lease ends, by the wall clock and by the steady one.
    end: Timestamp,
    until: Steady,
    limit: usize,
    exclude_domains: Vec<String>,
}

impl Wanted {
    pub(super) fn new(request: ClaimRequest) -> Wanted {
        let now = request.lease.now.unwrap_or_else(Timestamp::now);
        Wanted {
            now,
            end: request.lease.end(now),
            until: Steady::now() + request.lease.length,
            limit: request.limit,
            exclude_domains: request.exclude_domains,
        }
    }
}

/// Claims what is due; see `Store::claim`.
pub(super) struct ClaimDue(pub(super) Wanted);

/// A recipient that is due.
struct Candidate {
    message: i64,
    index: i64,
    state: State,
}

impl Operation for ClaimDue {
    type Output = Vec<Claim>;
    const NAME: &'static str = "claim";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Self::Output> {
        let candidates = self.candidates(change)?;
        let mut order = Vec::new();
        let mut by_message: HashMap<i64, Vec<Candidate>> = HashMap::new();
        for candidate in candidates {
            let group = by_message.entry(candidate.message).or_default();
            if group.is_empty() {
                order.push(candidate.message);
            }
            group.push(candidate);
        }
        let mut claims = Vec::with_capacity(order.len());
        for key in order {
            let mut group = by_message.remove(&key).unwrap_or_default();
            group.sort_unstable_by_key(|candidate| candidate.index);
            claims.extend(claim_message(change, key, &group, &self.0)?);
        }
        Ok(claims)
    }
}

/// Claims recipients of these messages that an operator means, due or not; see `Store::claim_selected`.
pub(super) struct ClaimSelected {
    pub(super) condition: Condition,
    pub(super) keys: Vec<i64>,
    pub(super) wanted: Wanted,
}

impl Operation for ClaimSelected {
    type Output = Vec<Claim>;
    const NAME: &'static str = "claim";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Self::Output> {
        let mut claims = Vec::new();
        for &key in &self.keys {
            let meant = self.meant(change, key)?;
            if !meant.is_empty() && still_meant(change, &self.condition, key)? {
                claims.extend(claim_message(change, key, &meant, &self.wanted)?);
            }
        }
        Ok(claims)
    }
}

impl ClaimSelected {
    fn meant(&self, change: &Change<'_>, key: i64) -> rusqlite::Result<Vec<Candidate>> {
        let sql = format!(
            "SELECT message, idx, state FROM recipients AS r WHERE message = ?1 AND state IN (0, 2, 3) AND {} ORDER BY idx",
            self.condition.recipients_sql(2)
        );
        let values = std::iter::once(key.into()).chain(self.condition.recipients_values());
        let mut statement = change.db.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), candidate)?;
        rows.collect()
    }
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        message: row.get(0)?,
        index: row.get(1)?,
        // The index holds nothing else, but for a damaged one.
        state: row::state(row, 2).unwrap_or(State::Queued),
    })
}

impl ClaimDue {
    /// Oldest first, from the index alone.
    fn candidates(&self, change: &Change<'_>) -> rusqlite::Result<Vec<Candidate>> {
        let sql = "SELECT message, idx, state FROM recipients INDEXED BY recipients_due
                   WHERE state <= 2 AND due <= ?1 AND domain NOT IN (SELECT value FROM json_each(?2))
                   ORDER BY due LIMIT ?3";
        let excluded = serde_json::to_string(&self.0.exclude_domains).unwrap_or_else(|_| "[]".to_owned());
        let limit = self.0.limit.min(limits::CLAIMED) as i64;
        let mut statement = change.db.prepare_cached(sql)?;
        let rows = statement.query_map(params![self.0.now.as_millisecond(), excluded, limit], candidate)?;
        rows.collect()
    }
}

/// Leases recipients of one message. `None` when none of them can be read.
fn claim_message(
    change: &mut Change<'_>,
    key: i64,
    candidates: &[Candidate],
    wanted: &Wanted,
) -> rusqlite::Result<Option<Claim>> {
    let message = match read_message(change, key)? {
        Ok(message) => message,
        Err(reason) => {
            for candidate in candidates {
                quarantine(change, key, candidate, &reason)?;
            }
            report(change, &format!("key {key}"), reason);
            return Ok(None);
        }
    };
    let mut recipients = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        match lease(change, key, candidate, wanted.end)? {
            Ok(claimed) => recipients.push(claimed),
            Err(reason) => {
                quarantine(change, key, candidate, &reason)?;
                report(
                    change,
                    &message.id.to_string(),
                    format!("recipient {}: {reason}", candidate.index),
                );
            }
        }
    }
    let message = Arc::new(message);
    Ok((!recipients.is_empty()).then_some(Claim {
        message,
        recipients,
        body: None,
        until: wanted.until,
    }))
}

type Readable<T> = Result<T, String>;

fn read_message(change: &Change<'_>, key: i64) -> rusqlite::Result<Readable<Message>> {
    let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE key = ?1");
    let mut statement = change.db.prepare_cached(&sql)?;
    let found = statement
        .query_row([key], |row| Ok(row::message(row)))
        .optional()?;
    Ok(found.unwrap_or_else(|| Err("its message is missing".to_owned())))
}

fn lease(
    change: &mut Change<'_>,
    key: i64,
    candidate: &Candidate,
    until: Timestamp,
) -> rusqlite::Result<Readable<ClaimedRecipient>> {
    let sql = format!(
        "UPDATE recipients SET state = 1, due = ?3, epoch = epoch + 1, parked = 0
         WHERE message = ?1 AND idx = ?2 RETURNING {RECIPIENT_COLUMNS}"
    );
    let mut statement = change.db.prepare_cached(&sql)?;
    let claimed = statement
        .query_row(params![key, candidate.index, until.as_millisecond()], |row| {
            Ok(row::recipient(row).and_then(|recipient| {
                Ok(ClaimedRecipient {
                    recipient,
                    epoch: row::epoch(row)?,
                })
            }))
        })
        .optional()?
        .unwrap_or_else(|| Err("the index names it, but it is missing".to_owned()));
    // One that cannot be read is counted when it is set aside.
    Ok(claimed.inspect(|_| change.effects.counters.moved(candidate.state, State::Leased)))
}

/// Sets one recipient aside for an operator; its row stays as it is otherwise.
fn quarantine(
    change: &mut Change<'_>,
    key: i64,
    candidate: &Candidate,
    reason: &str,
) -> rusqlite::Result<()> {
    let touched = change.execute(
        "UPDATE recipients SET state = 7, epoch = epoch + 1, last_result = ?3 WHERE message = ?1 AND idx = ?2",
        params![key, candidate.index, reason],
    )?;
    if touched > 0 {
        change.effects.counters.moved(candidate.state, State::Quarantined);
    }
    Ok(())
}

fn report(change: &mut Change<'_>, id: &str, reason: String) {
    change.effects.quarantined.push((id.to_owned(), reason));
}

/// Extends leases; see `Store::renew`.
pub(super) struct Renew {
    pub(super) attempts: Vec<Attempt>,
    pub(super) until: Timestamp,
}

impl Operation for Renew {
    type Output = Vec<Attempt>;
    const NAME: &'static str = "renew";

    fn load(&self) -> Load {
        Load {
            patient: true,
            ..Load::default()
        }
    }

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<Self::Output> {
        let mut lost = Vec::new();
        for attempt in &self.attempts {
            let touched = change.execute(
                "UPDATE recipients SET due = ?4 WHERE message = ?1 AND idx = ?2 AND epoch = ?3 AND state = 1",
                params![
                    attempt.message,
                    attempt.recipient,
                    attempt.epoch,
                    self.until.as_millisecond()
                ],
            )?;
            if touched == 0 {
                lost.push(*attempt);
            }
        }
        Ok(lost)
    }
}

/// Sets aside the recipients of a message whose content cannot be read; their leases are lost.
pub(super) struct Quarantine {
    pub(super) key: i64,
    pub(super) id: String,
    pub(super) reason: String,
}

impl Operation for Quarantine {
    type Output = ();
    const NAME: &'static str = "quarantine";

    fn run(&self, change: &mut Change<'_>) -> rusqlite::Result<()> {
        let mut statement = change
            .db
            .prepare_cached("SELECT message, idx, state FROM recipients WHERE message = ?1 AND state <= 2")?;
        let candidates = statement
            .query_map([self.key], candidate)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for candidate in &candidates {
            quarantine(change, self.key, candidate, &self.reason)?;
        }
        if !candidates.is_empty() {
            report(change, &self.id, self.reason.clone());
        }
        Ok(())
    }
}
