//! Log lines: JSON or text, one line per event, written by a thread of their own.
//!
//! Promises: a line is whole; nothing a peer sent can end a line, or start a terminal's
//! escape sequence; a field is at most 1 KiB.

mod clock;
mod escape;
mod json;
mod text;
mod writer;

pub use escape::MAX_FIELD;
pub(crate) use writer::Log;
#[cfg(test)]
pub(crate) use writer::MAX_BUFFER;

use crate::event::Event;
use crate::labels::Level;
use clock::Clock;
use std::time::SystemTime;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Least severity written.
    pub level: Level,
    /// JSON, a line an event, rather than text.
    pub json: bool,
}

/// Makes the JSON of events, for whoever keeps it elsewhere.
#[derive(Debug, Default)]
pub struct JsonLines {
    clock: Clock,
}

impl JsonLines {
    /// Appends the event's line to `out`, without a line end.
    pub fn push(&mut self, out: &mut Vec<u8>, now: SystemTime, event: &Event<'_>) {
        json::line(out, &mut self.clock, now, event);
    }
}

/// Appends the event's line to `out`, line end included.
fn format_line(out: &mut Vec<u8>, clock: &mut Clock, now: SystemTime, json: bool, event: &Event<'_>) {
    if json {
        json::line(out, clock, now, event);
    } else {
        text::line(out, clock, now, event);
    }
    out.push(b'\n');
}

/// Appends a whole number.
fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a duration as seconds with three decimals.
fn push_seconds(out: &mut Vec<u8>, value: std::time::Duration) {
    push_number(out, value.as_secs());
    out.push(b'.');
    push_millis(out, value.subsec_millis());
}

/// Appends three digits.
fn push_millis(out: &mut Vec<u8>, millis: u32) {
    let digit = |n: u32| b'0' + (n % 10) as u8;
    out.extend_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis)]);
}

#[cfg(test)]
mod tests;
