//! Mailbox addresses by the grammar of RFC 5321 4.1.2 and RFC 6531 3.3.
//!
//! What parses can be written back between angle brackets as it is: an address
//! holds no control character and no blank outside quotes.

use crate::limits;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A mailbox: local part `@` domain.
///
/// The text is kept as it was sent, except that a local part is quoted no more than it has to be
/// (`"john"@x` is `john@x`, `"a\.b c"@x` is `"a.b c"@x`; RFC 5321 4.1.2 asks for it). Two
/// addresses are equal when their local parts are equal octet for octet and their domains are
/// equal without regard to ASCII case.
#[derive(Clone, Debug)]
pub struct Address {
    text: Box<str>,
    at: usize,
}

/// Why a text is not a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// No `@`, or nothing before or after it.
    Incomplete,
    /// A character or quoting that the grammar does not allow in a local part.
    LocalPart,
    /// Not a domain name or address literal.
    Domain,
    /// Longer than [`crate::limits`] allow.
    TooLong,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Incomplete => "an address needs the form user@domain",
            AddressError::LocalPart => "a character before the @ is not allowed or needs quotes",
            AddressError::Domain => "what follows the @ is neither a domain name nor an address literal",
            AddressError::TooLong => "the address is too long",
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Parses a mailbox without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match Self::parse_prefix(text)? {
            (address, "") => Ok(address),
            _ => Err(AddressError::Domain),
        }
    }

    /// Parses a mailbox up to the `>` that closes its path, or up to the end. Gives the rest too.
    pub(crate) fn parse_prefix(text: &str) -> Result<(Self, &str), AddressError> {
        let (mut address, rest) = local_part(text)?;
        let (domain, rest) = domain_prefix(rest);
        let at = address.len();
        if domain.is_empty() {
            return Err(AddressError::Incomplete);
        }
        if at > limits::LOCAL_PART
            || domain.len() > limits::DOMAIN
            || at + 1 + domain.len() > limits::PATH - 2
        {
            return Err(AddressError::TooLong);
        }
        if !is_domain(domain) && literal(domain).is_none() {
            return Err(AddressError::Domain);
        }
        address.reserve_exact(1 + domain.len());
        address.push('@');
        address.push_str(domain);
        Ok((
            Address {
                text: address.into_boxed_str(),
                at,
            },
            rest,
        ))
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as it is written on the wire, quotes included.
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// The domain, or an address literal in its brackets.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The IP address when the domain is a literal (`[127.0.0.1]`, `[IPv6:::1]`), else `None`.
    pub fn literal(&self) -> Option<IpAddr> {
        literal(self.domain())
    }

    /// Whether the address can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local() == other.local() && self.domain().eq_ignore_ascii_case(other.domain())
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local().hash(state);
        for octet in self.domain().bytes() {
            state.write_u8(octet.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Address::parse(text)
    }
}

/// Reads a local part and its `@`. Gives it with as few quotes as possible, and the rest.
fn local_part(text: &str) -> Result<(String, &str), AddressError> {
    if text.starts_with('"') {
        return quoted_local_part(text);
    }
    let (local, rest) = text.split_once('@').ok_or(AddressError::Incomplete)?;
    if local.is_empty() {
        return Err(AddressError::Incomplete);
    }
    if local.len() > limits::COMMAND_LINE {
        return Err(AddressError::TooLong);
    }
    if !is_dot_string(local) {
        return Err(AddressError::LocalPart);
    }
    Ok((local.to_owned(), rest))
}

/// Quoted-string `@`.
fn quoted_local_part(text: &str) -> Result<(String, &str), AddressError> {
    let mut chars = text.char_indices().skip(1);
    let mut content = String::new();
    let end = loop {
        let (i, c) = chars.next().ok_or(AddressError::LocalPart)?;
        match c {
            '"' => break i + 1,
            '\\' => match chars.next() {
                Some((_, c @ ' '..='~')) => content.push(c),
                _ => return Err(AddressError::LocalPart),
            },
            ' '..='~' => content.push(c),
            _ if is_utf8_text(c) => content.push(c),
            _ => return Err(AddressError::LocalPart),
        }
    };
    let rest = text[end..].strip_prefix('@').ok_or(AddressError::Incomplete)?;
    if is_dot_string(&content) {
        Ok((content, rest))
    } else {
        Ok((quote(&content), rest))
    }
}

/// Quotes a local part, escaping only what has to be.
fn quote(content: &str) -> String {
    let mut quoted = String::with_capacity(content.len() + 2);
    quoted.push('"');
    for c in content.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Dot-string of RFC 5321 4.1.2, with the characters of RFC 6531 3.3.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && is_atom(atom))
}

/// Atom (RFC 5322 3.2.3), with the characters of RFC 6531.
pub(crate) fn is_atom(text: &str) -> bool {
    text.chars().all(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        c if c.is_ascii() => "!#$%&'*+-/=?^_`{|}~".contains(c),
        c => is_utf8_text(c),
    })
}

/// A character above ASCII that can be seen: neither a control nor a blank.
fn is_utf8_text(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !c.is_whitespace()
}

/// Splits a domain or a literal from what follows it in a path.
pub(crate) fn domain_prefix(text: &str) -> (&str, &str) {
    let end = if text.starts_with('[') {
        text.find(']').map(|i| i + 1)
    } else {
        text.find(['>', ',', ':'])
    };
    text.split_at(end.unwrap_or(text.len()))
}

/// Whether `text` is a domain name: labels of letters, digits, hyphens, and of
/// characters above ASCII (U-labels), without a trailing dot.
///
/// Underscores are taken too, although the grammar has none: containers and old
/// Windows hosts have them in names that their mail comes from.
pub fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.len() <= limits::DOMAIN && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let allowed = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => true,
        // IDNA reads these as dots: two servers would see different domains.
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => false,
        c => is_utf8_text(c),
    };
    let edge = label.starts_with('-') || label.ends_with('-');
    !label.is_empty() && label.len() <= 63 && !edge && label.chars().all(allowed)
}

/// The IP address of an address literal in its brackets (RFC 5321 4.1.3). General literals are
/// none that anybody has registered, so they are not known.
pub fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    match inner.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests;
