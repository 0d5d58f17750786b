//! A message as programs write it on standard input, made one that can be sent.
//!
//! Promises: at most [`MOST`] octets are held; lines end in CRLF, whatever they ended in; what is sent has From, Date and Message-ID,
//! and no Bcc.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use smtp::Address;
use smtp_dkim::{Header, MailboxError, mailboxes_at};
use smtp_queue::QueueId;
use std::fmt::Write;
use std::io::{self, BufRead};

/// Largest message. It is held in memory.
pub(crate) const MOST: usize = 64 * 1024 * 1024;

/// A message divided at the end of its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Draft {
    /// Fields, without the empty line behind them.
    header: Vec<u8>,
    body: Vec<u8>,
}

/// Reads to the end of input, or where `dot_ends` to a line that is a single dot.
///
/// # Errors
/// As reading does; `FileTooLarge` beyond [`MOST`] octets.
pub(super) fn read(input: impl BufRead, dot_ends: bool) -> io::Result<Draft> {
    let mut input = input.take(MOST as u64 + 1);
    let mut content = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if dot_ends && text == b"." {
            break;
        }
        // A CR alone ends a line too: SMTP has no other meaning for it.
        for part in text.split(|&octet| octet == b'\r') {
            content.extend_from_slice(part);
            content.extend_from_slice(b"\r\n");
        }
        if content.len() > MOST || input.limit() == 0 {
            let why = format!("the message is larger than {} MiB", MOST >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
    }
    Ok(Draft::divide(content))
}

impl Draft {
    /// The header ends at the first line that is neither a field nor the continuation of one. The line `From …` of an mbox is left out.
    fn divide(content: Vec<u8>) -> Draft {
        let start = match content.starts_with(b"From ") {
            true => memchr(b'\n', &content).map_or(content.len(), |at| at + 1),
            false => 0,
        };
        let mut end = start;
        let mut body = None;
        while let Some(rest) = content.get(end..).filter(|rest| !rest.is_empty()) {
            let len = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = rest.get(..len).unwrap_or(rest);
            if line == b"\r\n" {
                body = Some(end + len);
                break;
            }
            let continued = end > start && matches!(line.first(), Some(b' ' | b'\t'));
            if !continued && !is_field(line) {
                break;
            }
            end += len;
        }
        let part = |range: std::ops::Range<usize>| content.get(range).unwrap_or_default().to_vec();
        Draft {
            header: part(start..end),
            body: part(body.unwrap_or(end)..content.len()),
        }
    }

    /// Whom the header names as recipients: those of `Resent-` fields where there are any, else To, Cc and Bcc.
    ///
    /// # Errors
    /// Names the field that cannot be understood.
    pub(super) fn recipients(&self, hostname: &str) -> Result<Vec<Address>, (String, MailboxError)> {
        const RESENT: [&str; 3] = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
        let header = Header::new(&self.header);
        let resent = RESENT.iter().any(|name| header.find(name).next().is_some());
        let names = if resent { RESENT } else { ["To", "Cc", "Bcc"] };
        let mut found = Vec::new();
        for field in header.fields() {
            if names.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                let list = mailboxes_at(field.value, hostname);
                found.extend(list.map_err(|error| (field.name.to_owned(), error))?);
            }
        }
        Ok(found)
    }

    /// The message to be sent.
    pub(super) fn complete(self, author: &Author<'_>, now: Timestamp) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.header.len() + self.body.len() + 256);
        let (mut from, mut date, mut message_id) = (false, false, false);
        for field in Header::new(&self.header).fields() {
            let named = |name: &str| field.name.eq_ignore_ascii_case(name);
            if named("Bcc") || named("Resent-Bcc") {
                continue;
            }
            from |= named("From");
            date |= named("Date");
            message_id |= named("Message-ID");
            content.extend_from_slice(self.header.get(field.range).unwrap_or_default());
        }
        let mut added = String::new();
        // Writing to a String does not fail.
        if !from {
            let _ = write!(added, "From: {}\r\n", author.mailbox());
        }
        if !date {
            let date = DateTimePrinter::new().zoned_to_string(&now.to_zoned(TimeZone::UTC));
            // Years over 9999 are all that cannot be printed.
            let _ = write!(added, "Date: {}\r\n", date.unwrap_or_default());
        }
        if !message_id {
            let _ = write!(
                added,
                "Message-ID: <{}@{}>\r\n",
                QueueId::generate(),
                author.hostname
            );
        }
        content.extend_from_slice(added.as_bytes());
        content.extend_from_slice(b"\r\n");
        content.extend_from_slice(&self.body);
        content
    }
}

/// Who writes a message that does not say it.
#[derive(Debug)]
pub(super) struct Author<'a> {
    pub(super) sender: Option<&'a Address>,
    pub(super) full_name: Option<&'a str>,
    pub(super) hostname: &'a str,
}

