//! The receiving end of a conversation.
//!
//! The caller reads octets into a buffer and calls [`Session::step`] until it
//! answers [`Step::Read`]. Replies gather in [`Session::output`], so that a
//! pipelined burst is answered in one write: the caller writes them whenever it
//! is about to wait (for input, for a delay, or for a decision that takes long).
//! `std::mem::take` of the output gives its memory back too: a session at rest then holds none.
//!
//! Promises: no panic whatever the octets; one reply for each command, in the order of the
//! commands (and one more at the end of content), however the input was split; after the reply that
//! [`Step::Close`] follows nothing more is read.
//!
//! Where to look: `line` cuts lines, `commands` decides on commands without a mail, `auth` on STARTTLS and
//! AUTH, `mail` on MAIL, RCPT, DATA and BDAT, `content` reads messages, `answers` writes, counts and delays replies,
//! `replies` holds our own ones, and `state` is all a session can be in.
//!
//! `T` is the caller's own transaction: the envelope and the place where the
//! body goes. MAIL creates it, the session owns it, and every way out (the
//! final reply, RSET, EHLO, STARTTLS, an error, a disconnect) takes it by value or drops it:
//! nothing of one mail can leak into the next. STARTTLS ends the session itself: under TLS another one
//! begins ([`Session::secured`]), and nothing can leak into that.

mod answers;
mod auth;
mod commands;
mod content;
mod line;
mod mail;
mod replies;
mod state;
#[cfg(test)]
mod tests;

use crate::address::Address;
use crate::body::BodyInfo;
use crate::params::{MailParams, RcptParams};
use crate::reply::Reply;
use crate::secret::Secret;
use answers::Due;
pub use auth::AuthAnswer;
use bytes::{Bytes, BytesMut};
use line::Lines;
use state::{Event, Peer, State};
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
    /// Whether the connection is under TLS, or can be.
    pub tls: Tls,
    /// What AUTH can be used for on this connection now.
    pub auth: AuthOffer,
    /// Whether MAIL needs AUTH before it (submission, RFC 6409 4.3): 530 5.7.0.
    pub auth_required: bool,
}

/// TLS on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// There is none to be had: STARTTLS is answered 502.
    #[default]
    Absent,
    /// In clear so far; STARTTLS is advertised.
    Offered,
    /// It is up, by STARTTLS or from the start: STARTTLS is answered 503.
    Active,
}

