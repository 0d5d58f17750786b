//! A [`Filter`] as SQL. The text is put together of fixed pieces; what the operator gave is only ever bound.

use crate::message::State;
use crate::store::Filter;
use rusqlite::types::Value;

/// A condition on a row of `messages AS m`, and on rows of `recipients AS r`: together they mean a message with such a recipient.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// All keys are above this one.
    pub(super) behind: Option<i64>,
    of_messages: Vec<(&'static str, Value)>,
    of_recipients: Vec<(&'static str, Value)>,
}

impl Condition {
    pub(super) fn new(filter: &Filter) -> Self {
        let mut condition = Condition {
            behind: filter.behind,
            ..Condition::default()
        };
        let messages = &mut condition.of_messages;
        if !filter.ids.is_empty() {
            let ids: Vec<String> = filter.ids.iter().map(|id| hex(&id.to_bytes())).collect();
            let ids = serde_json::to_string(&ids).unwrap_or_else(|_| "[]".to_owned());
            messages.push(("m.id IN (SELECT unhex(value) FROM json_each(?))", ids.into()));
        }
        if let Some(sender) = &filter.sender {
            // The domain of a sender is behind its last @.
            let piece = match sender.starts_with('@') {
                true => "substr(m.sender, -length(?)) = ? COLLATE NOCASE",
                false => "m.sender = ? COLLATE NOCASE",
            };
            messages.push((piece, sender.clone().into()));
        }
        if let Some(account) = &filter.account {
            messages.push(("m.account = ?", account.clone().into()));
        }
        if let Some(time) = filter.received_before {
            messages.push(("m.received_at < ?", time.as_millisecond().into()));
        }
        if let Some(time) = filter.received_after {
            messages.push(("m.received_at >= ?", time.as_millisecond().into()));
        }
        if let Some(key) = filter.behind {
            // The plus leaves the index to whoever goes through the keys in order, and begins behind this one.
            messages.push(("+m.key > ?", key.into()));
        }
        if let Some(key) = filter.up_to {
            messages.push(("m.key <= ?", key.into()));
        }
        let recipients = &mut condition.of_recipients;
        if let Some(domain) = &filter.domain {
            recipients.push(("r.domain = ?", domain.to_lowercase().into()));
        }
        if let Some(recipient) = &filter.recipient {
            recipients.push(("r.address = ? COLLATE NOCASE", recipient.clone().into()));
        }
        if let Some(reason) = &filter.reason {
            let text = reason.to_ascii_lowercase();
            recipients.push(("instr(lower(r.last_result), ?) > 0", text.into()));
        }
        if let Some(state) = filter.state {
            recipients.push(("r.state = ?", (state as i64).into()));
        }
        condition
    }

    /// The same, with a recipient in one of these states.
    pub(super) fn in_states(mut self, states: &[State]) -> Self {
        let numbers: Vec<u8> = states.iter().map(|state| *state as u8).collect();
        let numbers = serde_json::to_string(&numbers).unwrap_or_else(|_| "[]".to_owned());
        let piece = "r.state IN (SELECT value FROM json_each(?))";
        self.of_recipients.push((piece, numbers.into()));
        self
    }

    /// The condition on messages, its parameters numbered from `first`.
    pub(super) fn sql(&self, first: usize) -> String {
        let mut sql = numbered(&self.of_messages, first);
        if !self.of_recipients.is_empty() {
            let recipients = numbered(&self.of_recipients, first + self.of_messages.len());
            sql += " AND EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND ";
            sql += &recipients;
            sql.push(')');
        }
        sql
    }

    /// The parameters of [`Condition::sql`] and [`Condition::joined_sql`], in order.
    pub(super) fn values(&self) -> impl Iterator<Item = Value> {
        self.of_messages
            .iter()
            .chain(&self.of_recipients)
            .map(|(_, value)| value.clone())
    }

    /// The condition on a message and one recipient of it, both at hand; its parameters numbered from `first`.
    pub(super) fn joined_sql(&self, first: usize) -> String {
        let messages = numbered(&self.of_messages, first);
        let recipients = numbered(&self.of_recipients, first + self.of_messages.len());
        format!("{messages} AND {recipients}")
    }

    /// The condition on recipients alone, its parameters numbered from `first`.
    pub(super) fn recipients_sql(&self, first: usize) -> String {
        numbered(&self.of_recipients, first)
    }

    /// The parameters of [`Condition::recipients_sql`].
    pub(super) fn recipients_values(&self) -> impl Iterator<Item = Value> {
        self.of_recipients.iter().map(|(_, value)| value.clone())
    }

    /// The number of the first parameter after these, when they begin at `first`.
    pub(super) fn after(&self, first: usize) -> usize {
        first + self.of_messages.len() + self.of_recipients.len()
    }
}

/// All pieces, each of which has one parameter; `1` when there is none.
fn numbered(pieces: &[(&'static str, Value)], first: usize) -> String {
    if pieces.is_empty() {
        return "1".to_owned();
    }
    let pieces = pieces.iter().zip(first..);
    let pieces: Vec<String> = pieces
        .map(|((piece, _), number)| piece.replace('?', &format!("?{number}")))
        .collect();
    pieces.join(" AND ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
