//! Reads a peer's replies as they come in, piece by piece.
//!
//! Promises: an octet is looked at once; at most [`limits::REPLY_LINE`] octets of an unfinished line
//! are asked for, and at most [`KEPT_TEXT`] octets of text are kept; an endless reply ends in
//! [`ReplyError::TooLong`]. The text that comes out is UTF-8 without control characters.

use super::{Enhanced, Reply, clean, is_plain};
use crate::limits;
use bytes::{Buf, BytesMut};
use std::borrow::Cow;

/// Text kept of one reply, in octets: enough for every EHLO and every diagnosis. What is over is dropped.
const KEPT_TEXT: usize = 16 * 1024;
/// Characters of a malformed line that an error shows.
const SHOWN: usize = 100;

/// Why what a server sent is not a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Not a reply line, or one whose code differs from the line before: its beginning.
    Malformed(String),
    /// A line over [`limits::REPLY_LINE`], or more than [`limits::REPLY_LINES`] lines.
    TooLong,
}

/// Reads replies from a buffer that the caller fills. After an error it must not be used any longer.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// Octets at the buffer's start known to hold no line end.
    scanned: usize,
    /// The lines so far of a reply that goes on.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    code: u16,
    enhanced: Option<Enhanced>,
    text: String,
    lines: usize,
}

/// One line, cut into its parts.
struct Line<'a> {
    code: u16,
    last: bool,
    text: &'a [u8],
}

impl ReplyReader {
    /// Takes the next reply off `input`; `None` when more input is needed. Lines may end with LF alone,
    /// and may have no text (RFC 5321 4.2).
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        while let Some(end) = self.line_end(input)? {
            let finished = self.take_line(input.get(..end).unwrap_or_default())?;
            input.advance(end);
            if let Some(reply) = finished {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// Where the first line ends, after its LF.
    fn line_end(&mut self, input: &[u8]) -> Result<Option<usize>, ReplyError> {
        let from = self.scanned.min(input.len());
        let until = input.len().min(limits::REPLY_LINE);
        match memchr::memchr(b'\n', input.get(from..until).unwrap_or_default()) {
            Some(at) => {
                self.scanned = 0;
                Ok(Some(from + at + 1))
            }
            None if until == limits::REPLY_LINE => Err(ReplyError::TooLong),
            None => {
                self.scanned = until;
                Ok(None)
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let parsed = Line::parse(line).ok_or_else(|| malformed(line))?;
        let mut reply = match self.partial.take() {
            None => Partial {
                code: parsed.code,
                enhanced: None,
                text: String::new(),
                lines: 0,
            },
            Some(partial) if partial.code != parsed.code => return Err(malformed(line)),
            Some(partial) if partial.lines == limits::REPLY_LINES => return Err(ReplyError::TooLong),
            Some(partial) => partial,
        };
        reply.add(parsed.text);
        if parsed.last {
            return Ok(Some(Reply {
                code: reply.code,
                enhanced: reply.enhanced,
                text: Cow::Owned(reply.text),
            }));
        }
        self.partial = Some(reply);
        Ok(None)
    }
}

impl Partial {
    /// Adds a line's text. The enhanced code is that of the first line that has one; it is cut off every
    /// line that repeats it.
    fn add(&mut self, text: &[u8]) {
        let text = match enhanced_prefix(text, self.code) {
            Some((code, rest)) if *self.enhanced.get_or_insert(code) == code => rest,
            _ => text,
        };
        if self.lines > 0 && self.text.len() < KEPT_TEXT {
            self.text.push('\n');
        }
        self.lines += 1;
        let plain = is_plain(text) && self.text.len() + text.len() <= KEPT_TEXT;
        let text = String::from_utf8_lossy(text);
        if plain {
            self.text.push_str(&text);
            return;
        }
        for c in text.chars().map(clean) {
            if self.text.len() + c.len_utf8() > KEPT_TEXT {
                return;
            }
            self.text.push(c);
        }
    }
}

impl<'a> Line<'a> {
    /// `250-text`, `250 text` or `250`.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (code, rest) = line.split_first_chunk::<3>()?;
        let [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = code else {
            return None;
        };
        let code = code
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return None,
        };
        Some(Line { code, last, text })
    }
}

/// Takes an enhanced code off the start of a text, if its class is that of `code` (RFC 2034 4).
fn enhanced_prefix(text: &[u8], code: u16) -> Option<(Enhanced, &[u8])> {
    let end = memchr::memchr(b' ', text);
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    let mut numbers = word.split(|&octet| octet == b'.');
    let class = number(numbers.next()?, 1)?;
    let subject = number(numbers.next()?, 3)?;
    let detail = number(numbers.next()?, 3)?;
    if numbers.next().is_some() || class != code / 100 || class == 3 {
        return None;
    }
    Some((
        Enhanced(class as u8, subject, detail),
        rest.strip_prefix(b" ").unwrap_or(rest),
    ))
}

/// A number of one to `most` digits.
fn number(digits: &[u8], most: usize) -> Option<u16> {
    if digits.is_empty() || digits.len() > most || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
}

fn malformed(line: &[u8]) -> ReplyError {
    ReplyError::Malformed(
        String::from_utf8_lossy(line)
            .chars()
            .take(SHOWN)
            .map(clean)
            .collect(),
    )
}

#[cfg(test)]
mod tests;
