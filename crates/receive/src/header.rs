//! The header of a mail that is changed or signed: held until its end, checked, completed.
//!
//! Only mail of accounts, and of trusted networks where a key is at hand, comes here; everybody else's header passes as it
//! is. What RFC 6409 section 8 lets a submission server do is done to accounts' mail: `From:`, `Date:` and `Message-ID:` are added
//! when they are missing, `Bcc:` is taken out.
//!
//! Promises: memory is bounded by `limits.max_header_size`; an account's mail names as its authors and sender only addresses that the
//! account may use, however the field is written; a header that readers could understand differently is refused.

use crate::received::push_date;
use jiff::Timestamp;
use memchr::{memchr, memmem};
use smtp::{Address, Enhanced, Reply};
use smtp_dkim::{Header, HeaderError};
use std::fmt::Display;

/// Fields that name hidden recipients: taken out.
const HIDDEN: [&str; 2] = ["Bcc", "Resent-Bcc"];

/// A header while it comes.
#[derive(Debug)]
pub(crate) struct Held {
    octets: Vec<u8>,
    most: usize,
    /// The first line is a field.
    begun: bool,
}

/// What a piece of content did to a held header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is all header so far.
    More,
    /// The header has ended.
    Ended(Parts),
    /// The header is larger than it may be.
    TooLarge,
}

/// Content divided at the end of its header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The fields, without the empty line behind them.
    pub(crate) header: Vec<u8>,
    /// What came of the body already.
    pub(crate) body: Vec<u8>,
}

impl Held {
    /// Holds at most `most` octets of header.
    pub(crate) fn new(most: usize) -> Self {
        Held {
            octets: Vec::new(),
            most,
            begun: false,
        }
    }

    /// Takes the next piece of the content, which is canonical: lines end in CRLF.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Taken {
        // The end may lie across pieces.
        let seen = self.octets.len().saturating_sub(3);
        self.octets.extend_from_slice(chunk);
        let Some((header, body)) = self.end_of_header(seen) else {
            return match self.octets.len() > self.most {
                true => self.give_up(),
                false => Taken::More,
            };
        };
        if header > self.most {
            return self.give_up();
        }
        let mut header_octets = std::mem::take(&mut self.octets);
        let body = header_octets.split_off(body);
        header_octets.truncate(header);
        Taken::Ended(Parts {
            header: header_octets,
            body,
        })
    }

    /// Where the fields end and where the body begins, if that has come. What does not begin with a field has no header at all: text
    /// that somebody typed. `seen` octets were looked at before, and are not again: pieces may be single octets.
    fn end_of_header(&mut self, seen: usize) -> Option<(usize, usize)> {
        let octets = &self.octets;
        if octets.starts_with(b"\r\n") {
            return Some((0, 2));
        }
        let fresh = octets.get(seen..)?;
        if !self.begun {
            let end = memchr(b'\n', fresh)?;
            let mut first = Header::new(octets.get(..=seen + end)?).fields();
            if first.any(|field| field.name.is_empty()) {
                return Some((0, 0));
            }
            self.begun = true;
        }
        let end = memmem::find(fresh, b"\r\n\r\n")? + seen;
        Some((end + 2, end + 4))
    }

    fn give_up(&mut self) -> Taken {
        self.octets = Vec::new();
        Taken::TooLarge
    }

    /// The content ended without a body.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.octets
    }
}

/// What completing a header needs to know of its mail.
#[derive(Debug)]
pub(crate) struct Completion<'a, I> {
    /// Reverse path.
    pub(crate) sender: Option<&'a Address>,
    /// Our name, for message-ids.
    pub(crate) hostname: &'a str,
    /// Queue id.
    pub(crate) id: I,
    /// When reception began.
    pub(crate) received_at: Timestamp,
}

/// Whether an account may be the author of a mail with this header: `may_write_from` is asked about all addresses of `From:` and `Sender:`.
///
/// # Errors
/// The reply that the message gets: the refusal of `may_write_from`, or `550 5.6.0` when the header cannot be relied on.
pub(crate) fn check_author(
    header: &[u8],
    may_write_from: impl Fn(&[Address]) -> Result<(), Reply>,
) -> Result<(), Reply> {
    let header = Header::new(header);
    let mut addresses = match header.authors() {
        Ok(authors) => authors,
        // It is added from the reverse path, which was checked at MAIL.
        Err(HeaderError::Missing(_)) if header.find("From").next().is_none() => Vec::new(),
        Err(error) => return Err(unreliable(&error)),
    };
    addresses.extend(header.sender().map_err(|error| unreliable(&error))?);
    may_write_from(&addresses)
}

fn unreliable(error: &HeaderError) -> Reply {
    Reply::with(550, Enhanced(5, 6, 0), format!("Header refused: {error}"))
}

/// The header of an account's mail as it is sent on: without hidden recipients, with what it lacks.
///
/// # Errors
/// `550 5.6.0` for a mail without `From:` whose reverse path is null: nobody knows its author.
pub(crate) fn completed<I: Display>(header: &[u8], mail: &Completion<'_, I>) -> Result<Vec<u8>, Reply> {
    let (mut from, mut date, mut message_id) = (false, false, false);
    let mut completed = Vec::with_capacity(header.len() + 256);
    for field in Header::new(header).fields() {
        let named = |name: &str| field.name.eq_ignore_ascii_case(name);
        if HIDDEN.iter().any(|hidden| named(hidden)) {
            continue;
        }
        from |= named("From");
        date |= named("Date");
        message_id |= named("Message-ID");
        completed.extend_from_slice(header.get(field.range).unwrap_or_default());
    }
    if !completed.is_empty() && !completed.ends_with(b"\r\n") {
        completed.extend_from_slice(b"\r\n");
    }
    let mut added = String::new();
    if !from {
        let author = mail.sender.ok_or_else(|| {
            let text = "Header refused: the header has no From address";
            Reply::new(550, Enhanced(5, 6, 0), text)
        })?;
        added.push_str(&format!("From: <{}>\r\n", author.as_str()));
    }
    if !date {
        added.push_str("Date: ");
        push_date(&mut added, mail.received_at);
        added.push_str("\r\n");
    }
    if !message_id {
        added.push_str(&format!("Message-ID: <{}@{}>\r\n", mail.id, mail.hostname));
    }
    completed.extend_from_slice(added.as_bytes());
    Ok(completed)
}

/// The header with every colon right behind its name. A blank between is allowed (RFC 5322 4.5), but widespread verifiers fail at
/// such a field. The relaxed form, which is what is signed, is the same.
pub(crate) fn plain_names(header: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(header.len());
    for field in Header::new(header).fields() {
        let octets = header.get(field.range).unwrap_or_default();
        let (name, rest) = octets.split_at_checked(field.name.len()).unwrap_or_default();
        plain.extend_from_slice(name);
        // What is no field stays as it is.
        plain.extend_from_slice(if name.is_empty() {
            rest
        } else {
            rest.trim_ascii_start()
        });
    }
    plain
}

#[cfg(test)]
mod tests;
