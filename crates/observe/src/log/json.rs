//! JSON lines: `{"ts":…,"level":…,"event":…,"id":…,…}`; fields without a value are left out.

use super::clock::Clock;
use super::{escape, push_number, push_seconds};
use crate::event::{Event, Visitor};
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Appends the event as one JSON object.
pub(super) fn line(out: &mut Vec<u8>, clock: &mut Clock, now: SystemTime, event: &Event<'_>) {
    out.extend_from_slice(b"{\"ts\":\"");
    clock.push(out, now);
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(event.level().name().as_bytes());
    out.extend_from_slice(b"\",\"event\":\"");
    out.extend_from_slice(event.name().as_bytes());
    out.push(b'"');
    event.visit(&mut Fields { out });
    out.push(b'}');
}

/// Writes each field as a member of the object.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
}

impl Fields<'_> {
    fn key(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
    fn string(&mut self, value: &str) {
        self.out.push(b'"');
        escape::push(self.out, value, escape::Format::Json);
        self.out.push(b'"');
    }
}

impl Visitor for Fields<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        self.key(name);
        self.string(value);
    }
    fn number(&mut self, name: &'static str, value: u64) {
        self.key(name);
        push_number(self.out, value);
    }
    fn duration(&mut self, name: &'static str, value: Duration) {
        self.key(name);
        push_seconds(self.out, value);
    }
    fn address(&mut self, name: &'static str, value: SocketAddr) {
        self.key(name);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "\"{value}\"");
    }
    fn durations(&mut self, name: &'static str, values: &[(&'static str, Duration)]) {
        self.key(name);
        for (position, (name, value)) in values.iter().enumerate() {
            self.out.push(if position == 0 { b'{' } else { b',' });
            self.out.push(b'"');
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
            push_seconds(self.out, *value);
        }
        self.out.push(b'}');
    }
    fn list(&mut self, name: &'static str, values: &[String]) {
        self.key(name);
        self.out.push(b'[');
        for (position, value) in values.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            self.string(value);
        }
        self.out.push(b']');
    }
}
