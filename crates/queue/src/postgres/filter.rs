//! A [`Filter`] as SQL. The text is put together of fixed pieces; what the operator gave is only ever bound.

use super::param::Param;
use crate::message::State;
use crate::store::Filter;

/// Something that is bound.
pub(super) type Value = Box<dyn Param + Send>;

/// A condition on a row of `messages AS m`, and on rows of `recipients AS r`: together they mean a message with such a recipient.
#[derive(Debug)]
pub(super) struct Condition {
    of_messages: Vec<(&'static str, Value)>,
    of_recipients: Vec<(&'static str, Value)>,
}

impl Condition {
    pub(super) fn new(filter: &Filter) -> Self {
        let mut messages: Vec<(&'static str, Value)> = Vec::new();
        if !filter.ids.is_empty() {
            let ids: Vec<Vec<u8>> = filter.ids.iter().map(|id| id.to_bytes().to_vec()).collect();
            messages.push(("m.id = ANY(?)", Box::new(ids)));
        }
        if let Some(sender) = &filter.sender {
            // The domain of a sender is behind its last @.
            let piece = match sender.starts_with('@') {
                true => "lower(right(m.sender, char_length(?::text))) = lower(?::text)",
                false => "lower(m.sender) = lower(?::text)",
            };
            messages.push((piece, text(sender)));
        }
        if let Some(account) = &filter.account {
            messages.push(("m.account = ?", text(account)));
        }
        if let Some(time) = filter.received_before {
            messages.push(("m.received_at < ?", Box::new(time.as_millisecond())));
        }
        if let Some(time) = filter.received_after {
            messages.push(("m.received_at >= ?", Box::new(time.as_millisecond())));
        }
        if let Some(key) = filter.behind {
            messages.push(("m.key > ?", Box::new(key)));
        }
        if let Some(key) = filter.up_to {
            messages.push(("m.key <= ?", Box::new(key)));
        }
        let mut recipients: Vec<(&'static str, Value)> = Vec::new();
        if let Some(domain) = &filter.domain {
            recipients.push(("r.domain = ?", text(&domain.to_lowercase())));
        }
        if let Some(recipient) = &filter.recipient {
            recipients.push(("lower(r.address) = lower(?::text)", text(recipient)));
        }
        if let Some(reason) = &filter.reason {
            let piece = "strpos(lower(r.last_result COLLATE \"C\"), ?::text) > 0";
            recipients.push((piece, text(&reason.to_ascii_lowercase())));
        }
        if let Some(state) = filter.state {
            recipients.push(("r.state = ?", Box::new(state as i16)));
        }
        Condition {
            of_messages: messages,
            of_recipients: recipients,
        }
    }

    /// The same, with a recipient in one of these states.
    pub(super) fn in_states(mut self, states: &[State]) -> Self {
        let numbers: Vec<i16> = states.iter().map(|state| *state as i16).collect();
        self.of_recipients.push(("r.state = ANY(?)", Box::new(numbers)));
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

    /// The condition on a message and one recipient of it, both at hand; its parameters numbered from `first`.
    pub(super) fn joined_sql(&self, first: usize) -> String {
        let messages = numbered(&self.of_messages, first);
        let recipients = numbered(&self.of_recipients, first + self.of_messages.len());
        format!("{messages} AND {recipients}")
    }

    /// The parameters of both, in order, behind these.
    pub(super) fn values<'v>(&'v self, before: &[&'v (dyn Param + 'v)]) -> Vec<&'v (dyn Param + 'v)> {
        let own = self.of_messages.iter().chain(&self.of_recipients);
        let own = own.map(|(_, value)| &**value as &(dyn Param + 'v));
        before.iter().copied().chain(own).collect()
    }
}

/// A text as the database can hold it: no text of its has U+0000.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn text(given: &str) -> Value {
    Box::new(plain(given))
}

/// All pieces, each of which has one parameter; `true` when there is none.
fn numbered(pieces: &[(&'static str, Value)], first: usize) -> String {
    if pieces.is_empty() {
        return "true".to_owned();
    }
    let pieces = pieces.iter().zip(first..);
    let pieces: Vec<String> = pieces
        .map(|((piece, _), number)| piece.replace('?', &format!("${number}")))
        .collect();
    pieces.join(" AND ")
}
