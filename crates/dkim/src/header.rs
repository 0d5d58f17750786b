//! A view of a header section: its fields, and the addresses of its author and sender.
//!
//! Whoever checks whether a client may use the address in `From:` must see every `From:` that any reader of the mail could see.
//! Therefore:
//! * a field's name is found in spite of case, and of blanks before its colon (RFC 5322 4.5);
//! * [`Header::authors`] refuses what readers understand differently: several `From:` fields, lines that are no field, a bare CR or
//!   LF, and any list of addresses that the strict grammar does not yield ([`crate::mailboxes`]).

use crate::mailbox::{MailboxError, mailboxes};
use memchr::memmem;
use smtp::Address;
use std::iter;
use std::ops::Range;

/// A header section: fields, up to the first empty line or the end of the octets.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    octets: &'a [u8],
}

/// One field, or a line that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was written, without blanks behind it. Empty when the line is no field.
    pub name: &'a str,
    /// What follows the colon, folds included, without the CRLF at its end.
    pub value: &'a [u8],
    /// Where the field is in the octets, its last CRLF included.
    pub range: Range<usize>,
}

/// Why a header section does not say who wrote or sent a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A line that is neither a field nor the continuation of one.
    #[error("a line of the header is not a header field")]
    NotAField,
    /// A CR or LF alone: some readers see another field behind it.
    #[error("the header has a line end other than CR LF")]
    BareLineEnd,
    /// The field is not there, or names nobody.
    #[error("the header has no {0} address")]
    Missing(&'static str),
    /// The field is there more than once, or names more than may be.
    #[error("the header has more than one {0}")]
    Several(&'static str),
    /// The field cannot be understood.
    #[error("the {0} field cannot be understood: {1}")]
    Mailboxes(&'static str, MailboxError),
}

impl<'a> Header<'a> {
    /// Looks at `octets`, which may go on with the empty line and a body.
    pub fn new(octets: &'a [u8]) -> Self {
        let end = if octets.starts_with(b"\r\n") {
            0
        } else {
            memmem::find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 2)
        };
        Header {
            octets: octets.get(..end).unwrap_or(octets),
        }
    }

    /// Octets of the fields, without the empty line behind them.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// All fields, top down.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let octets = self.octets;
        let mut start = 0;
        iter::from_fn(move || {
            let rest = octets.get(start..).filter(|rest| !rest.is_empty())?;
            let len = field_len(rest);
            let range = start..start + len;
            start = range.end;
            Some(Field::new(rest.get(..len).unwrap_or(rest), range))
        })
    }

    /// The fields of a name, top down.
    pub fn find<'n>(&self, name: &'n str) -> impl Iterator<Item = Field<'a>> + use<'a, 'n> {
        self.fields()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
    }

    /// The mailboxes of the one `From:` field, at least one (RFC 5322 3.6.2). A sender must be allowed to use all of them.
    ///
    /// # Errors
    /// Whenever readers of the mail could see another author.
    pub fn authors(&self) -> Result<Vec<Address>, HeaderError> {
        let authors = self.only("From")?.ok_or(HeaderError::Missing("From"))?;
        if authors.is_empty() {
            return Err(HeaderError::Missing("From"));
        }
        Ok(authors)
    }

    /// The mailbox of the `Sender:` field, if there is one (RFC 5322 3.6.2).
    ///
    /// # Errors
    /// Whenever readers of the mail could see another sender.
    pub fn sender(&self) -> Result<Option<Address>, HeaderError> {
        let Some(senders) = self.only("Sender")? else {
            return Ok(None);
        };
        let mut senders = senders.into_iter();
        match (senders.next(), senders.next()) {
            (Some(sender), None) => Ok(Some(sender)),
            (None, _) => Err(HeaderError::Missing("Sender")),
            _ => Err(HeaderError::Several("Sender")),
        }
    }

    /// The mailboxes of a field that may be there once.
    fn only(&self, name: &'static str) -> Result<Option<Vec<Address>>, HeaderError> {
        self.is_unambiguous()?;
        let mut fields = self.find(name);
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(field), None) => mailboxes(field.value)
                .map(Some)
                .map_err(|error| HeaderError::Mailboxes(name, error)),
            _ => Err(HeaderError::Several(name)),
        }
    }

    /// Whether every reader divides the section into the same fields.
    fn is_unambiguous(&self) -> Result<(), HeaderError> {
        if has_bare_line_end(self.octets) {
            return Err(HeaderError::BareLineEnd);
        }
        if self.fields().any(|field| field.name.is_empty()) {
            return Err(HeaderError::NotAField);
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    /// A field that stands alone, with or without its CRLF.
    pub(crate) fn of(octets: &'a [u8]) -> Self {
        Field::new(octets, 0..octets.len())
    }

    fn new(octets: &'a [u8], range: Range<usize>) -> Self {
        let line = octets.strip_suffix(b"\r\n").unwrap_or(octets);
        let (name, value) = match memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) {
            Some((name, value)) => (name.trim_ascii_end(), value.get(1..).unwrap_or_default()),
            None => (&b""[..], line),
        };
        match str::from_utf8(name) {
            Ok(name) if name.bytes().all(|octet| octet.is_ascii_graphic()) && !name.is_empty() => {
                Field { name, value, range }
            }
            _ => Field {
                name: "",
                value: line,
                range,
            },
        }
    }
}

/// Octets of the first field, up to a CRLF that no blank follows.
fn field_len(octets: &[u8]) -> usize {
    memmem::find_iter(octets, b"\r\n")
        .map(|at| at + 2)
        .find(|&end| !matches!(octets.get(end), Some(b' ' | b'\t')))
        .unwrap_or(octets.len())
}

/// Whether a CR or LF stands alone.
fn has_bare_line_end(octets: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', octets).any(|at| match octets.get(at) {
        Some(b'\r') => octets.get(at + 1) != Some(&b'\n'),
        _ => at.checked_sub(1).and_then(|before| octets.get(before)) != Some(&b'\r'),
    })
}

#[cfg(test)]
mod tests;