impl Author<'_> {
    /// As `From:` has it.
    fn mailbox(&self) -> String {
        let address = match self.sender {
            Some(sender) => sender.to_string(),
            None => format!("MAILER-DAEMON@{}", self.hostname),
        };
        match self.full_name.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => format!("{} <{address}>", phrase(name)),
            None => format!("<{address}>"),
        }
    }
}

/// A name as a phrase of RFC 5322: as it is, quoted, or in encoded words (RFC 2047).
fn phrase(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if name.chars().all(plain) && !name.contains("=?") {
        return name.to_owned();
    }
    if name.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let mut words = vec![String::new()];
    for c in name.chars().filter(|c| !c.is_control()) {
        let code: String = c
            .encode_utf8(&mut [0; 4])
            .bytes()
            .map(|octet| format!("={octet:02X}"))
            .collect();
        match words.last_mut() {
            // At most 75 octets in all (RFC 2047 2).
            Some(word) if word.len() + code.len() <= 60 => word.push_str(&code),
            _ => words.push(code),
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect();
    words.join(" ")
}

/// Whether a line begins a header field: a name, perhaps blanks, a colon.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr(b':', line) else {
        return false;
    };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

fn memchr(octet: u8, octets: &[u8]) -> Option<usize> {
    octets.iter().position(|&one| one == octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> Draft {
        read(text.as_bytes(), true).unwrap()
    }

    fn completed(text: &str) -> String {
        let sender = Address::parse("a@x.test").unwrap();
        let author = Author {
            sender: Some(&sender),
            full_name: Some("Ann Ott"),
            hostname: "h.test",
        };
        let now = Timestamp::from_second(0).unwrap();
        String::from_utf8(draft(text).complete(&author, now)).unwrap()
    }

    #[test]
    fn a_header_ends_where_no_field_is() {
        for (text, header, body) in [
            ("A: 1\n b\nC: 2\n\nx\n.\ny\n", "A: 1\r\n b\r\nC: 2\r\n", "x\r\n"),
            ("no header\nA: 1\n", "", "no header\r\nA: 1\r\n"),
            ("A: 1\nno field\n\nx", "A: 1\r\n", "no field\r\n\r\nx\r\n"),
            ("\nA: 1\n", "", "A: 1\r\n"),
            (" x\nA: 1\n", "", " x\r\nA: 1\r\n"),
            ("From a@b Thu\r\nA: 1\r\n\r\nx\ry", "A: 1\r\n", "x\r\ny\r\n"),
            ("", "", ""),
            ("A : 1", "A : 1\r\n", ""),
        ] {
            let draft = draft(text);
            let texts = [draft.header, draft.body].map(|part| String::from_utf8(part).unwrap());
            assert_eq!(texts, [header, body], "{text:?}");
        }
    }

    #[test]
    fn what_is_missing_is_added_and_bcc_goes() {
        let whole = completed("Bcc: x@y.test,\n z@y.test\nSubject: s\n\nb\n");
        assert!(
            whole.starts_with("Subject: s\r\nFrom: Ann Ott <a@x.test>\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <"),
            "{whole}"
        );
        assert!(whole.ends_with("@h.test>\r\n\r\nb\r\n"), "{whole}");
        let kept = "from: b@x.test\r\nDATE: then\r\nMessage-Id: <1@x>\r\n\r\nb\r\n";
        assert_eq!(completed(kept), kept);
    }

    #[test]
    fn recipients_come_from_the_header() {
        let of = |text: &str| {
            let found = draft(text).recipients("h.test");
            found.map(|found| found.iter().map(Address::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            of("To: root, B <b@x.test>\nCC: c@x.test\nBcc:\nbcc: d@x.test\nX-To: e@x.test\n\n").unwrap(),
            ["root@h.test", "b@x.test", "c@x.test", "d@x.test"]
        );
        assert_eq!(of("To: a@x.test\nResent-To: b@x.test\n\n").unwrap(), ["b@x.test"]);
        assert!(of("To: undisclosed-recipients:;\n\n").unwrap().is_empty());
        assert_eq!(of("To: a b c\n\n").unwrap_err().0, "To");
    }

    #[test]
    fn names_are_phrases_whatever_they_hold() {
        assert_eq!(phrase("Ann Ott"), "Ann Ott");
        assert_eq!(phrase("a, \"b\" <c@d>\\"), "\"a, \\\"b\\\" <c@d>\\\\\"");
        assert_eq!(
            phrase("Änn\r\nBcc: x"),
            "=?utf-8?Q?=C3=84=6E=6E=42=63=63=3A=20=78?="
        );
        let long = phrase(&"ä".repeat(100));
        assert!(long.split(' ').all(|word| word.len() <= 75), "{long}");
    }

    #[test]
    fn too_much_is_refused_and_not_held() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let error = read(endless, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
