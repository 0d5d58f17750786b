//! Writes replies, counts errors, slows down and ends sessions that make too many.

use super::state::{Event, State};
use super::{AuthAnswer, Note, Session, replies};
use crate::command::Verb;
use crate::limits;
use crate::reply::Reply;
use std::time::Duration;

/// What the caller has to be told before the session goes on.
#[derive(Debug, Default)]
pub(super) struct Due {
    note: Option<Note>,
    answered: Option<(Verb, u16)>,
    held: Option<Box<Held>>,
}

/// A reply that waits for its delay.
#[derive(Debug)]
struct Held {
    verb: Verb,
    reply: Reply,
    /// `None` once the caller was told.
    delay: Option<Duration>,
}

impl Due {
    pub(super) fn forget_held(&mut self) {
        self.held = None;
    }
}

impl<T> Session<T> {
    /// What is due before anything else.
    pub(super) fn due(&mut self) -> Option<Event<T>> {
        if let Some(note) = self.due.note.take() {
            return Some(Event::Note(note));
        }
        if let Some(mut held) = self.due.held.take() {
            if let Some(delay) = held.delay.take() {
                self.due.held = Some(held);
                return Some(Event::Delay(delay));
            }
            self.write(held.verb, &held.reply);
        }
        if let Some((verb, code)) = self.due.answered.take() {
            return Some(Event::Answered { verb, code });
        }
        self.stop_if_idle();
        None
    }

    pub(super) fn note(&mut self, note: Note) {
        self.due.note = Some(note);
    }

    /// Writes a reply that is no error of the client's, or one that must not be counted as such.
    pub(super) fn write(&mut self, verb: Verb, reply: &Reply) {
        reply.write(&mut self.output);
        self.written(verb, reply.code);
    }

    /// A reply with this code is in the output.
    pub(super) fn written(&mut self, verb: Verb, code: u16) {
        self.due.answered = Some((verb, code));
        // A client may have sent many chunks before it could know that they are not wanted.
        let leads_on = match verb {
            Verb::Bdat => true,
            Verb::Mail | Verb::Rcpt | Verb::Data => code < 400,
            _ => false,
        };
        self.fruitless = self.fruitless.saturating_add(u32::from(!leads_on));
    }

    /// Answers a command. A 5yz counts as an error; from some number on it waits, and the last
    /// one is 421 instead.
    ///
    /// 4yz do not count: they are our troubles, or the way to tell a client with many recipients to
    /// go on in another transaction.
    pub(super) fn answer(&mut self, verb: Verb, reply: Reply) {
        if !reply.is_permanent() {
            self.write(verb, &reply);
            self.close_after(&reply);
            return;
        }
        self.errors = self.errors.saturating_add(1);
        let mut reply = reply;
        if self.errors >= limits::HARD_ERRORS {
            reply = replies::TOO_MANY_ERRORS;
            self.note(Note::TooManyErrors);
            self.close_after(&reply);
        }
        if self.errors < limits::SOFT_ERRORS {
            self.write(verb, &reply);
            return;
        }
        self.due.held = Some(Box::new(Held {
            verb,
            reply,
            delay: Some(limits::ERROR_DELAY),
        }));
    }

    /// Answers the end of content. It is never replaced, since it tells whose the message is now.
    pub(super) fn answer_content(&mut self, verb: Verb, reply: &Reply) {
        if reply.is_positive() {
            self.errors = 0;
            self.fruitless = 0;
        } else if reply.is_permanent() {
            self.errors = self.errors.saturating_add(1);
        }
        self.write(verb, reply);
        self.close_after(reply);
    }

    /// Answers a chunk that was not taken. It is no further error: the client may have sent
    /// many chunks before it could know.
    pub(super) fn answer_drained(&mut self, reply: &Reply) {
        self.write(Verb::Bdat, reply);
        self.close_after(reply);
    }

    fn close_after(&mut self, reply: &Reply) {
        if reply.code == 421 {
            self.state = State::Closed;
        }
    }

    /// Writes the last reply.
    pub(super) fn close_with(&mut self, verb: Verb, reply: &Reply) {
        self.write(verb, reply);
        self.state = State::Closed;
    }

    /// The caller went on without the decision it was asked for.
    pub(super) fn answer_missing(&mut self) {
        match self.state {
            State::AwaitMail(_) => self.answer_mail(Err(replies::LOCAL_ERROR)),
            State::AwaitRcpt(_) => self.answer_rcpt(replies::LOCAL_ERROR),
            State::AwaitData(..) => self.answer_data(Err(replies::LOCAL_ERROR)),
            State::AwaitAuth => self.answer_auth(AuthAnswer::Rejected(replies::AUTH_UNDECIDED)),
            _ => self.answer_message(replies::LOCAL_ERROR),
        }
    }
}
