//! Text lines: `2026-11-23T06:57:01.042Z INFO 01J…: to=<x>, relay=…, status=sent (250 ok)`.
//!
//! Lines that Postfix has too keep its words, so that old habits and scripts find them.
//! All other events are their name and `field=value` pairs.

use super::clock::Clock;
use super::{escape, push_number, push_seconds};
use crate::event::{Event, Phases, Visitor};
use crate::labels::Level;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Appends the event as text.
pub(super) fn line(out: &mut Vec<u8>, clock: &mut Clock, now: SystemTime, event: &Event<'_>) {
    clock.push(out, now);
    let level: &[u8] = match event.level() {
        Level::Debug => b" DEBUG ",
        Level::Info => b" INFO ",
        Level::Warn => b" WARN ",
        Level::Error => b" ERROR ",
    };
    out.extend_from_slice(level);
    if let Some(id) = event.id() {
        escape::push(out, id, escape::Format::Text);
        out.extend_from_slice(b": ");
    }
    let mut words = Words { out, first: true };
    match event {
        Event::Received { .. } => received(&mut words, event),
        Event::Delivery { .. } => delivery(&mut words, event),
        Event::Rejected { .. } => rejected(&mut words, event),
        Event::AuthFailed { .. } => auth_failed(&mut words, event),
        Event::ConnectionOpened { peer, .. } => words.raw("connect from ").client(*peer),
        Event::ConnectionClosed { .. } => closed(&mut words, event),
        Event::Removed { .. } => words.raw("removed").done(),
        _ => other(&mut words, event),
    }
}

/// smtpd's and qmgr's lines about a new message, in one.
fn received(words: &mut Words<'_>, event: &Event<'_>) {
    let Event::Received {
        peer,
        helo,
        account,
        from,
        size,
        recipients,
        protocol,
        tls,
        message_id,
        unsigned,
        commit,
        ..
    } = event
    else {
        return;
    };
    words.key("client").client(*peer);
    if let Some(account) = account {
        words.text("sasl_username", account);
    }
    words.bracketed("from", from);
    words.number("size", *size);
    words.number("nrcpt", *recipients as u64);
    words.text("proto", protocol);
    if let Some(tls) = tls {
        words.text("tls", tls);
    }
    words.bracketed("helo", helo);
    if let Some(message_id) = message_id {
        words.text("message-id", message_id);
    }
    if let Some(domain) = unsigned {
        words.text("unsigned", domain);
    }
    words.duration("commit", *commit);
}

/// smtp's and local's line about a recipient.
fn delivery(words: &mut Words<'_>, event: &Event<'_>) {
    let Event::Delivery {
        to,
        orig_to,
        relay,
        delay,
        connection_use,
        dsn,
        status,
        text,
        tls,
        attempt,
        phases,
        ..
    } = event
    else {
        return;
    };
    words.bracketed("to", to);
    if let Some(orig_to) = orig_to {
        words.bracketed("orig_to", orig_to);
    }
    words.text("relay", relay);
    if *connection_use > 1 {
        words.number("conn_use", u64::from(*connection_use));
    }
    words.duration("delay", *delay);
    if let Some(phases) = phases {
        words.delays(delay.saturating_sub(*attempt), phases);
    }
    if let Some(tls) = tls {
        words.text("tls", tls);
    }
    words.text("dsn", dsn);
    words.text("status", status.name());
    words.raw(" (").escaped(text).raw(")").done();
}

/// smtpd's `reject:` line.
fn rejected(words: &mut Words<'_>, event: &Event<'_>) {
    let Event::Rejected {
        id,
        peer,
        helo,
        protocol,
        verb,
        from,
        to,
        code,
        text,
        ..
    } = event
    else {
        return;
    };
    if id.is_none() {
        words.raw("NOQUEUE: ");
    }
    words.raw("reject: ").raw(verb).raw(" from ").client(*peer);
    words.raw(": ");
    push_number(words.out, u64::from(*code));
    words.raw(" ").escaped(text).raw(";");
    if let Some(from) = from {
        words.raw(" from=<").escaped(from).raw(">");
    }
    if let Some(to) = to {
        words.raw(" to=<").escaped(to).raw(">");
    }
    if !protocol.is_empty() {
        words.raw(" proto=").escaped(protocol);
    }
    if !helo.is_empty() {
        words.raw(" helo=<").escaped(helo).raw(">");
    }
}

