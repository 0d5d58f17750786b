//! Mailbox addresses by the grammar of RFC 5321 4.1.2 and RFC 6531 3.3.

use std::net::IpAddr;

/// A mailbox: local part `@` domain.
///
/// The text is kept as it was sent, except that quotes which a local part does
/// not need are removed (`"john"@x` is `john@x`). Two addresses are equal when
/// their local parts are equal octet for octet and their domains are equal
/// without regard to ASCII case.
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

impl Address {
    /// Parses a mailbox without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let _ = text;
        todo!()
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

    /// The IP address when the domain is a literal (`[127.0.0.1]`, `[IPv6:::1]`).
    pub fn literal(&self) -> Option<IpAddr> {
        todo!()
    }

    /// Whether the address can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}
