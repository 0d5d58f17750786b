//! The queue as people read it: a line a message, a line below for each recipient.

use crate::output::clean;
use serde_json::Value as Json;
use std::fmt::Write;

/// A message: id, size, arrival, sender; then its recipients.
pub(crate) fn message(message: &Json) -> String {
    let text = |key: &str| clean(message[key].as_str().unwrap_or("-"));
    let sender = match message["sender"].as_str() {
        Some("") => "<>".into(),
        _ => text("sender"),
    };
    let size = message["size"].as_u64().unwrap_or(0);
    let mut lines = format!("{}  {size:>9}  {}  {sender}\n", text("id"), text("received_at"));
    for recipient in message["recipients"].as_array().into_iter().flatten() {
        // Writing to a String does not fail.
        let _ = writeln!(lines, "    {}", self::recipient(recipient));
    }
    lines
}

fn recipient(recipient: &Json) -> String {
    let text = |key: &str| clean(recipient[key].as_str().unwrap_or("-"));
    let attempts = recipient["attempts"].as_u64().unwrap_or(0);
    let due = match recipient["state"].as_str() {
        Some("deferred" | "queued") => format!(", due {}", text("due")),
        Some("leased") => ", being delivered".into(),
        _ => String::new(),
    };
    let result = match recipient["last_result"].as_str() {
        Some(result) if !result.is_empty() => format!(": {}", clean(result)),
        _ => String::new(),
    };
    format!(
        "{}  {}, attempts {attempts}{due}{result}",
        text("address"),
        text("state")
    )
}

/// Figures, a line each.
pub(crate) fn stats(stats: &Json) -> String {
    let number = |value: &Json| value.as_u64().unwrap_or(0);
    let oldest = clean(stats["oldest_due"].as_str().unwrap_or("-"));
    let mut lines = format!(
        "messages     {}\noctets       {}\n",
        number(&stats["messages"]),
        number(&stats["bytes"])
    );
    for (state, count) in stats["recipients"].as_object().into_iter().flatten() {
        let _ = writeln!(lines, "{:<12} {}", clean(state), number(count));
    }
    let _ = writeln!(lines, "oldest due   {oldest}");
    lines
}

/// `1 message`, `2 messages`.
pub(crate) fn messages(count: u64) -> String {
    format!("{count} message{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_and_its_recipients() {
        let shown = message(&json!({
            "id": "01J", "received_at": "2025-01-01T00:00:00Z", "sender": "", "size": 5120, "origin": "x",
            "recipients": [
                {"address": "b@y.test", "state": "deferred", "attempts": 2, "due": "2025-01-01T00:05:00Z",
                 "last_result": "451 no\u{1b}[2J room"},
                {"address": "c@y.test", "state": "leased", "attempts": 0, "due": "x", "last_result": null},
            ],
        }));
        assert_eq!(
            shown,
            "01J       5120  2025-01-01T00:00:00Z  <>\n    \
             b@y.test  deferred, attempts 2, due 2025-01-01T00:05:00Z: 451 no?[2J room\n    \
             c@y.test  leased, attempts 0, being delivered\n"
        );
    }

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        for answer in [json!(null), json!([]), json!({"recipients": [1]}), json!("text")] {
            assert!(!message(&answer).is_empty() && !stats(&answer).is_empty());
        }
    }
}
