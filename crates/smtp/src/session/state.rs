//! All that a session can be in, each with what it needs and nothing else.
//!
//! A mail lives in a variant and moves from one to the next by value. A variant without a mail cannot
//! know anything of one: that is how a mail ends, whatever ended it.

use super::Note;
use crate::address::Address;
use crate::body::{BodyInfo, Reader};
use crate::command::Verb;
use crate::params::{BodyType, MailParams, RcptParams};
use crate::reply::Reply;
use crate::secret::Secret;
use bytes::Bytes;
use std::time::Duration;

/// Where the conversation stands.
#[derive(Debug)]
pub(super) enum State<T> {
    /// Before the greeting.
    Fresh,
    /// Between commands, without a mail.
    Idle,
    /// MAIL waits for the caller's answer.
    AwaitMail(Terms),
    /// Between commands of a mail, before its content.
    Envelope(Box<Mail<T>>),
    /// RCPT waits for the caller's answer.
    AwaitRcpt(Box<Mail<T>>),
    /// DATA or the first BDAT waits for the caller's answer.
    AwaitData(Box<Mail<T>>, Opening),
    /// In the content of DATA.
    Data { mail: Box<Mail<T>>, reader: Reader },
    /// In a chunk of BDAT with `left` octets to come.
    Chunk {
        mail: Box<Mail<T>>,
        reader: Reader,
        left: u64,
        last: bool,
    },
    /// Between chunks.
    Chunks { mail: Box<Mail<T>>, reader: Reader },
    /// In a chunk that is not taken: `reply` after it, then back to `mail` if there is one.
    Drain {
        mail: Option<Box<Mail<T>>>,
        reply: Reply,
        left: u64,
    },
    /// Behind the end of the content.
    Complete {
        mail: Box<Mail<T>>,
        reader: Reader,
        verb: Verb,
    },
    /// The message, which the caller has now, waits for its answer.
    AwaitMessage(Verb),
    /// AUTH or a response waits for the caller's answer.
    AwaitAuth,
    /// The client has a challenge: its next line is the response.
    Challenged,
    /// STARTTLS was accepted, which the caller does not know yet.
    StartTls,
    /// Nothing is read any more.
    Closed,
}

impl<T> State<T> {
    /// The caller's part of the mail, if there is one.
    pub(super) fn transaction(&mut self) -> Option<&mut T> {
        match self {
            State::Envelope(mail)
            | State::AwaitRcpt(mail)
            | State::AwaitData(mail, _)
            | State::Data { mail, .. }
            | State::Chunk { mail, .. }
            | State::Chunks { mail, .. }
            | State::Complete { mail, .. } => Some(&mut mail.transaction),
            State::Fresh
            | State::Idle
            | State::AwaitMail(_)
            | State::Drain { .. }
            | State::AwaitMessage(_)
            | State::AwaitAuth
            | State::Challenged
            | State::StartTls
            | State::Closed => None,
        }
    }
}

/// A mail from MAIL to its end.
#[derive(Debug)]
pub(super) struct Mail<T> {
    pub(super) transaction: T,
    pub(super) terms: Terms,
    /// Recipients accepted so far.
    pub(super) recipients: usize,
}

/// What MAIL said that later commands depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) body: BodyType,
    pub(super) smtputf8: bool,
}

/// The command that opens the content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opening {
    Data,
    Chunk { size: u64, last: bool },
}

/// What we know of the client.
#[derive(Debug)]
pub(super) enum Peer {
    /// It has said nothing yet.
    Silent,
    /// It has said something, but not its name.
    Heard,
    /// It said EHLO or HELO.
    Named { name: Box<str>, extended: bool },
}

/// A [`super::Step`] that does not borrow the session yet.
#[derive(Debug)]
pub(super) enum Event<T> {
    Read,
    Hello,
    Mail {
        sender: Option<Address>,
        params: MailParams,
    },
    Rcpt {
        recipient: Address,
        params: RcptParams,
    },
    Data,
    Content(Bytes),
    Message {
        transaction: T,
        info: BodyInfo,
    },
    Refused {
        transaction: T,
        reply: Reply,
    },
    StartTls,
    Auth {
        mechanism: &'static str,
        initial: Option<Secret>,
    },
    AuthResponse(Secret),
    AuthCancelled,
    Note(Note),
    Answered {
        verb: Verb,
        code: u16,
    },
    Delay(Duration),
    Close,
}
