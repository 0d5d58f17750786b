//! MAIL, RCPT, DATA and BDAT: what they need, and what the caller's answers lead to.

use super::state::{Event, Mail, Opening, Peer, State, Terms};
use super::{AuthOffer, Session, replies};
use crate::address::Address;
use crate::body::{Limits, Reader};
use crate::command::Verb;
use crate::params::{BodyType, MailParams, RcptParams};
use crate::reply::Reply;
use std::mem;

impl<T> Session<T> {
    pub(super) fn mail(&mut self, sender: Option<Address>, params: &str) -> Option<Event<T>> {
        match self.check_mail(sender.as_ref(), params) {
            Ok(params) => {
                self.state = State::AwaitMail(Terms {
                    body: params.body,
                    smtputf8: params.smtputf8,
                });
                Some(Event::Mail { sender, params })
            }
            Err(reply) => {
                self.answer(Verb::Mail, reply);
                None
            }
        }
    }

    fn check_mail(&self, sender: Option<&Address>, text: &str) -> Result<MailParams, Reply> {
        self.check_params(text)?;
        if self.settings.auth_required && !self.authenticated {
            return Err(match self.settings.auth {
                AuthOffer::UnderTls => replies::TLS_REQUIRED,
                _ => replies::AUTH_REQUIRED,
            });
        }
        if !matches!(self.state, State::Idle) {
            return Err(replies::NESTED_MAIL);
        }
        let params =
            MailParams::parse(text, self.advertises_auth()).map_err(|error| replies::parameter(&error))?;
        let ascii = text.is_ascii() && sender.is_none_or(Address::is_ascii);
        if !ascii && !params.smtputf8 {
            return Err(replies::NEEDS_SMTPUTF8);
        }
        if params
            .size
            .is_some_and(|size| size > self.settings.max_message_size)
        {
            return Err(replies::TOO_LARGE);
        }
        Ok(params)
    }

    /// The client has to have said its name, and EHLO if it sends parameters.
    fn check_params(&self, text: &str) -> Result<(), Reply> {
        match self.peer {
            Peer::Named { extended: true, .. } => Ok(()),
            Peer::Named { extended: false, .. } if text.is_empty() => Ok(()),
            Peer::Named { extended: false, .. } => Err(replies::PARAMS_NEED_EHLO),
            Peer::Silent | Peer::Heard => Err(replies::NO_HELLO),
        }
    }

    /// Answers [`super::Step::Mail`]: the new transaction, or a refusal. Does nothing without such a step.
    pub fn answer_mail(&mut self, answer: Result<T, Reply>) {
        let State::AwaitMail(terms) = self.state else {
            return;
        };
        self.state = State::Idle;
        match answer {
            Ok(transaction) => {
                self.state = State::Envelope(Box::new(Mail {
                    transaction,
                    terms,
                    recipients: 0,
                }));
                self.write(Verb::Mail, &replies::SENDER);
            }
            Err(reply) => self.answer(Verb::Mail, reply),
        }
    }

    pub(super) fn rcpt(&mut self, recipient: Option<Address>, params: &str) -> Option<Event<T>> {
        match self.check_rcpt(recipient, params) {
            Ok((recipient, params)) => {
                self.transit(|state| match state {
                    State::Envelope(mail) => State::AwaitRcpt(mail),
                    other => other,
                });
                Some(Event::Rcpt { recipient, params })
            }
            Err(reply) => {
                self.answer(Verb::Rcpt, reply);
                None
            }
        }
    }

    fn check_rcpt(&self, recipient: Option<Address>, text: &str) -> Result<(Address, RcptParams), Reply> {
        let mail = match &self.state {
            State::Envelope(mail) => mail,
            State::Chunks { .. } => return Err(replies::RCPT_AFTER_BDAT),
            _ => return Err(replies::NO_MAIL),
        };
        self.check_params(text)?;
        let params = RcptParams::parse(text).map_err(|error| replies::parameter(&error))?;
        let ascii = text.is_ascii() && recipient.as_ref().is_none_or(Address::is_ascii);
        if !ascii && !mail.terms.smtputf8 {
            return Err(replies::NEEDS_SMTPUTF8);
        }
        if mail.recipients >= self.settings.max_recipients {
            return Err(replies::TOO_MANY_RECIPIENTS);
        }
        let recipient = match recipient {
            Some(recipient) => recipient,
            None => self.postmaster()?,
        };
        Ok((recipient, params))
    }

