//! The queue's figures, kept by adding what each commit changed.

use crate::message::State;
use crate::store::Stats;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Figures, or changes of figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) messages: i64,
    pub(super) octets: i64,
    recipients: [i64; State::ALL.len()],
    /// Calls that wait, by webhook.
    calls: BTreeMap<String, i64>,
}

impl Counters {
    /// Counts everything; only at open, and in tests.
    pub(super) fn count(db: &Connection) -> rusqlite::Result<Self> {
        let (messages, octets) =
            db.query_row("SELECT count(*), ifnull(sum(size), 0) FROM messages", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let mut counters = Counters {
            messages,
            octets,
            ..Counters::default()
        };
        // One pass without sorting, unlike GROUP BY.
        let sql = "SELECT sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3),
                          sum(state = 4), sum(state = 5), sum(state = 6), sum(state = 7) FROM recipients";
        db.query_row(sql, [], |row| {
            for (index, count) in counters.recipients.iter_mut().enumerate() {
                *count = row.get::<_, Option<i64>>(index)?.unwrap_or(0);
            }
            Ok(())
        })?;
        let mut statement = db.prepare("SELECT webhook, count(*) FROM webhook_calls GROUP BY webhook")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        counters.calls = rows.collect::<rusqlite::Result<_>>()?;
        Ok(counters)
    }

    pub(super) fn add(&mut self, other: &Counters) {
        self.messages += other.messages;
        self.octets += other.octets;
        for (mine, theirs) in self.recipients.iter_mut().zip(other.recipients) {
            *mine += theirs;
        }
        for (webhook, calls) in &other.calls {
            self.calls(webhook, *calls);
        }
        // A webhook without calls may never have any again.
        self.calls.retain(|_, calls| *calls != 0);
    }

    pub(super) fn message(&mut self, count: i64, octets: i64) {
        self.messages += count;
        self.octets += count * octets;
    }

    pub(super) fn recipients(&mut self, state: State, count: i64) {
        if let Some(counter) = self.recipients.get_mut(state as usize) {
            *counter += count;
        }
    }

    pub(super) fn calls(&mut self, webhook: &str, count: i64) {
        match self.calls.get_mut(webhook) {
            Some(calls) => *calls += count,
            None => {
                self.calls.insert(webhook.to_owned(), count);
            }
        }
    }

    /// Calls that wait for a webhook, or the change of it.
    pub(super) fn calls_of(&self, webhook: &str) -> i64 {
        self.calls.get(webhook).copied().unwrap_or(0)
    }

    /// Calls that wait, by webhook.
    pub(super) fn all_calls(&self) -> Vec<(String, u64)> {
        let figure = |(webhook, calls): (&String, &i64)| (webhook.clone(), calls.unsigned_abs());
        self.calls.iter().map(figure).collect()
    }

    pub(super) fn moved(&mut self, from: State, to: State) {
        self.recipients(from, -1);
        self.recipients(to, 1);
    }

    pub(super) fn stats(&self) -> Stats {
        let figure = |count: i64| u64::try_from(count).unwrap_or(0);
        Stats {
            messages: figure(self.messages),
            bytes: figure(self.octets),
            recipients: self.recipients.map(figure),
            oldest_due: None,
            due: 0,
        }
    }
}
