//! Words, specials and literals of a list of mailboxes; blanks, folds and comments between them skipped.

use super::MailboxError;

/// A token, and whether blanks or comments stand before it.
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) apart: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Characters of atoms and dots, or a quoted string with its quotes.
    Word(&'a str),
    /// A domain literal with its brackets.
    Literal(&'a str),
    Special(char),
    End,
}

pub(super) struct Tokens<'a> {
    rest: &'a str,
    /// Of names without one.
    pub(super) domain: Option<&'a str>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str, domain: Option<&'a str>) -> Self {
        Tokens { rest: text, domain }
    }

    /// The next token; again and again [`Kind::End`] at the end.
    pub(super) fn next(&mut self) -> Result<Token<'a>, MailboxError> {
        let apart = self.skip_blanks()?;
        let Some(first) = self.rest.chars().next() else {
            let kind = Kind::End;
            return Ok(Token { kind, apart });
        };
        let kind = match first {
            '"' => Kind::Word(self.take(quoted_len(self.rest)?)),
            '[' => Kind::Literal(self.take(self.rest.find(']').ok_or(MailboxError::Open)? + 1)),
            '<' | '>' | '@' | ',' | ';' | ':' => {
                self.take(1);
                Kind::Special(first)
            }
            _ => Kind::Word(self.word()?),
        };
        Ok(Token { kind, apart })
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> Result<&'a str, MailboxError> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        match self.rest.chars().next() {
            Some(c) if end == 0 && c.is_control() => Err(MailboxError::Control),
            _ if end == 0 => Err(MailboxError::Syntax),
            _ => Ok(self.take(end)),
        }
    }

    /// Skips blanks, folds and comments. Whether there were any.
    fn skip_blanks(&mut self) -> Result<bool, MailboxError> {
        let before = self.rest.len();
        loop {
            let len = match self.rest.as_bytes() {
                [b' ' | b'\t', ..] => 1,
                [b'\r', b'\n', b' ' | b'\t', ..] => 3,
                [b'(', ..] => comment_len(self.rest)?,
                _ => return Ok(self.rest.len() < before),
            };
            self.take(len);
        }
    }
}

/// Characters of a word outside quotes: those of atoms (RFC 5322 3.2.3, RFC 6532 3.2), and dots.
fn is_word(c: char) -> bool {
    match c {
        '.' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c),
        c => !c.is_control(),
    }
}

/// Octets of the quoted string at the start.
fn quoted_len(text: &str) -> Result<usize, MailboxError> {
    let mut visible = Visible::behind_first(text);
    while let Some((at, c, escaped)) = visible.next()? {
        if c == '"' && !escaped {
            return Ok(at + 1);
        }
    }
    Err(MailboxError::Open)
}

/// Octets of the comment at the start; comments nest.
fn comment_len(text: &str) -> Result<usize, MailboxError> {
    let mut depth = 1_usize;
    let mut visible = Visible::behind_first(text);
    while let Some((at, c, escaped)) = visible.next()? {
        match c {
            '(' if !escaped => depth += 1,
            ')' if !escaped => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(at + 1);
        }
    }
    Err(MailboxError::Open)
}

/// The characters of a quoted string or comment with their places, and whether a `\` stood before.
struct Visible<'a> {
    text: &'a str,
    chars: std::iter::Peekable<std::iter::Skip<std::str::CharIndices<'a>>>,
}

impl<'a> Visible<'a> {
    fn behind_first(text: &'a str) -> Self {
        Visible {
            text,
            chars: text.char_indices().skip(1).peekable(),
        }
    }

    fn next(&mut self) -> Result<Option<(usize, char, bool)>, MailboxError> {
        match self.chars.next() {
            None => Ok(None),
            Some((_, '\\')) => match self.chars.next() {
                Some((at, c)) if !c.is_control() => Ok(Some((at, c, true))),
                Some(_) => Err(MailboxError::Control),
                None => Err(MailboxError::Open),
            },
            Some((at, c)) if c == '\t' || !c.is_control() || self.is_fold(at) => Ok(Some((at, c, false))),
            Some(_) => Err(MailboxError::Control),
        }
    }

    /// Whether a CR or LF is part of a fold.
    fn is_fold(&self, at: usize) -> bool {
        let octets = self.text.as_bytes();
        let from = |start: usize| octets.get(start..start + 3);
        match octets.get(at) {
            Some(b'\r') => matches!(from(at), Some([b'\r', b'\n', b' ' | b'\t'])),
            // Its CR was looked at before.
            Some(b'\n') => at > 0 && octets.get(at - 1) == Some(&b'\r'),
            _ => false,
        }
    }
}
