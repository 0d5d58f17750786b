//! The sending end of a conversation: SMTP, and LMTP with its reply per recipient.
//!
//! The caller connects, then feeds what the server says to [`Client::step`] and writes
//! [`Client::output`] before it reads. One client carries many transactions,
//! one after the other.

use crate::address::Address;
use crate::params::{BodyType, MailParams, RcptParams};
use crate::reply::Reply;
use bytes::BytesMut;
use std::time::Duration;

/// What a server said it can do (RFC 5321 4.1.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It answered EHLO rather than HELO.
    pub extended: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): `Some(0)` is "no fixed limit".
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// LIMITS RCPTMAX (RFC 9422).
    pub rcpt_max: Option<usize>,
    /// LIMITS MAILMAX (RFC 9422).
    pub mail_max: Option<usize>,
}

impl Capabilities {
    /// Reads them from a positive reply to EHLO.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let _ = reply;
        todo!()
    }
}

/// Where in the conversation a client waits; each has its time-out (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// For the greeting: 5 minutes.
    Greeting,
    /// For the reply to EHLO, HELO or LHLO: 5 minutes.
    Hello,
    /// For the reply to STARTTLS: 2 minutes.
    StartTls,
    /// For the reply to MAIL: 5 minutes.
    Mail,
    /// For the reply to RCPT: 5 minutes.
    Rcpt,
    /// For the reply to DATA: 2 minutes.
    Data,
    /// While content is sent: 3 minutes a block.
    Content,
    /// For the reply after the final dot: 10 minutes.
    Final,
    /// For the reply to RSET: 20 seconds.
    Reset,
    /// For the reply to QUIT: 5 seconds.
    Quit,
    /// Between transactions.
    Idle,
}

impl Phase {
    /// How long to wait in this phase.
    pub fn timeout(self) -> Duration {
        todo!()
    }
    /// The name a log uses: `greeting`, `EHLO`, `MAIL`, `end of data`…
    pub fn name(self) -> &'static str {
        todo!()
    }
}

/// One message to be sent to some recipients.
#[derive(Clone, Debug)]
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
    /// At least one recipient.
    pub recipients: Vec<(Address, RcptParams)>,
}

/// What became of a transaction, for each recipient in the order given.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One for each recipient: the reply that decided, and at which phase.
    pub recipients: Vec<(Phase, Reply)>,
}

/// What the caller has to do next.
#[derive(Debug)]
pub enum ClientStep {
    /// Write the output, then read more; wait as long as [`Client::phase`] says.
    Read,
    /// The server answered EHLO (or HELO): [`Client::begin`] may be called, or
    /// [`Client::start_tls`].
    Ready,
    /// The server agreed to STARTTLS: wrap the stream, then call [`Client::tls_started`].
    StartTls,
    /// Write the output, then the content (stuffed for DATA, as it is for BDAT), then call [`Client::content_sent`].
    SendContent {
        /// By BDAT: the chunk's command is in the output, the content follows unstuffed.
        chunked: bool,
    },
    /// The transaction is over; [`Client::begin`] may be called again.
    Finished(Outcome),
    /// The server refused us at the greeting or at EHLO, or said 421: close.
    Refused {
        /// Where.
        phase: Phase,
        /// What it said.
        reply: Reply,
    },
    /// QUIT was answered: close.
    Closed,
}

/// The server broke the protocol; the connection cannot be used any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Not a reply.
    Malformed(String),
    /// A reply line over [`crate::limits::REPLY_LINE`], or a reply of more than [`crate::limits::REPLY_LINES`] lines.
    TooLong,
    /// A reply where none was due: before our command, or together with STARTTLS's.
    Unexpected(Reply),
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    output: Vec<u8>,
    capabilities: Capabilities,
    body: BodyType,
}

impl Client {
    /// A client that waits for the greeting. `name` is what EHLO says.
    pub fn new(name: &str, lmtp: bool) -> Self {
        let _ = (name, lmtp);
        Client { output: Vec::new(), capabilities: Capabilities::default(), body: BodyType::SevenBit }
    }
    /// Goes on with what is in `input`, taking from it what is used.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        let _ = (input, self.body);
        todo!()
    }
    /// Commands to be written. The caller empties it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }
    /// What the server can do, known from [`ClientStep::Ready`] on.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    /// What the client waits for.
    pub fn phase(&self) -> Phase {
        todo!()
    }
    /// Asks for TLS. Only when ready and the server offers it.
    pub fn start_tls(&mut self) {
        todo!()
    }
    /// TLS is up: everything learnt so far is forgotten and EHLO is sent again.
    pub fn tls_started(&mut self) {
        todo!()
    }
    /// Starts a transaction: `Err` with what every recipient gets when the server
    /// cannot take this message at all (SIZE, 8BITMIME, SMTPUTF8, BINARYMIME), without a word to it.
    pub fn begin(&mut self, message: Outgoing) -> Result<(), Reply> {
        let _ = message;
        todo!()
    }
    /// The content was written, its end included.
    pub fn content_sent(&mut self) {
        todo!()
    }
    /// Says QUIT.
    pub fn quit(&mut self) {
        todo!()
    }
}