/// AUTH on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthOffer {
    /// There is none: AUTH is answered 502.
    #[default]
    Absent,
    /// There will be under TLS: AUTH is not advertised, and answered 538.
    UnderTls,
    /// These SASL mechanisms (RFC 4422 3.1: up to 20 capital letters, digits, `-` and `_`), at least
    /// one, best first: the order in which EHLO shows them.
    Mechanisms(Vec<&'static str>),
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
        /// A piece of it, at least one octet and often no more: gather small ones before writing.
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
    /// STARTTLS was accepted, any mail is gone. Write the output, throw away what was read but not used, do the
    /// handshake, and go on with a new session ([`Session::secured`]). This one only says [`Step::Close`] now.
    StartTls,
    /// AUTH: answer with [`Session::answer_auth`].
    Auth {
        /// One of the mechanisms offered, as [`AuthOffer::Mechanisms`] writes it.
        mechanism: &'static str,
        /// What the client says without being asked; `Some` of no octets when it says so (`=`).
        initial: Option<Secret>,
    },
    /// The response to a challenge: answer with [`Session::answer_auth`].
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
    /// Too many errors: write the output, wait, then call [`Session::step`] again, which writes
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

/// One session with a client.
///
/// A reply of 421 in any answer ends the session behind it.
#[derive(Debug)]
pub struct Session<T> {
    settings: Arc<Settings>,
    output: Vec<u8>,
    state: State<T>,
    peer: Peer,
    lines: Lines,
    /// Errors since the last message that was accepted.
    errors: u32,
    /// Commands since then that brought no message further.
    fruitless: u32,
    due: Due,
    authenticated: bool,
    /// The reply that ends the session once no mail is in progress.
    stop: Option<Box<Reply>>,
}

impl<T> Session<T> {
    /// A session that has not greeted yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        Session {
            settings,
            output: Vec::new(),
            state: State::Fresh,
            peer: Peer::Silent,
            lines: Lines::Whole,
            errors: 0,
            fruitless: 0,
            due: Due::default(),
            authenticated: false,
            stop: None,
        }
    }

    /// The session that follows STARTTLS, when the handshake is done: without a greeting, and with
    /// nothing of what was said before it (RFC 3207 4.2). `settings` are those under TLS.
    pub fn secured(settings: Arc<Settings>) -> Self {
        Session {
            state: State::Idle,
            ..Session::new(settings)
        }
    }

    /// Writes the 220 greeting.
    ///
    /// Octets that are in the input at a [`Session::step`] before this call, or before the greeting
    /// was taken from the output, came too early ([`Note::UnauthorizedPipelining`]).
    pub fn greet(&mut self) {
        if matches!(self.state, State::Fresh) {
            replies::greeting(&self.settings).write(&mut self.output);
            self.state = State::Idle;
        }
    }

    /// Writes `reply` instead of a greeting (421, 554); the next step is [`Step::Close`].
    pub fn refuse(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
        self.state = State::Closed;
    }

    /// Goes on with what is in `input`, taking from it what is used.
    ///
    /// A decision that was asked for and not answered becomes 451, for AUTH 454.
    pub fn step<'a>(&'a mut self, input: &mut BytesMut) -> Step<'a, T> {
        let event = loop {
            if let Some(event) = self.due() {
                break event;
            }
            if let Some(event) = self.advance(input) {
                break event;
            }
        };
        self.present(event)
    }

    /// One move of the machine. `None` when there is nothing to tell the caller.
    fn advance(&mut self, input: &mut BytesMut) -> Option<Event<T>> {
        match self.state {
            State::Fresh => self.before_greeting(input),
            State::Idle | State::Envelope(_) | State::Chunks { .. } | State::Challenged => self.line(input),
            State::Data { .. } | State::Chunk { .. } | State::Drain { .. } | State::Complete { .. } => {
                self.read_content(input)
            }
            State::AwaitMail(_)
            | State::AwaitRcpt(_)
            | State::AwaitData(..)
            | State::AwaitMessage(_)
            | State::AwaitAuth => {
                self.answer_missing();
                None
            }
            State::StartTls => Some(self.leave_for_tls(input)),
            State::Closed => {
                input.clear();
                Some(Event::Close)
            }
        }
    }

    /// Lends the caller what the event is about.
    fn present(&mut self, event: Event<T>) -> Step<'_, T> {
        match event {
            Event::Read => Step::Read,
            Event::Hello => match &self.peer {
                Peer::Named { name, extended } => Step::Hello {
                    name,
                    extended: *extended,
                },
                Peer::Silent | Peer::Heard => Step::Read,
            },
            Event::Mail { sender, params } => Step::Mail { sender, params },
            Event::Rcpt { recipient, params } => match self.state.transaction() {
                Some(transaction) => Step::Rcpt {
                    transaction,
                    recipient,
                    params,
                },
                None => Step::Read,
            },
            Event::Data => match self.state.transaction() {
                Some(transaction) => Step::Data { transaction },
                None => Step::Read,
            },
            Event::Content(chunk) => match self.state.transaction() {
                Some(transaction) => Step::Content { transaction, chunk },
                None => Step::Read,
            },
            Event::Message { transaction, info } => Step::Message { transaction, info },
            Event::Refused { transaction, reply } => Step::Refused { transaction, reply },
            Event::StartTls => Step::StartTls,
            Event::Auth { mechanism, initial } => Step::Auth { mechanism, initial },
            Event::AuthResponse(response) => Step::AuthResponse(response),
            Event::AuthCancelled => Step::AuthCancelled,
            Event::Note(note) => Step::Note(note),
            Event::Answered { verb, code } => Step::Answered {
                verb: verb.name(),
                code,
            },
            Event::Delay(time) => Step::Delay(time),
            Event::Close => Step::Close,
        }
    }

    /// Replies to be written. The caller empties it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether the client proved who it is: an exchange was answered with [`AuthAnswer::Accepted`].
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether the session is between commands with no transaction open and no AUTH under way: where a
    /// shutdown may end it at once.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Fresh | State::Idle | State::Closed)
    }

    /// Whether content of a message is being read, or its next chunk awaited: DATA's rate limit applies.
    pub fn in_content(&self) -> bool {
        matches!(
            self.state,
            State::Data { .. } | State::Chunk { .. } | State::Chunks { .. } | State::Drain { .. }
        )
    }

    /// Ends the session with `reply` (421) in place of the answer to the next
    /// command, or now when it is idle (write the output after this call). A transaction in
    /// progress may finish: its commands are answered as usual, and `reply` follows its end. An AUTH
    /// exchange may not: `reply` is the next answer in it. STARTTLS is answered with it, too.
    pub fn shutdown(&mut self, reply: Reply) {
        self.stop = Some(Box::new(reply));
        self.stop_if_idle();
    }

    fn stop_if_idle(&mut self) {
        if !matches!(self.state, State::Fresh | State::Idle) {
            return;
        }
        if let Some(reply) = self.stop.take() {
            self.due.forget_held();
            reply.write(&mut self.output);
            self.state = State::Closed;
        }
    }
}
