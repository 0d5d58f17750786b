//! Replies: a code, an enhanced status code (RFC 3463), one or more lines.
//!
//! Promises: a written reply is whole lines of at most 512 octets, whatever its text holds;
//! [`ReplyReader`] takes a peer's replies within [`crate::limits`] and without quadratic work.

mod reader;

pub use reader::{ReplyError, ReplyReader};

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::io::Write as _;

/// Longest reply line we write, in octets with its CRLF (RFC 5321 4.5.3.1.5).
const WRITTEN_LINE: usize = 512;

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Display for Enhanced {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// One reply, ours or a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// Enhanced status code, when the reply carries one.
    pub enhanced: Option<Enhanced>,
    /// The text without codes; lines are separated by `\n`.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code and a fixed text.
    pub const fn new(code: u16, enhanced: Enhanced, text: &'static str) -> Self {
        Reply {
            code,
            enhanced: Some(enhanced),
            text: Cow::Borrowed(text),
        }
    }

    /// A reply with an enhanced code and a text made at run time. Control
    /// characters other than `\n` are written as spaces.
    pub fn with(code: u16, enhanced: Enhanced, text: impl Into<String>) -> Self {
        Reply {
            code,
            enhanced: Some(enhanced),
            text: Cow::Owned(text.into()),
        }
    }

    /// A reply with a fixed text and no enhanced code: the greeting, 354, replies to HELO (RFC 2034 4).
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Reply {
            code,
            enhanced: None,
            text: Cow::Borrowed(text),
        }
    }

    /// 2yz.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 4yz.
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }

    /// Appends the reply as it goes over the wire, every line with its code. Lines longer than
    /// 512 octets are folded; control characters become spaces.
    pub fn write(&self, out: &mut Vec<u8>) {
        let prefix = Prefix::new(self);
        let room = WRITTEN_LINE - prefix.len() - 2;
        let mut rest: &str = &self.text;
        loop {
            let (line, after) = next_line(rest, room);
            prefix.write(after.is_none(), !line.is_empty(), out);
            push_clean(line, out);
            out.extend_from_slice(b"\r\n");
            match after {
                Some(after) => rest = after,
                None => return,
            }
        }
    }
}

/// On one line, as a log shows it.
impl Display for Reply {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.split('\n').filter(|line| !line.is_empty()) {
            f.write_str(" ")?;
            for c in line.chars() {
                fmt::Write::write_char(f, clean(c))?;
            }
        }
        Ok(())
    }
}

/// What stands before the text of every line: `250-2.1.5 `.
struct Prefix {
    code: [u8; 3],
    enhanced: Option<Enhanced>,
}

impl Prefix {
    fn new(reply: &Reply) -> Self {
        let code = reply.code.clamp(200, 599);
        let digit = |n: u16| b'0' + (n % 10) as u8;
        Prefix {
            code: [digit(code / 100), digit(code / 10), digit(code)],
            // 3yz has no class (RFC 2034 4).
            enhanced: reply.enhanced.filter(|_| !(300..400).contains(&code)),
        }
    }

    /// Octets before the text, at most.
    fn len(&self) -> usize {
        const LONGEST: usize = "255.65535.65535 ".len();
        4 + if self.enhanced.is_some() { LONGEST } else { 0 }
    }

    fn write(&self, last: bool, has_text: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code);
        out.push(if last { b' ' } else { b'-' });
        if let Some(enhanced) = self.enhanced {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{enhanced}");
            if has_text {
                out.push(b' ');
            }
        }
    }
}

/// Takes the next line off `text`, of at most `room` octets: up to `\n`, or folded, at a space where
/// there is one in the second half.
fn next_line(text: &str, room: usize) -> (&str, Option<&str>) {
    let (line, after) = match text.split_once('\n') {
        Some((line, after)) => (line, Some(after)),
        None => (text, None),
    };
    if line.len() <= room {
        return (line.strip_suffix('\r').unwrap_or(line), after);
    }
    let (head, _) = text.split_at(text.floor_char_boundary(room));
    match head.rfind(' ').filter(|&space| space > room / 2) {
        Some(space) => (&text[..space], Some(&text[space + 1..])),
        None => (head, Some(&text[head.len()..])),
    }
}

/// Appends `line` with a space for each control character, so that no text can end a line.
fn push_clean(line: &str, out: &mut Vec<u8>) {
    if is_plain(line.as_bytes()) {
        out.extend_from_slice(line.as_bytes());
        return;
    }
    for c in line.chars() {
        out.extend_from_slice(clean(c).encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Printable ASCII: most lines are, and go as they are.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|octet| (b' '..=b'~').contains(octet))
}

/// A tab is a legal character of a reply (RFC 5321 4.2); other controls are not.
fn clean(c: char) -> char {
    if c.is_control() && c != '\t' { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_carries_both_codes() {
        let reply = Reply::new(550, Enhanced(5, 1, 1), "No such\nmailbox");
        assert_eq!(wire(&reply), "550-5.1.1 No such\r\n550 5.1.1 mailbox\r\n");
        assert_eq!(reply.to_string(), "550 5.1.1 No such mailbox");
    }

    #[test]
    fn without_text_or_enhanced_code() {
        assert_eq!(wire(&Reply::new(250, Enhanced(2, 0, 0), "")), "250 2.0.0\r\n");
        assert_eq!(wire(&Reply::plain(354, "Go on")), "354 Go on\r\n");
        assert_eq!(wire(&Reply::plain(250, "")), "250 \r\n");
        assert_eq!(
            wire(&Reply::new(354, Enhanced(3, 0, 0), "Go on")),
            "354 Go on\r\n"
        );
    }

    #[test]
    fn text_cannot_leave_its_line() {
        let reply = Reply::with(550, Enhanced(5, 0, 0), "a\r\n250 ok\rb\0c\u{85}d\te");
        assert_eq!(wire(&reply), "550-5.0.0 a\r\n550 5.0.0 250 ok b c d\te\r\n");
    }

    #[test]
    fn long_lines_are_folded_between_words_and_characters() {
        for text in ["word ".repeat(400), "ä".repeat(1000), "x".repeat(1502)] {
            let wire = wire(&Reply::with(450, Enhanced(4, 999, 999), text.clone()));
            assert!(wire.lines().count() > 3);
            assert!(
                wire.split_inclusive("\r\n")
                    .all(|line| line.len() <= 512 && line.ends_with("\r\n"))
            );
            let letters = |s: &str| s.chars().filter(|c| c.is_alphabetic()).count();
            assert_eq!(letters(&wire), letters(&text));
        }
    }
}
