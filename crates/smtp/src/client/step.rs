//! What a client tells its caller, one thing at a time.

use super::{Outcome, Phase};
use crate::reply::{Reply, ReplyError};

/// What the caller has to do next.
#[derive(Debug)]
pub enum ClientStep {
    /// Write the output, then read more; wait as long as [`super::Client::phase`] says.
    Read,
    /// The server answered EHLO (or HELO): [`super::Client::begin`] may be called, or
    /// [`super::Client::start_tls`], or [`super::Client::authenticate`].
    Ready,
    /// The server agreed to STARTTLS: wrap the stream, then call [`super::Client::tls_started`].
    StartTls,
    /// The server refused STARTTLS: [`super::Client::begin`] may be called, to go on in clear.
    TlsRefused(Reply),
    /// The server wants a response to these octets in the exchange of AUTH: call [`super::Client::auth_respond`] or
    /// [`super::Client::auth_cancel`].
    AuthChallenge(Vec<u8>),
    /// The server accepted AUTH: [`super::Client::begin`] may be called.
    Authenticated,
    /// The server refused AUTH, or the exchange was cancelled: [`super::Client::begin`] may be called, or
    /// [`super::Client::authenticate`] again.
    AuthRefused(Reply),
    /// Write the output, then the content (stuffed for DATA, as it is for BDAT), then call [`super::Client::content_sent`].
    SendContent {
        /// By BDAT: the chunk's command is in the output, the content follows unstuffed.
        chunked: bool,
    },
    /// The transaction is over; [`super::Client::begin`] may be called again if [`super::Client::is_usable`].
    Finished(Outcome),
    /// The server refused us at the greeting or at EHLO, or said 421 outside of a transaction: close.
    Refused {
        /// Where.
        phase: Phase,
        /// What it said.
        reply: Reply,
    },
    /// QUIT was answered, or the conversation had ended before: close.
    Closed,
}

/// The server broke the protocol; the connection cannot be used any longer. What became of the
/// recipients tells [`super::Client::abort`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Not a reply.
    Malformed(String),
    /// A reply line over [`crate::limits::REPLY_LINE`], or a reply of more than [`crate::limits::REPLY_LINES`] lines.
    TooLong,
    /// A reply where none was due (before our command, or together with STARTTLS's), or one that
    /// makes no sense there (354 to MAIL, 250 to DATA, RSET refused).
    Unexpected(Reply),
    /// A challenge of AUTH that is not base64. The exchange was cancelled before this was said (RFC 4954 4).
    Challenge,
}

impl From<ReplyError> for ClientError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Malformed(line) => ClientError::Malformed(line),
            ReplyError::TooLong => ClientError::TooLong,
        }
    }
}
