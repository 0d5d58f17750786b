//! A [`Filter`] as SQL. The text is put together of fixed pieces; what the operator gave is only ever bound.

use crate::store::Filter;
use rusqlite::types::Value;

/// A condition on a row of `messages AS m`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pieces: Vec<&'static str>,
    values: Vec<Value>,
}

impl Condition {
    pub(super) fn new(filter: &Filter) -> Self {
        let (mut pieces, mut values) = (Vec::new(), Vec::new());
        if !filter.ids.is_empty() {
            let ids: Vec<String> = filter.ids.iter().map(|id| hex(&id.to_bytes())).collect();
            pieces.push("m.id IN (SELECT unhex(value) FROM json_each(?))");
            values.push(Value::Text(
                serde_json::to_string(&ids).unwrap_or_else(|_| "[]".to_owned()),
            ));
        }
        if let Some(sender) = &filter.sender {
            pieces.push("m.sender = ? COLLATE NOCASE");
            values.push(Value::Text(sender.clone()));
        }
        let domain = filter
            .domain
            .as_ref()
            .map(|domain| Value::Text(domain.to_lowercase()));
        let state = filter.state.map(|state| Value::Integer(state as i64));
        // Both together mean one recipient that is in that domain and in that state.
        pieces.extend(match (&domain, &state) {
            (None, None) => None,
            (Some(_), None) => {
                Some("EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND r.domain = ?)")
            }
            (None, Some(_)) => {
                Some("EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND r.state = ?)")
            }
            (Some(_), Some(_)) => Some(
                "EXISTS (SELECT 1 FROM recipients AS r WHERE r.message = m.key AND r.domain = ? AND r.state = ?)",
            ),
        });
        values.extend(domain.into_iter().chain(state));
        Condition { pieces, values }
    }

    /// The same, of messages with a quarantined recipient only.
    pub(super) fn quarantined(mut self) -> Self {
        self.pieces
            .push("EXISTS (SELECT 1 FROM recipients AS q WHERE q.message = m.key AND q.state = 7)");
        self
    }

    /// The condition, its parameters numbered from `first`.
    pub(super) fn sql(&self, first: usize) -> String {
        if self.pieces.is_empty() {
            return "1".to_owned();
        }
        let mut number = first;
        let mut sql = String::new();
        for character in self.pieces.join(" AND ").chars() {
            sql.push(character);
            if character == '?' {
                sql.push_str(&number.to_string());
                number += 1;
            }
        }
        sql
    }

    /// The parameters, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = Value> {
        self.values.iter().cloned()
    }

    /// The number of the first parameter after these, when they begin at `first`.
    pub(super) fn after(&self, first: usize) -> usize {
        first + self.values.len()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
