//! The `Received:` field that this server puts before each message (RFC 5321 4.4), and fields of the client's, its message-id first,
//! found while the content passes.
//!
//! Promises: nothing a client says can end the field or add another; lines stay under 998 octets.

use crate::tls::Secured;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use smtp::Address;
use std::fmt::{Display, Write};
use std::net::IpAddr;

/// Longest HELO name that is repeated.
const HELO: usize = 255;
/// Longest value that is found, in octets.
const VALUE: usize = 256;
/// Octets of the header searched for a field.
const SEARCHED: usize = 8192;

/// How a message came, as the `with` clause names it (RFC 3848, RFC 6531 4.3). HELO has no name of its own under TLS, and
/// nobody authenticates in clear.
pub(crate) fn protocol(extended: bool, smtputf8: bool, secured: bool, authenticated: bool) -> &'static str {
    match (extended, smtputf8, secured, authenticated) {
        (_, true, false, _) => "UTF8SMTP",
        (_, true, true, false) => "UTF8SMTPS",
        (_, true, true, true) => "UTF8SMTPSA",
        (true, false, false, _) => "ESMTP",
        (true, false, true, false) => "ESMTPS",
        (true, false, true, true) => "ESMTPSA",
        (false, false, ..) => "SMTP",
    }
}

/// What a `Received:` field tells.
#[derive(Debug)]
pub(crate) struct Trace<'a, I: Display> {
    pub(crate) helo: &'a str,
    pub(crate) client: IpAddr,
    pub(crate) tls: Option<&'a Secured>,
    pub(crate) hostname: &'a str,
    pub(crate) protocol: &'static str,
    pub(crate) id: I,
    /// The only recipient. With several it stays out, so that blind copies stay blind (RFC 5321 7.6).
    pub(crate) recipient: Option<&'a Address>,
    pub(crate) received_at: Timestamp,
}

impl<I: Display> Trace<'_, I> {
    /// The whole field, folded, with its last CRLF.
    pub(crate) fn field(&self) -> String {
        let mut field = String::with_capacity(320);
        field.push_str("Received: from ");
        push_helo(&mut field, self.helo);
        // Writing to a string cannot fail.
        let _ = write!(field, " ({})", Literal(self.client));
        if let Some(tls) = self.tls {
            let (version, cipher) = (tls.version.name(), &tls.cipher);
            let _ = write!(field, "\r\n\t(using TLSv{version} with cipher {cipher})");
        }
        let _ = write!(field, "\r\n\tby {} (smtp-server)", self.hostname);
        let _ = write!(field, " with {} id {}", self.protocol, self.id);
        // A field outside of UTF8SMTP has to be ASCII.
        if let Some(recipient) = self
            .recipient
            .filter(|to| to.is_ascii() || self.protocol.starts_with("UTF8SMTP"))
        {
            let _ = write!(field, "\r\n\tfor <{}>", recipient.as_str());
        }
        field.push_str(";\r\n\t");
        push_date(&mut field, self.received_at);
        field.push_str("\r\n");
        field
    }
}

/// An address literal (RFC 5321 4.1.3).
#[derive(Debug)]
pub(crate) struct Literal(pub(crate) IpAddr);

impl Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// Only what names and address literals are made of is repeated; other characters could be comments or line ends.
fn push_helo(field: &mut String, helo: &str) {
    if helo.is_empty() {
        field.push_str("unknown");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    field.extend(helo.chars().take(HELO).map(|c| if allowed(c) { c } else { '?' }));
}

pub(crate) fn push_date(field: &mut String, at: Timestamp) {
    // With the zone, because a bare timestamp would be printed as "-0000": local time unknown.
    if DateTimePrinter::new()
        .print_zoned(&at.to_zoned(TimeZone::UTC), &mut *field)
        .is_err()
    {
        // Years over 9999 are all that cannot be printed.
        field.push_str("Thu, 1 Jan 1970 00:00:00 +0000");
    }
}

/// Finds a field in the content as it passes, in one pass over at most the first 8 KiB.
#[derive(Debug)]
pub(crate) struct FieldScan {
    /// With its colon, in lower case.
    name: &'static [u8],
    line: Vec<u8>,
    seen: usize,
    found: Option<String>,
    done: bool,
}

impl FieldScan {
    /// The client's message-id.
    pub(crate) fn message_id() -> Self {
        FieldScan::of(b"message-id:")
    }

    /// What an application says of the trace that its mail belongs to (W3C Trace Context).
    pub(crate) fn traceparent() -> Self {
        FieldScan::of(b"traceparent:")
    }

    fn of(name: &'static [u8]) -> Self {
        FieldScan {
            name,
            line: Vec::new(),
            seen: 0,
            found: None,
            done: false,
        }
    }

    /// Looks at the next piece of content.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        if self.done {
            return;
        }
        let left = SEARCHED - self.seen;
        let chunk = chunk.get(..left).unwrap_or(chunk);
        self.seen += chunk.len();
        for piece in chunk.split_inclusive(|octet| *octet == b'\n') {
            // Longer lines are not looked for; their start is enough to know what they are.
            let room = (2 * VALUE).saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                self.end_of_line();
            }
            if self.done {
                return;
            }
        }
        self.done = self.seen == SEARCHED;
    }

    fn end_of_line(&mut self) {
        let name = self.name;
        let line = self.line.trim_ascii_end();
        // A folded value stands on the next line: the name alone is kept until it comes.
        let is_name = |line: &[u8]| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        if line.is_empty() {
            self.done = true;
        } else if is_name(line) {
            let value = line.get(name.len()..).unwrap_or_default().trim_ascii();
            if value.is_empty() {
                self.line.truncate(name.len());
                return;
            }
            self.found = (value.len() <= VALUE).then(|| printable(value));
            self.done = true;
        }
        self.line.clear();
        if self.done {
            self.line = Vec::new();
        }
    }

    /// The field's value (a message-id with its angle brackets), control characters replaced.
    pub(crate) fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }
}

fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace<'a>(helo: &'a str, recipient: Option<&'a Address>) -> Trace<'a, &'static str> {
        Trace {
            helo,
            client: "192.0.2.7".parse().unwrap(),
            tls: None,
            hostname: "mx.example.org",
            protocol: "ESMTP",
            id: "01J0000000000000000000000",
            recipient,
            received_at: Timestamp::from_second(1_700_000_000).unwrap(),
        }
    }

    #[test]
    fn field_without_recipient() {
        assert_eq!(
            trace("client.example", None).field(),
            "Received: from client.example ([192.0.2.7])\r\n\
             \tby mx.example.org (smtp-server) with ESMTP id 01J0000000000000000000000;\r\n\
             \tTue, 14 Nov 2023 22:13:20 +0000\r\n"
        );
    }

    #[test]
    fn ipv6_clients_are_literals() {
        let mut trace = trace("[IPv6:2001:db8::9]", None);
        trace.client = "2001:db8::9".parse().unwrap();
        let field = trace.field();
        assert!(
            field.starts_with("Received: from [IPv6:2001:db8::9] ([IPv6:2001:db8::9])\r\n"),
            "{field}"
        );
    }

    #[test]
    fn no_helo_can_end_the_field_or_hide_in_it() {
        for helo in [
            "a\r\nX: y",
            "a\0b",
            "a (comment",
            "a;b",
            "a\u{85}b",
            "ü.example",
            "a\"b\\",
            "a b",
        ] {
            let field = trace(helo, None).field();
            let (first, _) = field.split_once(" ([192.0.2.7])\r\n").unwrap();
            let name = first.strip_prefix("Received: from ").unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '?');
            assert!(name.chars().all(plain), "{field}");
            assert_eq!(field.matches("\r\n").count(), 3, "{field}");
        }
        assert!(trace("", None).field().starts_with("Received: from unknown ("));
        let long = "x".repeat(5000);
        assert!(
            trace(&long, None)
                .field()
                .split("\r\n")
                .all(|line| line.len() < 998)
        );
    }

    #[test]
    fn protocols() {
        let clear = |extended, smtputf8| protocol(extended, smtputf8, false, false);
        assert_eq!(clear(false, false), "SMTP");
        assert_eq!(clear(true, false), "ESMTP");
        assert_eq!(clear(true, true), "UTF8SMTP");
        assert_eq!(protocol(false, false, true, false), "SMTP");
        assert_eq!(protocol(true, false, true, false), "ESMTPS");
        assert_eq!(protocol(true, true, true, false), "UTF8SMTPS");
        assert_eq!(protocol(true, false, true, true), "ESMTPSA");
        assert_eq!(protocol(true, true, true, true), "UTF8SMTPSA");
    }

    fn scan(chunks: &[&[u8]]) -> Option<String> {
        let mut scan = FieldScan::message_id();
        for chunk in chunks {
            scan.push(chunk);
        }
        scan.found().map(str::to_owned)
    }

    #[test]
    fn finds_the_message_id() {
        let content: &[u8] = b"Subject: x\r\nMESSAGE-Id:  <a@b> \r\nFrom: c\r\n\r\nbody";
        assert_eq!(scan(&[content]).as_deref(), Some("<a@b>"));
        let octets: Vec<&[u8]> = content.chunks(1).collect();
        assert_eq!(scan(&octets).as_deref(), Some("<a@b>"));
        assert_eq!(
            scan(&[b"Message-ID:\r\n <folded@b>\r\n\r\n"]).as_deref(),
            Some("<folded@b>")
        );
    }

    #[test]
    fn does_not_find_one_where_there_is_none() {
        assert_eq!(scan(&[b"Subject: x\r\n\r\nMessage-ID: <body@b>\r\n"]), None);
        assert_eq!(scan(&[b"X-Message-ID: <a@b>\r\n\r\n"]), None);
        assert_eq!(scan(&[b"Message-ID: <never ended"]), None);
        assert_eq!(scan(&[b"Message-ID:", &[b'x'; 5000], b"\r\n\r\n"]), None);
        let far = [b"X: ".as_slice(), &[b'x'; 9000], b"\r\nMessage-ID: <far@b>\r\n"].concat();
        assert_eq!(scan(&[&far]), None);
        assert_eq!(scan(&[b"Message-ID: <a\x07b>\r\n"]).as_deref(), Some("<a?b>"));
    }
}
