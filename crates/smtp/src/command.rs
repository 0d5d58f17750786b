//! Commands of a client, parsed from one line (RFC 5321 4.1.1, RFC 3030 2, RFC 3207 4, RFC 4954 4).
//!
//! Parsing is by the grammar, with these liberties: blanks may stand after the colon of MAIL
//! and RCPT and at the end of a line; a tab is a blank; source routes are read and dropped.

use crate::address::{self, Address, AddressError};
use crate::secret::Encoded;

/// The verb of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// EHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// BDAT.
    Bdat,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// A method of HTTP: no SMTP client sends it.
    Http,
    /// Anything else.
    Other,
}

const VERBS: [(&str, Verb); 20] = [
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("VRFY", Verb::Vrfy),
    ("EXPN", Verb::Expn),
    ("HELP", Verb::Help),
    ("QUIT", Verb::Quit),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
    ("GET", Verb::Http),
    ("POST", Verb::Http),
    ("PUT", Verb::Http),
    ("HEAD", Verb::Http),
    ("OPTIONS", Verb::Http),
    ("CONNECT", Verb::Http),
];

impl Verb {
    /// The verb of a line that may still be incomplete.
    pub fn of(line: &[u8]) -> Verb {
        let end = line
            .iter()
            .position(|c| matches!(c, b' ' | b'\t' | b'\r' | b'\n'))
            .unwrap_or(line.len());
        let word = &line[..end];
        let known = VERBS
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        known.map_or(Verb::Other, |(_, verb)| *verb)
    }

    /// Its name in upper case; `other` for what is not a verb of SMTP.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Http | Verb::Other => "other",
            _ => VERBS
                .iter()
                .find(|(_, verb)| *verb == self)
                .map_or("other", |(name, _)| name),
        }
    }

    /// Whether a client has to wait for the reply before it sends more (RFC 2920 3.1, RFC 3207 4, RFC 4954 3).
    pub fn ends_a_group(self) -> bool {
        matches!(
            self,
            Verb::Ehlo | Verb::Helo | Verb::Data | Verb::StartTls | Verb::Auth
        )
    }
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO with the client's name, or HELO.
    Hello {
        /// Domain, address literal, or what the client takes for one.
        name: &'a str,
        /// EHLO rather than HELO.
        extended: bool,
    },
    /// MAIL.
    Mail {
        /// Reverse path; `None` is `<>`.
        sender: Option<Address>,
        /// What follows the path, for [`crate::MailParams::parse`].
        params: &'a str,
    },
    /// RCPT.
    Rcpt {
        /// Forward path; `None` is a bare `Postmaster`.
        recipient: Option<Address>,
        /// What follows the path, for [`crate::RcptParams::parse`].
        params: &'a str,
    },
    /// DATA.
    Data,
    /// BDAT.
    Bdat {
        /// Octets that follow the line.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY with a string.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth {
        /// SASL mechanism; empty when it is missing.
        mechanism: &'a str,
        /// What the client says without being asked.
        initial: Option<Encoded<'a>>,
    },
    /// A verb of SMTP that is not offered here (EXPN).
    NotOffered,
}

/// Why a line is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Not UTF-8, or control characters in it.
    Octets,
    /// An unknown verb.
    Verb,
    /// The argument is missing.
    Missing,
    /// An argument where none belongs.
    Unexpected,
    /// EHLO's or HELO's name could not stand in a trace field.
    Name,
    /// `FROM:` or `TO:` is missing.
    Keyword,
    /// The path has no angle brackets, or not two, or text behind them.
    Brackets,
    /// The source route before the address is malformed.
    Route,
    /// The address is malformed.
    Address(AddressError),
    /// RCPT to the null path.
    NullRecipient,
    /// BDAT's size is not a number, or one beyond all bounds: where the next command starts is unknown.
    Chunk,
}

/// Parses one line, without its line end. The verb is known even when the rest is wrong.
pub fn parse(line: &[u8]) -> (Verb, Result<Command<'_>, CommandError>) {
    let verb = Verb::of(line);
    let command = text(line).and_then(|line| arguments(verb, line));
    (verb, command)
}

fn text(line: &[u8]) -> Result<&str, CommandError> {
    let text = std::str::from_utf8(line).map_err(|_| CommandError::Octets)?;
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(CommandError::Octets);
    }
    Ok(text.trim_end_matches(BLANK))
}

const BLANK: [char; 2] = [' ', '\t'];

fn arguments(verb: Verb, line: &str) -> Result<Command<'_>, CommandError> {
    let rest = line
        .find(BLANK)
        .map_or("", |blank| line[blank..].trim_start_matches(BLANK));
    match verb {
        Verb::Ehlo | Verb::Helo => hello(rest, verb == Verb::Ehlo),
        Verb::Mail => mail(rest),
        Verb::Rcpt => rcpt(rest),
        Verb::Data => alone(rest, Command::Data),
        Verb::Bdat => bdat(rest),
        Verb::Rset => alone(rest, Command::Rset),
        Verb::Noop => Ok(Command::Noop),
        Verb::Vrfy if rest.is_empty() => Err(CommandError::Missing),
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::Help => Ok(Command::Help),
        Verb::Quit => alone(rest, Command::Quit),
        Verb::StartTls => alone(rest, Command::StartTls),
        Verb::Auth => Ok(auth(rest)),
        Verb::Expn => Ok(Command::NotOffered),
        Verb::Http | Verb::Other => Err(CommandError::Verb),
    }
}

