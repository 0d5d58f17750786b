//! Reads lists of mailboxes (RFC 5322 3.4 with RFC 6532), as `From:` and `Sender:` have them.
//!
//! The result decides whether a client may use an address, so it must not differ from what any reader of the mail would see. What is taken is
//! the grammar in its strict form; what readers are known to understand differently is an error, never a guess:
//! * obsolete forms: routes (`<@a:b@c>`), blanks or comments around `@` or within an address;
//! * a display name with `@`, `,`, `<` or other specials outside of quotes (`a@x <b@y>`);
//! * encoded words in an address, which some readers decode (`=?utf-8?q?b=40y?=@x`);
//! * anything open at the end: a quote, a comment, `<`, a group.
//!
//! Empty list elements (`a@x,,b@y`) are taken: they hide nobody. Members of groups (`team: a@x, b@y;`) count like all others.

use smtp::Address;
use smtp::address::AddressError;

/// Most mailboxes of one list.
pub const MAX_MAILBOXES: usize = 1000;

/// Why a list of mailboxes cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// Not the grammar.
    #[error("it is no list of addresses; a name that holds `@`, `,`, `<` or the like needs quotes")]
    Syntax,
    /// A quote, comment, literal, bracket or group that does not end.
    #[error("a quote, a comment, a bracket or a group does not end")]
    Open,
    /// Octets that are not UTF-8.
    #[error("it holds octets that are not UTF-8")]
    NotUtf8,
    /// A control character.
    #[error("it holds a control character")]
    Control,
    /// An address that is none.
    #[error("{0}")]
    Address(AddressError),
    /// An encoded word in an address (RFC 2047 5 forbids it).
    #[error("an address holds an encoded word, which is allowed in names only")]
    EncodedWord,
    /// More than [`MAX_MAILBOXES`].
    #[error("it holds more than {MAX_MAILBOXES} addresses")]
    TooMany,
}

/// All mailboxes of a field's value, folds included, in their order. None when the list is empty, or holds only empty groups.
///
/// # Errors
/// Whatever the strict grammar does not have, and more than [`MAX_MAILBOXES`].
pub fn mailboxes(value: &[u8]) -> Result<Vec<Address>, MailboxError> {
    let text = str::from_utf8(value).map_err(|_| MailboxError::NotUtf8)?;
    let mut tokens = Tokens { rest: text };
    let mut found = Vec::new();
    let mut in_group = false;
    loop {
        let end = match element(&mut tokens)? {
            Element::Mailbox(address) => {
                if found.len() >= MAX_MAILBOXES {
                    return Err(MailboxError::TooMany);
                }
                found.push(address);
                tokens.next()?.kind
            }
            Element::Group if in_group => return Err(MailboxError::Syntax),
            Element::Group => {
                in_group = true;
                continue;
            }
            Element::Nothing(end) => end,
        };
        let end = match end {
            Kind::Special(';') if in_group => {
                in_group = false;
                tokens.next()?.kind
            }
            end => end,
        };
        match end {
            Kind::Special(',') => {}
            Kind::End if in_group => return Err(MailboxError::Open),
            Kind::End => return Ok(found),
            _ => return Err(MailboxError::Syntax),
        }
    }
}

/// What stands between two commas.
enum Element<'a> {
    Mailbox(Address),
    /// The name of a group and its colon: the members follow.
    Group,
    /// Nothing before this token.
    Nothing(Kind<'a>),
}

fn element<'a>(tokens: &mut Tokens<'a>) -> Result<Element<'a>, MailboxError> {
    let first = tokens.next()?.kind;
    let mut words = 0;
    let mut token = first;
    while let Kind::Word(_) = token {
        words += 1;
        let next = tokens.next()?;
        if next.kind == Kind::Special('@') {
            return match first {
                Kind::Word(local) if words == 1 && !next.apart => {
                    Ok(Element::Mailbox(address(local, tokens)?))
                }
                _ => Err(MailboxError::Syntax),
            };
        }
        token = next.kind;
    }
    match token {
        Kind::Special('<') => Ok(Element::Mailbox(angle(tokens)?)),
        Kind::Special(':') if words > 0 => Ok(Element::Group),
        _ if words == 0 => Ok(Element::Nothing(token)),
        _ => Err(MailboxError::Syntax),
    }
}

/// What follows a `<`.
fn angle(tokens: &mut Tokens<'_>) -> Result<Address, MailboxError> {
    let Kind::Word(local) = expected(tokens)?.kind else {
        return Err(MailboxError::Syntax);
    };
    let address = match expected(tokens)? {
        Token {
            kind: Kind::Special('@'),
            apart: false,
        } => address(local, tokens)?,
        _ => return Err(MailboxError::Syntax),
    };
    match expected(tokens)?.kind {
        Kind::Special('>') => Ok(address),
        _ => Err(MailboxError::Syntax),
    }
}

/// The next token, where the end may not come.
fn expected<'a>(tokens: &mut Tokens<'a>) -> Result<Token<'a>, MailboxError> {
    match tokens.next()? {
        Token { kind: Kind::End, .. } => Err(MailboxError::Open),
        token => Ok(token),
    }
}

/// The address that `local` and its `@` began.
fn address(local: &str, tokens: &mut Tokens<'_>) -> Result<Address, MailboxError> {
    let domain = tokens.next()?;
    let (Kind::Word(text) | Kind::Literal(text)) = domain.kind else {
        return Err(MailboxError::Syntax);
    };
    if domain.apart {
        return Err(MailboxError::Syntax);
    }
    if local.contains("=?") {
        return Err(MailboxError::EncodedWord);
    }
    Address::parse(&format!("{local}@{text}")).map_err(MailboxError::Address)
}

/// A token, and whether blanks or comments stand before it.
struct Token<'a> {
    kind: Kind<'a>,
    apart: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    /// Characters of atoms and dots, or a quoted string with its quotes.
    Word(&'a str),
    /// A domain literal with its brackets.
    Literal(&'a str),
    Special(char),
    End,
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Token<'a>, MailboxError> {
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

#[cfg(test)]
mod tests;
