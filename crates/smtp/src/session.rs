//! The receiving end of a conversation.
//!
//! The caller reads octets into a buffer and calls [`Session::step`] until it
//! answers [`Step::Read`]. Replies gather in [`Session::output`], so that a
//! pipelined burst is answered in one write: the caller writes them whenever it
//! is about to wait (for input, for a delay, or for a decision that takes long).
//! `std::mem::take` of the output gives its memory back too: a session at rest then holds none.
//!
//! Promises: no panic whatever the octets; one reply for each command and each response of AUTH, in their
//! order (and one more at the end of content), however the input was split; after the reply that
//! [`Step::Close`] or [`Step::StartTls`] follows nothing more is read.
//!
//! Where to look: `line` cuts lines, `commands` decides on commands without a mail, `auth` on STARTTLS and
//! AUTH, `mail` on MAIL, RCPT, DATA and BDAT, `content` reads messages, `answers` writes, counts and delays
//! replies, `replies` holds our own ones, `settings` and `step` are what comes from the caller and what goes
//! to it, and `state` is all a session can be in.
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
mod settings;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use auth::AuthAnswer;
pub use settings::{AuthOffer, Settings, Tls};
pub use step::{Note, Step};

use crate::reply::Reply;
use answers::Due;
use bytes::BytesMut;
use line::Lines;
use state::{Event, Peer, State};
use std::sync::Arc;

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
