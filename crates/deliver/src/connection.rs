//! One connection to one server: opened (`opening`), then message after message, by SMTP or LMTP.
//!
//! [`smtp::client`] decides what is said; this module moves the bytes and keeps the time-outs of RFC 5321
//! 4.5.3.2, each as a deadline for the whole reply. A message is streamed in blocks of at most [`BLOCK`]
//! octets, and must be taken at a least rate (`pace`). Right before its last octets leave, the caller is asked whether they may
//! ([`Gate`]); from then on a lost connection may mean that the server has the message.

mod login;
mod opening;
mod pace;
mod transfer;
mod wire;

use crate::resolve::Endpoint;
use crate::tls::Tls;
use opening::Lap;
use smtp::client::{ClientStep, Outcome, Outgoing, Phase};
use smtp::{Address, Enhanced, MailParams, RcptParams, Reply};
use smtp_config::{HopProtocol, Login, TlsPolicy};
use smtp_observe::Phases;
use smtp_queue::Body;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use wire::Wire;

pub(crate) use pace::ContentLimits;

/// Most octets of a message held at once, before stuffing.
pub(crate) const BLOCK: usize = 64 * 1024;

/// The server closes the connection (RFC 5321 3.8).
const CLOSING: u16 = 421;
const NO_ANSWER: Reply = Reply::new(451, Enhanced(4, 5, 0), "no answer");

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// The name that EHLO says.
    pub hostname: &'a str,
    /// What is spoken.
    pub protocol: HopProtocol,
    /// Whom the server knows us as.
    pub login: Option<&'a Login>,
    /// Whether the connection is secured.
    pub policy: TlsPolicy,
    /// How.
    pub tls: &'a Tls,
    /// For the TCP connection.
    pub connect_timeout: Duration,
    /// For the reply after the final dot.
    pub final_timeout: Duration,
    /// For the content.
    pub content: ContentLimits,
    /// Counts what moves: pieces read, blocks written.
    pub moves: &'a Arc<AtomicU64>,
    /// Who wants to know where it comes from.
    pub announce: Option<&'a dyn Announce>,
}

/// Hears of connections before they are made.
pub trait Announce: Debug + Send + Sync {
    /// The next one comes from this address.
    fn announce(&self, from: SocketAddr);
}

/// Asked once for a message, right before its last octets are written.
pub(crate) trait Gate: Sync {
    /// Whether they may be: the message is still ours to deliver. From here on it may have been delivered.
    fn may_commit(&self) -> bool;
}

/// Who has the message that comes next on a connection: its commands may leave together with the end of this one's content.
pub(crate) trait Following: Send {
    /// The next message, if it may be begun before the reply to this one. From then on it is the one that is sent next, or the connection is closed.
    fn begin(&mut self) -> Option<Outgoing>;
    /// Ends when the next message waits for the reply to this one no longer.
    fn waits(&mut self) -> impl Future<Output = ()> + Send;
    /// Then it goes another way.
    fn let_go(&mut self);
}

/// Nothing follows.
pub(crate) struct Nothing;

impl Following for Nothing {
    fn begin(&mut self) -> Option<Outgoing> {
        None
    }
    fn waits(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
    fn let_go(&mut self) {}
}

/// Why a connection or a message did not get through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection cannot be used (any longer); the server does not have the message. 4yz, or
    /// what the server said at its greeting, EHLO or with 421.
    Connection(Reply),
    /// TLS was offered but failed. 4yz.
    Tls(Reply),
    /// The server does not know us, or we will not show it our password. 4yz.
    Login(Reply),
    /// The connection failed after the final dot: the server may have the message. Recipients that it had
    /// refused before keep their replies, the others have a 4yz.
    AfterDot(Outcome),
    /// The gate was closed.
    Gate,
    /// The content could not be read.
    Content(std::io::Error),
}

/// An open connection, ready for messages.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    relay: String,
    name: String,
    tls: Option<String>,
    opened: Instant,
    uses: u32,
    closed: bool,
    /// Of the message that was sent last, and with the first those of the opening.
    phases: Phases,
    /// The next message was begun with the end of this one.
    ahead: bool,
    /// A message that was begun so got no answer.
    lost_ahead: bool,
}

impl Connection {
    /// Connects, and goes as far as messages can be sent: under TLS where the policy and the server want it.
    pub(crate) async fn open(endpoint: &Endpoint, settings: &Settings<'_>) -> Result<Self, Failure> {
        let relay = relay_name(endpoint);
        let (wire, phases) = opening::open(endpoint, settings, &relay).await?;
        Ok(Connection {
            phases,
            tls: wire.describe(),
            wire,
            relay,
            name: endpoint.name.clone(),
            opened: Instant::now(),
            uses: 0,
            closed: false,
            ahead: false,
            lost_ahead: false,
        })
    }

