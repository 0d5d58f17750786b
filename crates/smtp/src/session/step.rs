//! What a session tells its caller, one thing at a time.

use crate::address::Address;
use crate::body::BodyInfo;
use crate::params::{MailParams, RcptParams};
use crate::reply::Reply;
use crate::secret::Secret;
use bytes::Bytes;
use std::time::Duration;

/// What the caller has to do next.
#[derive(Debug)]
pub enum Step<'a, T> {
    /// Write the output, then read more input.
    Read,
    /// The client named itself. Nothing to answer: the reply is written.
    Hello {
        /// The name it gave.
        name: &'a str,
        /// EHLO rather than HELO.
        extended: bool,
    },
    /// MAIL: answer with [`super::Session::answer_mail`].
    Mail {
        /// Reverse path; `None` is the null path `<>`.
        sender: Option<Address>,
        /// Its parameters.
        params: MailParams,
    },
    /// RCPT: answer with [`super::Session::answer_rcpt`].
    Rcpt {
        /// The transaction so far.
        transaction: &'a mut T,
        /// Forward path; a bare `Postmaster` has our hostname as its domain.
        recipient: Address,
        /// Its parameters.
        params: RcptParams,
    },
    /// DATA or the first BDAT, with at least one recipient: answer with [`super::Session::answer_data`]. A
    /// refusal ends the transaction (octets of a refused BDAT are drained).
    Data {
        /// The transaction.
        transaction: &'a mut T,
    },
    /// Canonical content of the message, to be written away. Nothing to answer. After a write that
    /// failed the caller keeps what it needs in `T` and goes on: the content is drained,
    /// and [`Step::Message`] is where it says so.
    Content {
        /// The transaction.
        transaction: &'a mut T,
        /// A piece of it, at least one octet and often no more: gather small ones before writing.
        chunk: Bytes,
    },
    /// The message is complete and within limits: answer with [`super::Session::answer_message`].
    Message {
        /// The transaction, which is over with this step.
        transaction: T,
        /// What was learnt of the content.
        info: BodyInfo,
    },
    /// The message broke a limit; it was drained and refused, the reply is written.
    /// For the log.
    Refused {
        /// The transaction, which is over.
        transaction: T,
        /// The reply it got.
        reply: Reply,
    },
    /// STARTTLS was accepted, any mail is gone. Write the output, throw away what was read but not used, do the
    /// handshake, and go on with a new session ([`super::Session::secured`]). This one only says [`Step::Close`] now.
    StartTls,
    /// AUTH: answer with [`super::Session::answer_auth`].
    Auth {
        /// One of the mechanisms offered, as [`super::AuthOffer::Mechanisms`] writes it.
        mechanism: &'static str,
        /// What the client says without being asked; `Some` of no octets when it says so (`=`).
        initial: Option<Secret>,
    },
    /// The response to a challenge: answer with [`super::Session::answer_auth`].
    AuthResponse(Secret),
    /// The exchange is over without a decision (the client cancelled it, or sent what is no
    /// response); the reply is written. Nothing to answer: drop what belongs to it. An exchange can end with
    /// [`Step::Close`] too.
    AuthCancelled,
    /// Something a log should know. Nothing to answer.
    Note(Note),
    /// A reply was written for a command that asked for no decision, or a decision was answered:
    /// for the counters. Nothing to answer.
    Answered {
        /// Verb in upper case; `other` for what is not a verb we know.
        verb: &'static str,
        /// Code of the reply.
        code: u16,
    },
    /// Too many errors: write the output, wait, then call [`super::Session::step`] again, which writes
    /// the reply that was held back.
    Delay(Duration),
    /// Write the output, then close the connection.
    Close,
}

/// Something noticed in passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Input arrived where the client had to wait.
    UnauthorizedPipelining,
    /// The content held bare CR or LF; they were made into CRLF.
    BareLineEnds,
    /// A command line was too long.
    LongCommandLine,
    /// The peer speaks another protocol (HTTP, TLS); the session ends.
    OtherProtocol,
    /// Too many errors, or commands that led nowhere; the session ends.
    TooManyErrors,
}