/// smtpd's warning, which fail2ban looks for.
fn auth_failed(words: &mut Words<'_>, event: &Event<'_>) {
    let Event::AuthFailed {
        peer,
        account,
        mechanism,
        reason,
        ..
    } = event
    else {
        return;
    };
    words.raw("warning: ").client(*peer);
    words.raw(": SASL ").raw(&mechanism.name().to_ascii_uppercase());
    words.raw(" authentication failed: ").escaped(reason);
    if let Some(account) = account {
        words.raw(", sasl_username=").escaped(account);
    }
}

/// smtpd's `disconnect from` line, and `lost connection` before it.
fn closed(words: &mut Words<'_>, event: &Event<'_>) {
    let Event::ConnectionClosed {
        peer,
        helo,
        duration,
        messages,
        lost,
        ..
    } = event
    else {
        return;
    };
    words.raw("disconnect from ").client(*peer);
    if !helo.is_empty() {
        words.raw(" helo=<").escaped(helo).raw(">");
    }
    words.raw(" messages=");
    push_number(words.out, u64::from(*messages));
    words.raw(" duration=");
    push_seconds(words.out, *duration);
    if let Some(lost) = lost {
        words.raw(" lost=").escaped(lost);
    }
}

/// An event that Postfix has no line for.
fn other(words: &mut Words<'_>, event: &Event<'_>) {
    words.raw(event.name()).raw(": ");
    event.visit(words);
}

/// Writes words and pairs; pairs are parted by `, `.
struct Words<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Words<'_> {
    /// Our own text.
    fn raw(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self
    }
    /// A peer's text.
    fn escaped(&mut self, text: &str) -> &mut Self {
        escape::push(self.out, text, escape::Format::Text);
        self
    }
    /// `, name=`.
    fn key(&mut self, name: &str) -> &mut Self {
        if !std::mem::take(&mut self.first) {
            self.raw(", ");
        }
        self.raw(name).raw("=")
    }
    /// `name=<value>`.
    fn bracketed(&mut self, name: &str, value: &str) {
        self.key(name).raw("<").escaped(value).raw(">");
    }
    /// A client as Postfix writes one whose name it does not know, port added.
    /// Postfix's four: before the attempt, in the queue manager (which is us: 0), until a message can be sent, sending it.
    fn delays(&mut self, before: Duration, phases: &Phases) {
        let opening = phases.resolve + phases.connect + phases.tls + phases.login;
        let sending = phases.envelope + phases.content + phases.reply;
        self.key("delays");
        for (position, delay) in [before, Duration::ZERO, opening, sending].into_iter().enumerate() {
            if position > 0 {
                self.out.push(b'/');
            }
            push_seconds(self.out, delay);
        }
    }
    fn client(&mut self, peer: SocketAddr) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "unknown[{}]:{}", peer.ip().to_canonical(), peer.port());
    }
    fn done(&mut self) {}
}

impl Visitor for Words<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        if name != "id" {
            self.key(name).escaped(value);
        }
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
        let _ = write!(self.out, "{value}");
    }
    fn durations(&mut self, name: &'static str, values: &[(&'static str, Duration)]) {
        self.key(name);
        for (position, (name, value)) in values.iter().enumerate() {
            if position > 0 {
                self.out.push(b'/');
            }
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b':');
            push_seconds(self.out, *value);
        }
    }
    fn list(&mut self, name: &'static str, values: &[String]) {
        self.key(name).raw("[");
        for (position, value) in values.iter().enumerate() {
            if position > 0 {
                self.raw(" ");
            }
            self.escaped(value);
        }
        self.raw("]");
    }
}