    /// A bare `Postmaster` is ours (RFC 5321 4.5.1).
    fn postmaster(&self) -> Result<Address, Reply> {
        Address::parse(&format!("postmaster@{}", self.settings.hostname)).map_err(|_| replies::NO_POSTMASTER)
    }

    /// Answers [`super::Step::Rcpt`]; a positive reply counts the recipient. Does nothing without such a
    /// step.
    pub fn answer_rcpt(&mut self, reply: Reply) {
        let State::AwaitRcpt(_) = self.state else { return };
        self.transit(|state| match state {
            State::AwaitRcpt(mut mail) => {
                mail.recipients += usize::from(reply.is_positive());
                State::Envelope(mail)
            }
            other => other,
        });
        self.answer(Verb::Rcpt, reply);
    }

    pub(super) fn data(&mut self) -> Option<Event<T>> {
        let refusal = match &self.state {
            State::Envelope(mail) if mail.recipients == 0 => replies::NO_RECIPIENTS,
            State::Envelope(mail) if mail.terms.body == BodyType::BinaryMime => replies::BINARY_NEEDS_BDAT,
            State::Envelope(_) => return self.ask_for_data(Opening::Data),
            State::Chunks { .. } => replies::DATA_AFTER_BDAT,
            _ => replies::NO_MAIL,
        };
        self.answer(Verb::Data, refusal);
        None
    }

    fn ask_for_data(&mut self, opening: Opening) -> Option<Event<T>> {
        self.transit(|state| match state {
            State::Envelope(mail) => State::AwaitData(mail, opening),
            other => other,
        });
        Some(Event::Data)
    }

    /// Whatever is refused, the octets of the chunk are read.
    pub(super) fn bdat(&mut self, size: u64, last: bool) -> Option<Event<T>> {
        if matches!(&self.state, State::Envelope(mail) if mail.recipients > 0) {
            return self.ask_for_data(Opening::Chunk { size, last });
        }
        self.transit(|state| match state {
            State::Chunks { mail, mut reader } => {
                reader.announce(size);
                State::Chunk {
                    mail,
                    reader,
                    left: size,
                    last,
                }
            }
            State::Envelope(mail) => State::Drain {
                mail: Some(mail),
                reply: replies::CHUNK_WITHOUT_RECIPIENTS,
                left: size,
            },
            _ => State::Drain {
                mail: None,
                reply: replies::CHUNK_WITHOUT_MAIL,
                left: size,
            },
        });
        None
    }

    /// Answers [`super::Step::Data`]. A refusal ends the transaction. Does nothing without such a step.
    pub fn answer_data(&mut self, answer: Result<(), Reply>) {
        let limits = Limits {
            size: self.settings.max_message_size,
            line: self.settings.max_line_length,
        };
        match (mem::replace(&mut self.state, State::Idle), answer) {
            (State::AwaitData(mail, Opening::Data), Ok(())) => {
                self.state = State::Data {
                    mail,
                    reader: Reader::data(limits),
                };
                self.write(Verb::Data, &replies::START);
            }
            (State::AwaitData(mail, Opening::Chunk { size, last }), Ok(())) => {
                let mut reader = Reader::chunks(limits, mail.terms.body == BodyType::BinaryMime);
                reader.announce(size);
                self.state = State::Chunk {
                    mail,
                    reader,
                    left: size,
                    last,
                };
            }
            (State::AwaitData(_, Opening::Data), Err(reply)) => self.answer(Verb::Data, reply),
            (State::AwaitData(_, Opening::Chunk { size, .. }), Err(reply)) => {
                self.state = State::Drain {
                    mail: None,
                    reply,
                    left: size,
                };
            }
            (state, _) => self.state = state,
        }
    }

    /// Moves the state by value.
    fn transit(&mut self, change: impl FnOnce(State<T>) -> State<T>) {
        self.state = change(mem::replace(&mut self.state, State::Idle));
    }
}
