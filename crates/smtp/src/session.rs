//! The receiving end of a conversation.
//!
//! The caller reads octets into a buffer and calls [`Session::step`] until it
//! answers [`Step::Read`]. Replies gather in [`Session::output`], so that a
//! pipelined burst is answered in one write: the caller writes them whenever it
//! is about to wait (for input, for a delay, or for a decision that takes long).
//!
//! `T` is the caller's own transaction: the envelope and the place where the
//! body goes. MAIL creates it, the session owns it, and every way out (the
//! final reply, RSET, EHLO, an error, a disconnect) takes it by value or drops it:
//! nothing of one mail can leak into the next.

use crate::address::Address;
use crate::body::BodyInfo;
use crate::params::{MailParams, RcptParams};
use crate::reply::Reply;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// What the session advertises and enforces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in the greeting and in EHLO's reply.
    pub hostname: String,
    /// Text of the greeting after the name.
    pub banner: String,
    /// Largest message in octets (SIZE).
    pub max_message_size: u64,
    /// Most recipients of one transaction; also advertised by LIMITS (RFC 9422).
    pub max_recipients: usize,
    /// Longest text line in octets without its CRLF.
    pub max_line_length: usize,
    /// Whether input that arrives where a client has to wait for our reply (before
    /// the greeting; after EHLO, HELO, DATA) ends the session (554 5.5.0). If not it is only
    /// reported as a [`Note`].
    pub refuse_unauthorized_pipelining: bool,
}

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
    /// MAIL: answer with [`Session::answer_mail`].
    Mail {
        /// Reverse path; `None` is the null path `<>`.
        sender: Option<Address>,
        /// Its parameters.
        params: MailParams,
    },
    /// RCPT: answer with [`Session::answer_rcpt`].
    Rcpt {
        /// The transaction so far.
        transaction: &'a mut T,
        /// Forward path; a bare `Postmaster` has our hostname as its domain.
        recipient: Address,
        /// Its parameters.
        params: RcptParams,
    },
    /// DATA or the first BDAT, with at least one recipient: answer with [`Session::answer_data`]. A
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
        /// A piece of it.
        chunk: Bytes,
    },
    /// The message is complete and within limits: answer with [`Session::answer_message`].
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
    /// Too many errors: write the output, wait, then call [`Session::step`] again.
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
    /// The peer speaks another protocol (HTTP).
    OtherProtocol,
    /// Too many errors; the session ends.
    TooManyErrors,
}

/// One session with a client.
#[derive(Debug)]
pub struct Session<T> {
    settings: Arc<Settings>,
    output: Vec<u8>,
    transaction: Option<T>,
}

impl<T> Session<T> {
    /// A session that has not greeted yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        Session {
            settings,
            output: Vec::new(),
            transaction: None,
        }
    }

    /// Writes the 220 greeting.
    pub fn greet(&mut self) {
        todo!()
    }

    /// Writes `reply` instead of a greeting (421, 554); the next step is [`Step::Close`].
    pub fn refuse(&mut self, reply: &Reply) {
        let _ = reply;
        todo!()
    }

    /// Goes on with what is in `input`, taking from it what is used.
    pub fn step<'a>(&'a mut self, input: &mut BytesMut) -> Step<'a, T> {
        let _ = (input, &self.settings, &self.transaction);
        todo!()
    }

    /// Replies to be written. The caller empties it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether the session is between commands with no transaction open: where a
    /// shutdown may end it at once.
    pub fn is_idle(&self) -> bool {
        self.transaction.is_none()
    }

    /// Whether content of a message is being read: DATA's rate limit applies.
    pub fn in_content(&self) -> bool {
        todo!()
    }

    /// Answers [`Step::Mail`]: the new transaction, or a refusal.
    pub fn answer_mail(&mut self, answer: Result<T, Reply>) {
        let _ = answer;
        todo!()
    }

    /// Answers [`Step::Rcpt`]; a positive reply counts the recipient.
    pub fn answer_rcpt(&mut self, reply: Reply) {
        let _ = reply;
        todo!()
    }

    /// Answers [`Step::Data`].
    pub fn answer_data(&mut self, answer: Result<(), Reply>) {
        let _ = answer;
        todo!()
    }

    /// Answers [`Step::Message`].
    pub fn answer_message(&mut self, reply: Reply) {
        let _ = reply;
        todo!()
    }

    /// Ends the session with `reply` (421) in place of the answer to the next
    /// command, or now when it is idle (write the output after this call). A transaction in
    /// progress may finish: its commands are answered as usual.
    pub fn shutdown(&mut self, reply: Reply) {
        let _ = reply;
        todo!()
    }
}