    /// Sends one message. The connection can be used again when this is `Ok` and [`Connection::is_open`].
    pub(crate) async fn send(
        &mut self,
        message: Outgoing,
        body: &Body,
        gate: &dyn Gate,
        following: &mut impl Following,
    ) -> Result<Outcome, Failure> {
        let count = message.recipients.len();
        self.uses = self.uses.saturating_add(1);
        if self.uses > 1 {
            self.phases = Phases::default();
        }
        let mut lap = Lap::start();
        match self.wire.client.begin(message) {
            Ok(()) => {}
            Err(reply) if reply.code == CLOSING => return Err(Failure::Connection(reply)),
            Err(reply) => return Ok(same_for_all(count, Phase::Mail, reply)),
        }
        let step = match std::mem::take(&mut self.ahead) {
            true => self.begun_ahead().await?,
            false => self.wire.advance().await?,
        };
        self.phases.envelope = lap.time();
        match step {
            ClientStep::Finished(outcome) => hung_up(outcome),
            ClientStep::SendContent { chunked } => self.content(count, chunked, body, gate, following).await,
            ClientStep::Refused { reply, .. } => Err(Failure::Connection(reply)),
            other => Err(self.wire.unexpected(&other)),
        }
    }

    /// Whether the server waits for a message that was begun with the end of the one before.
    pub(crate) fn has_begun(&self) -> bool {
        self.ahead
    }

    /// Whether a message got no answer that was begun before the reply to the one before: the server may not bear that.
    pub(crate) fn lost_ahead(&self) -> bool {
        self.lost_ahead
    }

    /// How long each phase of the last message took.
    pub(crate) fn phases(&self) -> Phases {
        self.phases
    }

    /// Asks whether the server takes mail for `address`, from nobody: the reply that says it, and to which command.
    pub(crate) async fn probe(&mut self, address: &Address) -> Result<(Phase, Reply), Failure> {
        let question = Outgoing {
            sender: None,
            params: MailParams::default(),
            has_8bit: false,
            header_8bit: false,
            size: 0,
            recipients: vec![(address.clone(), RcptParams::default())],
        };
        if let Err(reply) = self.wire.client.probe(question) {
            return Ok((Phase::Rcpt, reply));
        }
        match self.wire.advance().await? {
            ClientStep::Finished(outcome) => {
                let said = outcome.recipients.into_iter().next();
                said.ok_or(Failure::Connection(NO_ANSWER))
            }
            ClientStep::Refused { reply, .. } => Err(Failure::Connection(reply)),
            other => Err(self.wire.unexpected(&other)),
        }
    }

    /// Leaves the connection to somebody else, who speaks through `input` and `output` until the server closes.
    pub(crate) async fn carry(
        self,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin,
    ) -> std::io::Result<()> {
        self.wire.carry(input, output).await
    }

    /// Says QUIT and closes.
    pub(crate) async fn quit(mut self) {
        // With a message begun it is in the middle of a transaction.
        if !self.closed && !self.ahead {
            self.wire.client.quit();
            // Whatever the answer is, the connection ends here.
            let _ = timeout(Phase::Quit.timeout(), self.wire.advance()).await;
        }
    }

    /// Whether it can carry another message, and is not older than `life`.
    pub(crate) fn is_open(&self, life: Duration) -> bool {
        let used_up = self
            .wire
            .client
            .capabilities()
            .mail_max
            .is_some_and(|most| self.uses as usize >= most);
        !self.closed && !used_up && self.opened.elapsed() < life
    }

    /// What the log calls the server: `mx.example.com[192.0.2.1]:25`.
    pub(crate) fn relay(&self) -> &str {
        &self.relay
    }
    /// The server's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
    /// Version and cipher, under TLS.
    pub(crate) fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }
    /// Messages it was used for.
    pub(crate) fn uses(&self) -> u32 {
        self.uses
    }
    /// Whether the server sends reports of success itself.
    pub(crate) fn has_dsn(&self) -> bool {
        self.wire.client.passes_dsn()
    }
    /// Most recipients of one message here.
    pub(crate) fn recipient_limit(&self) -> usize {
        self.wire
            .client
            .capabilities()
            .rcpt_max
            .unwrap_or(100)
            .clamp(1, 1000)
    }
}

/// What the log calls a server.
pub(crate) fn relay_name(endpoint: &Endpoint) -> String {
    format!(
        "{}[{}]:{}",
        endpoint.name,
        endpoint.address.ip(),
        endpoint.address.port()
    )
}

fn same_for_all(count: usize, phase: Phase, reply: Reply) -> Outcome {
    Outcome {
        recipients: vec![(phase, reply); count],
    }
}

/// A server that hung up before it could have the message has answered for nobody.
fn hung_up(outcome: Outcome) -> Result<Outcome, Failure> {
    let all = outcome.recipients.iter().all(|(_, reply)| reply.code == CLOSING);
    match outcome.recipients.first() {
        Some((_, reply)) if all => Err(Failure::Connection(reply.clone())),
        _ => Ok(outcome),
    }
}
