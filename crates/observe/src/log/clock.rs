//! Timestamps of log lines: RFC 3339, UTC, milliseconds. The text of a second is made once.

use super::push_millis;
use jiff::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Remembers the text of the last second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    /// `2026-11-23T06:57:01`, empty before the first use.
    text: String,
}

impl Clock {
    /// Appends `now`, as in `2026-11-23T06:57:01.042Z`.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second || self.text.is_empty() {
            self.second = since.as_secs();
            self.text = second_text(since.as_secs());
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        push_millis(out, since.subsec_millis());
        out.push(b'Z');
    }
}

/// `2026-11-23T06:57:01`.
fn second_text(second: u64) -> String {
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    let mut text = Timestamp::from_second(second)
        .unwrap_or(Timestamp::MAX)
        .to_string();
    text.truncate(19);
    text
}
