//! The sending end of a conversation: SMTP, and LMTP with its reply per recipient.
//!
//! The caller connects, then feeds what the server says to [`Client::step`] and writes
//! [`Client::output`] before it reads. One client carries many transactions,
//! one after the other.
//!
//! Promises: every reply is matched with its command, in order, and one that nobody asked for ends
//! the connection; every recipient of a transaction gets exactly one outcome; at most 100
//! commands are in flight, so that neither side can block the other.

mod auth;
mod capabilities;
mod envelope;
mod phase;
mod reactions;
mod step;
#[cfg(test)]
mod tests;
mod transaction;

pub use capabilities::Capabilities;
pub use phase::Phase;
pub use step::{ClientError, ClientStep};

use crate::address::Address;
use crate::params::{MailParams, RcptParams};
use crate::reply::{Enhanced, Reply, ReplyReader};
use auth::Auth;
use bytes::BytesMut;
use phase::Due;
use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use transaction::Transaction;

/// Most commands sent ahead of their replies. With more, a server could block on writing replies
/// that we do not read while we block on writing commands (RFC 2920 3.1).
const WINDOW: usize = 100;

const UNUSABLE: Reply = Reply::new(421, Enhanced(4, 4, 2), "The connection takes no more messages");

/// One message to be sent to some recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Reverse path.
    pub sender: Option<Address>,
    /// Parameters of MAIL; what the server does not offer is left out, if the content allows it.
    pub params: MailParams,
    /// The content holds octets above 127.
    pub has_8bit: bool,
    /// The header holds octets above 127.
    pub header_8bit: bool,
    /// Octets of canonical content.
    pub size: u64,
    /// At least one recipient, and at most [`Capabilities::rcpt_max`]: the caller splits.
    pub recipients: Vec<(Address, RcptParams)>,
}

/// What became of a transaction, for each recipient in the order given.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One for each recipient: the reply that decided, and at which phase.
    pub recipients: Vec<(Phase, Reply)>,
}

/// Commands to be written. AUTH is among them: nothing of them is shown.
#[derive(Default)]
struct Output(Vec<u8>);

impl Debug for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    name: Box<str>,
    lmtp: bool,
    output: Output,
    reader: ReplyReader,
    capabilities: Capabilities,
    auth: Auth,
    /// Replies the server owes us, in order.
    due: VecDeque<Due>,
    transaction: Option<Transaction>,
    /// The one after it, whose commands left with the end of its content.
    next: Option<Transaction>,
    /// The caller is sending content.
    in_content: bool,
    after_final_dot: bool,
    /// The server answered EHLO or HELO.
    ready: bool,
    /// A transaction failed halfway: RSET comes before the next.
    reset_needed: bool,
    /// The rest of the input was there before the command that it would answer.
    early_input: bool,
    /// Nothing may be said any longer.
    ended: bool,
    /// Transactions begun since EHLO.
    transactions: usize,
    /// The transaction in progress was begun with the end of the one before, and nobody has gone on with it.
    ahead: bool,
}

impl Client {
    /// A client that waits for the greeting. `name` is what EHLO says.
    pub fn new(name: &str, lmtp: bool) -> Self {
        Client {
            name: name.chars().filter(char::is_ascii_graphic).collect(),
            lmtp,
            output: Output::default(),
            reader: ReplyReader::default(),
            capabilities: Capabilities::default(),
            auth: Auth::None,
            due: VecDeque::from([Due::Greeting]),
            transaction: None,
            next: None,
            in_content: false,
            after_final_dot: false,
            ready: false,
            reset_needed: false,
            early_input: false,
            ended: false,
            transactions: 0,
            ahead: false,
        }
    }