fn alone<'a>(rest: &str, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(CommandError::Unexpected)
    }
}

/// mechanism [ SP initial-response ]. What is wrong with them is said only where AUTH is offered.
fn auth(rest: &str) -> Command<'_> {
    let (mechanism, initial) = match rest.split_once(BLANK) {
        Some((mechanism, initial)) => (mechanism, Some(Encoded(initial.trim_start_matches(BLANK)))),
        None => (rest, None),
    };
    Command::Auth { mechanism, initial }
}

/// The grammar wants a domain or a literal; people send host names with underscores or without
/// dots. What would break a trace field is refused.
fn hello(name: &str, extended: bool) -> Result<Command<'_>, CommandError> {
    if name.is_empty() {
        return Err(CommandError::Missing);
    }
    let fits = |c: u8| c.is_ascii_graphic() && !b"()<>,;\"\\".contains(&c);
    if name.len() > crate::limits::DOMAIN || !name.bytes().all(fits) {
        return Err(CommandError::Name);
    }
    Ok(Command::Hello { name, extended })
}

fn mail(rest: &str) -> Result<Command<'_>, CommandError> {
    let (path, params) = path(keyword(rest, "FROM:")?)?;
    match path {
        Path::Null => Ok(Command::Mail { sender: None, params }),
        Path::Mailbox(sender) => Ok(Command::Mail {
            sender: Some(sender),
            params,
        }),
        Path::Postmaster => Err(CommandError::Address(AddressError::Incomplete)),
    }
}

fn rcpt(rest: &str) -> Result<Command<'_>, CommandError> {
    let (path, params) = path(keyword(rest, "TO:")?)?;
    match path {
        Path::Null => Err(CommandError::NullRecipient),
        Path::Mailbox(recipient) => Ok(Command::Rcpt {
            recipient: Some(recipient),
            params,
        }),
        Path::Postmaster => Ok(Command::Rcpt {
            recipient: None,
            params,
        }),
    }
}

fn keyword<'a>(rest: &'a str, word: &str) -> Result<&'a str, CommandError> {
    match rest.split_at_checked(word.len()) {
        Some((start, path)) if start.eq_ignore_ascii_case(word) => Ok(path.trim_start_matches(BLANK)),
        _ => Err(CommandError::Keyword),
    }
}

enum Path {
    Null,
    Postmaster,
    Mailbox(Address),
}

/// A path in angle brackets, and the parameters behind it.
fn path(text: &str) -> Result<(Path, &str), CommandError> {
    let inner = text.strip_prefix('<').ok_or(CommandError::Brackets)?;
    let (path, rest) = match inner.strip_prefix('>') {
        Some(rest) => (Path::Null, rest),
        None => mailbox(source_route(inner)?)?,
    };
    match rest.strip_prefix(BLANK) {
        Some(params) => Ok((path, params)),
        None if rest.is_empty() => Ok((path, rest)),
        None => Err(CommandError::Brackets),
    }
}

fn mailbox(text: &str) -> Result<(Path, &str), CommandError> {
    if let Some((word, rest)) = text.split_at_checked("postmaster>".len())
        && word.eq_ignore_ascii_case("postmaster>")
    {
        return Ok((Path::Postmaster, rest));
    }
    let (address, rest) = Address::parse_prefix(text).map_err(CommandError::Address)?;
    // A domain ends at `>`, `,` and `:`, since those end it in a source route.
    match rest.strip_prefix('>') {
        Some(rest) => Ok((Path::Mailbox(address), rest)),
        None if rest.is_empty() => Err(CommandError::Brackets),
        None => Err(CommandError::Address(AddressError::Domain)),
    }
}

/// Drops `@a,@b:` before a mailbox (RFC 5321 appendix C).
fn source_route(mut text: &str) -> Result<&str, CommandError> {
    while let Some(hop) = text.strip_prefix('@') {
        let (domain, rest) = address::domain_prefix(hop);
        if !address::is_domain(domain) && address::literal(domain).is_none() {
            return Err(CommandError::Route);
        }
        if let Some(mailbox) = rest.strip_prefix(':') {
            return Ok(mailbox);
        }
        text = rest.strip_prefix(',').ok_or(CommandError::Route)?;
        if !text.starts_with('@') {
            return Err(CommandError::Route);
        }
    }
    Ok(text)
}

/// chunk-size [ SP "LAST" ] (RFC 3030 2).
fn bdat(rest: &str) -> Result<Command<'_>, CommandError> {
    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let size = words.next().ok_or(CommandError::Chunk)?;
    if !size.bytes().all(|c| c.is_ascii_digit()) {
        return Err(CommandError::Chunk);
    }
    let size = size.parse().map_err(|_| CommandError::Chunk)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(CommandError::Chunk),
    };
    if words.next().is_some() {
        Err(CommandError::Chunk)
    } else {
        Ok(Command::Bdat { size, last })
    }
}

#[cfg(test)]
mod tests;
