//! Reads the content of DATA and BDAT, and settles what becomes of it.

use super::state::{Event, Mail, State};
use super::{Note, Session, replies};
use crate::body::{Piece, Reader};
use crate::command::Verb;
use crate::reply::Reply;
use bytes::{Buf, BytesMut};
use std::mem;

impl<T> Session<T> {
    pub(super) fn read_content(&mut self, input: &mut BytesMut) -> Option<Event<T>> {
        match mem::replace(&mut self.state, State::Idle) {
            State::Data { mail, reader } => self.read_data(mail, reader, input),
            State::Chunk {
                mail,
                reader,
                left,
                last,
            } => self.read_chunk(mail, reader, left, last, input),
            State::Drain { mail, reply, left } => self.drain(mail, reply, left, input),
            State::Complete { mail, reader, verb } => Some(self.settle(*mail, &reader, verb)),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn read_data(
        &mut self,
        mail: Box<Mail<T>>,
        mut reader: Reader,
        input: &mut BytesMut,
    ) -> Option<Event<T>> {
        match reader.next(input) {
            Piece::End => {
                self.complete(mail, reader, Verb::Data);
                None
            }
            piece => {
                self.state = State::Data { mail, reader };
                Some(content_event(piece))
            }
        }
    }

    fn read_chunk(
        &mut self,
        mail: Box<Mail<T>>,
        mut reader: Reader,
        mut left: u64,
        last: bool,
        input: &mut BytesMut,
    ) -> Option<Event<T>> {
        match reader.next_of_chunk(input, &mut left, last) {
            // A message that broke a limit has no use for further chunks: each gets 503.
            Piece::End if last || reader.breach().is_some() => self.complete(mail, reader, Verb::Bdat),
            Piece::End => {
                self.write(Verb::Bdat, &replies::chunk_taken(reader.info().size));
                self.state = State::Chunks { mail, reader };
            }
            piece => {
                self.state = State::Chunk {
                    mail,
                    reader,
                    left,
                    last,
                };
                return Some(content_event(piece));
            }
        }
        None
    }

    /// The content is there; what was odd about it is said first.
    fn complete(&mut self, mail: Box<Mail<T>>, reader: Reader, verb: Verb) {
        if reader.info().bare_line_ends > 0 {
            self.note(Note::BareLineEnds);
        }
        self.state = State::Complete { mail, reader, verb };
    }

    /// Hands the message over, or refuses it for the limit it broke.
    fn settle(&mut self, mail: Mail<T>, reader: &Reader, verb: Verb) -> Event<T> {
        let transaction = mail.transaction;
        match reader.breach() {
            None => {
                self.state = State::AwaitMessage(verb);
                Event::Message {
                    transaction,
                    info: reader.info(),
                }
            }
            Some(breach) => {
                let reply = replies::breach(breach, &self.settings);
                self.answer_content(verb, &reply);
                Event::Refused { transaction, reply }
            }
        }
    }

    /// Answers [`super::Step::Message`]. Does nothing without such a step.
    pub fn answer_message(&mut self, reply: Reply) {
        if let State::AwaitMessage(verb) = self.state {
            self.state = State::Idle;
            self.answer_content(verb, &reply);
        }
    }

    /// Reads octets that are not taken.
    fn drain(
        &mut self,
        mail: Option<Box<Mail<T>>>,
        reply: Reply,
        left: u64,
        input: &mut BytesMut,
    ) -> Option<Event<T>> {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        input.advance(here);
        let left = left - here as u64;
        if left > 0 {
            self.state = State::Drain { mail, reply, left };
            return Some(Event::Read);
        }
        self.state = mail.map_or(State::Idle, State::Envelope);
        self.answer_drained(&reply);
        None
    }
}

fn content_event<T>(piece: Piece) -> Event<T> {
    match piece {
        Piece::Content(chunk) => Event::Content(chunk),
        Piece::More | Piece::End => Event::Read,
    }
}