    /// Goes on with what is in `input`, taking from it what is used.
    ///
    /// While content is being sent it may be called too, to see whether the server refused in the
    /// middle: it then answers [`ClientStep::Finished`], and the rest must not be sent.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        while !self.ended {
            match self.read_reply(input) {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    self.output.0.clear();
                    return Err(error);
                }
            }
        }
        Ok(ClientStep::Closed)
    }

    /// Takes one reply, if it is there.
    fn read_reply(&mut self, input: &mut BytesMut) -> Result<Option<ClientStep>, ClientError> {
        match self.reader.read(input)? {
            Some(reply) => self.take_reply(reply, !input.is_empty()),
            None => Ok(Some(ClientStep::Read)),
        }
    }

    /// Commands to be written. The caller empties it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output.0
    }

    /// What the server can do, known from [`ClientStep::Ready`] on.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether RET, ENVID, NOTIFY and ORCPT are passed on. If not, it is for the caller to report a
    /// success as `relayed` (RFC 3461 5.2.2).
    pub fn passes_dsn(&self) -> bool {
        self.capabilities.dsn
    }

    /// What the client waits for: the oldest reply that is due.
    pub fn phase(&self) -> Phase {
        match self.due.front() {
            Some(due) => due.phase(),
            None if self.in_content => Phase::Content,
            None => Phase::Idle,
        }
    }

    /// Whether [`Client::begin`] may be called now. After a transaction: no when the server said 421, broke the
    /// protocol, or has had as many transactions as it takes (LIMITS MAILMAX).
    pub fn is_usable(&self) -> bool {
        self.ready
            && !self.ended
            && !self.early_input
            && self.transaction.is_none()
            && self.due.is_empty()
            && !self.is_challenged()
            && self
                .capabilities
                .mail_max
                .is_none_or(|most| self.transactions < most)
    }

    /// Whether content and its end were sent and not every reply to it came: the server may have the
    /// message, and a lost connection now may lead to a duplicate.
    pub fn after_final_dot(&self) -> bool {
        self.after_final_dot
    }

    /// Asks for TLS. Only when ready and the server offers it; otherwise nothing happens.
    pub fn start_tls(&mut self) {
        if self.is_usable() {
            self.say("STARTTLS\r\n", Due::StartTls);
        }
    }

    /// TLS is up: everything learnt so far is forgotten and EHLO is sent again.
    pub fn tls_started(&mut self) {
        self.reader = ReplyReader::default();
        self.capabilities = Capabilities::default();
        self.auth = Auth::None;
        self.output.0.clear();
        self.due.clear();
        self.ready = false;
        self.reset_needed = false;
        self.early_input = false;
        self.transactions = 0;
        self.say_hello();
    }

    /// Starts a transaction: `Err` with what every recipient gets when the server
    /// cannot take this message at all (SIZE, 8BITMIME, SMTPUTF8, BINARYMIME), without a word to it;
    /// or with a 421 when the client is not usable.
    ///
    /// One recipient with a non-ASCII address makes the whole message need SMTPUTF8: the caller
    /// may split.
    ///
    /// After [`Client::begin_ahead`] it goes on with that message. Any other gets the 421: the connection is in the middle
    /// of a transaction, and can only be closed.
    pub fn begin(&mut self, message: Outgoing) -> Result<(), Reply> {
        if std::mem::take(&mut self.ahead) && !self.ended {
            if self
                .transaction
                .as_ref()
                .is_some_and(|begun| begun.is_of(&message))
            {
                self.write_commands();
                return Ok(());
            }
            return Err(UNUSABLE);
        }
        self.begin_transaction(message, false)
    }

    /// Whether [`Client::begin_ahead`] may be called once the content of the message in progress is written: the server lets us go
    /// ahead, and takes one more message.
    pub fn may_begin_ahead(&self) -> bool {
        let takes_more = self
            .capabilities
            .mail_max
            .is_none_or(|most| self.transactions < most);
        let has_room = self.due.len() < WINDOW;
        self.capabilities.pipelining && !self.ended && self.next.is_none() && takes_more && has_room
    }

    /// Starts the next transaction before the reply to the content of this one: its commands are to leave together with the end of the
    /// content (RFC 2920 3.1 has MAIL and RCPT follow it in one group, and DATA end the group). Only after
    /// [`Client::content_sent`] and where [`Client::may_begin_ahead`]; gives whether it was done.
    ///
    /// When the transaction in progress is finished, [`Client::begin`] goes on with this one. Nothing of it has an outcome before that: where
    /// the connection ends, it was not begun.
    pub fn begin_ahead(&mut self, message: Outgoing) -> bool {
        let fits = !message.recipients.is_empty() && envelope::check(&message, &self.capabilities).is_ok();
        if !self.after_final_dot || !self.may_begin_ahead() || !fits {
            return false;
        }
        self.transactions += 1;
        self.next = Some(Transaction::new(message, false));
        self.write_commands();
        true
    }

    /// Asks whether the server takes mail for the recipients: like [`Client::begin`], but it ends before DATA. What becomes
    /// of it is [`ClientStep::Finished`], with the reply to RCPT where MAIL was accepted.
    pub fn probe(&mut self, message: Outgoing) -> Result<(), Reply> {
        self.begin_transaction(message, true)
    }

    fn begin_transaction(&mut self, message: Outgoing, probe: bool) -> Result<(), Reply> {
        const NOBODY: Reply = Reply::new(554, Enhanced(5, 5, 1), "No recipients");
        if !self.is_usable() {
            return Err(UNUSABLE);
        }
        if message.recipients.is_empty() {
            return Err(NOBODY);
        }
        envelope::check(&message, &self.capabilities)?;
        self.transactions += 1;
        self.transaction = Some(Transaction::new(message, probe));
        if std::mem::take(&mut self.reset_needed) {
            self.say("RSET\r\n", Due::Reset);
        }
        self.write_commands();
        Ok(())
    }

    /// The content was written, its end included.
    pub fn content_sent(&mut self) {
        let Some(transaction) = self.transaction.as_ref().filter(|_| self.in_content) else {
            return;
        };
        self.in_content = false;
        self.after_final_dot = true;
        if self.lmtp {
            self.due.extend(transaction.undecided().map(Due::FinalOf));
        } else {
            self.due.push_back(Due::Final);
        }
    }

    /// The connection failed, timed out, or broke the protocol: what became of the transaction, if one
    /// was in progress. Recipients that were already refused, or accepted (LMTP), keep that; the others get
    /// `reply` at the current phase. The client cannot be used any longer.
    pub fn abort(&mut self, reply: &Reply) -> Option<Outcome> {
        self.ended = true;
        self.next = None;
        let phase = self.phase();
        let mut transaction = self.transaction.take()?;
        transaction.decide_rest(phase, reply);
        Some(transaction.into_outcome())
    }

    /// Says QUIT. Only between transactions; otherwise nothing happens. Where a challenge waits for its response
    /// nothing can be said, and the next step is [`ClientStep::Closed`].
    pub fn quit(&mut self) {
        self.ended |= self.is_challenged();
        if !self.ended && self.transaction.is_none() {
            self.say("QUIT\r\n", Due::Quit);
        }
    }

    fn say(&mut self, command: &str, due: Due) {
        self.output.0.extend_from_slice(command.as_bytes());
        self.due.push_back(due);
    }

    fn say_hello(&mut self) {
        let verb = if self.lmtp { "LHLO" } else { "EHLO" };
        self.say(&format!("{verb} {}\r\n", self.name), Due::Hello);
    }

    /// Writes the transaction's commands as far as the server lets us go ahead.
    fn write_commands(&mut self) {
        let window = if self.capabilities.pipelining { WINDOW } else { 1 };
        // Where there is a next one, all of the one before is written.
        let Some(transaction) = self.next.as_mut().or(self.transaction.as_mut()) else {
            return;
        };
        while self.due.len() < window
            && let Some(due) = transaction.write_next(&self.capabilities, &mut self.output.0)
        {
            self.due.push_back(due);
        }
    }
}
