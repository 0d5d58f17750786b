//! Message content as it comes, by DATA or BDAT, made canonical. (The way back, to DATA with its dots
//! stuffed, is [`crate::DotStuffer`].)
//!
//! Canonical content has CRLF at every line end and no bare CR or LF, unless it came as
//! BINARYMIME: then it is any octets.

mod inspect;
mod reader;

pub use reader::{Breach, Limits, Piece, Reader};

/// What was learnt of a message while it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyInfo {
    /// Octets of canonical content.
    pub size: u64,
    /// `Received:` fields in the header: the hops so far (RFC 5321 6.3).
    pub received_fields: u32,
    /// An octet above 127 is in the header.
    pub header_8bit: bool,
    /// An octet above 127 is anywhere.
    pub has_8bit: bool,
    /// Bare CR or LF octets that were made into CRLF.
    pub bare_line_ends: u64,
}
