//! The model: one message, one body, one row per recipient.
//!
//! ```text
//!            ┌──────────────── retry ──────────────┐
//!            ▼                                     │
//!  new ──▶ queued ──claim──▶ leased ──result──▶ deferred    held (by an operator)
//!            ▲                 │
//!            │                 ├──▶ delivered │ bounced │ expired      (ends)
//!            └────release──────┴──▶ quarantined                        (cannot be read)
//! ```

mod beginning;
mod outcome;

pub use beginning::{Beginning, Deferral};
pub use outcome::{Outcome, RecipientResult};

pub(crate) use beginning::Standing;

use crate::id::QueueId;
use crate::spool::Passing;
use crate::steady::Steady;
use crate::store::StoreError;
use bytes::Bytes;
use jiff::Timestamp;
use smtp::{Address, BodyType, Notify, Orcpt, Ret};
use smtp_observe::TraceContext;
use std::path::PathBuf;
use std::sync::Arc;

/// Where one recipient of one message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Never tried, or asked to be tried now.
    Queued = 0,
    /// Claimed by a worker until its lease ends.
    Leased = 1,
    /// Tried; to be tried again when it is due.
    Deferred = 2,
    /// Kept back by an operator.
    Held = 3,
    /// The next hop or the mailbox has it.
    Delivered = 4,
    /// Refused for good; its sender was told if it wanted to be.
    Bounced = 5,
    /// Given up after `delivery.expire_after`; its sender was told likewise.
    Expired = 6,
    /// Could not be read; kept until an operator mends and releases or deletes it, never deleted by us.
    Quarantined = 7,
}

impl State {
    /// Every state, in order.
    pub const ALL: [State; 8] = [
        State::Queued,
        State::Leased,
        State::Deferred,
        State::Held,
        State::Delivered,
        State::Bounced,
        State::Expired,
        State::Quarantined,
    ];
    /// The word used in metrics, API and commands.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Leased => "leased",
            State::Deferred => "deferred",
            State::Held => "held",
            State::Delivered => "delivered",
            State::Bounced => "bounced",
            State::Expired => "expired",
            State::Quarantined => "quarantined",
        }
    }
    /// The state stored as `number`; `None` for a number that means nothing.
    pub fn from_number(number: i64) -> Option<State> {
        usize::try_from(number)
            .ok()
            .and_then(|number| State::ALL.get(number))
            .copied()
    }
    /// The state of a recipient whose lease was given back, after so many attempts.
    pub(crate) fn given_back(attempts: u32) -> State {
        match attempts {
            0 => State::Queued,
            _ => State::Deferred,
        }
    }
    /// Whether the recipient is done: delivered, bounced or expired.
    pub fn is_final(self) -> bool {
        matches!(self, State::Delivered | State::Bounced | State::Expired)
    }
}

/// A message that is to be stored.
#[derive(Debug)]
pub struct NewMessage {
    /// Its id, already in its `Received:` field.
    pub id: QueueId,
    /// When reception began, by the store's clock; its own `Received:` says what the receiver's clock showed.
    pub received_at: Timestamp,
    /// Reverse path; `None` is `<>`.
    pub sender: Option<Address>,
    /// Parameters of MAIL that delivery needs.
    pub options: MailOptions,
    /// Its recipients, at least one.
    pub recipients: Vec<NewRecipient>,
    /// Its content.
    pub body: Body,
}

impl NewMessage {
    /// # Errors
    /// `Unavailable`: without recipients it could be neither delivered nor found again.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.recipients.is_empty() {
            true => Err(StoreError::Unavailable(format!(
                "message {} has no recipients",
                self.id
            ))),
            false => Ok(()),
        }
    }

    /// The claim on it, once it was stored under `key` as [`Beginning::Leased`]: as it would be read back, without body.
    pub(crate) fn claimed(&self, key: i64, due: Timestamp, until: Steady) -> Claim {
        let message = Message {
            key,
            id: self.id,
            received_at: self.received_at,
            sender: self.sender.clone(),
            options: self.options.clone(),
            size: self.body.size(),
        };
        let claimed = |(recipient, index): (&NewRecipient, u32)| ClaimedRecipient {
            recipient: Recipient {
                index,
                address: recipient.address.clone(),
                notify: recipient.notify,
                orcpt: recipient.orcpt.clone(),
                state: State::Leased,
                attempts: 0,
                due,
                delay_notified: false,
                last_result: None,
                parked: false,
            },
            epoch: 1,
        };
        Claim {
            message: Arc::new(message),
            recipients: self.recipients.iter().zip(0..).map(claimed).collect(),
            body: None,
            until,
        }
    }
}

/// What MAIL said, and what was seen of the content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailOptions {
    /// Declared body type.
    pub body_type: BodyType,
    /// SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// Octets above 127 in the content.
    pub has_8bit: bool,
    /// Octets above 127 in the header.
    pub header_8bit: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, as xtext.
    pub envid: Option<String>,
    /// Where it came from, for people: `client [192.0.2.1]`, `bounce of 01J…`.
    pub origin: String,
    /// The account that sent it.
    pub account: Option<String>,
    /// The trace that its application names it a part of.
    pub traceparent: Option<TraceContext>,
    /// `Message-ID:` as it was written, for people and programs that know the message by it.
    pub message_id: Option<String>,
}

/// A recipient of a message that is to be stored.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// Forward path.
    pub address: Address,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub orcpt: Option<Orcpt>,
}

/// A message's content: canonical, lines ending in CRLF, `Received:` included.
#[derive(Clone, Debug)]
pub enum Body {
    /// Small: held in memory and stored in the database.
    Memory(Bytes),
    /// Large: a file of the spool, complete; synced, unless it is only passing.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its octets.
        size: u64,
        /// Of a file that is only passing: it goes with the last of these.
        held: Option<Arc<Passing>>,
    },
}

impl Body {
    /// A file that stays.
    pub fn file(path: PathBuf, size: u64) -> Body {
        let held = None;
        Body::File { path, size, held }
    }

    /// Its octets.
    pub fn size(&self) -> u64 {
        match self {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::File { size, .. } => *size,
        }
    }
}

/// A message as it is stored, without its recipients and its content.
#[derive(Clone, Debug)]
pub struct Message {
    /// The store's own key; means nothing outside of it.
    pub key: i64,
    /// Its id.
    pub id: QueueId,
    /// When reception began.
    pub received_at: Timestamp,
    /// Reverse path; `None` is `<>`.
    pub sender: Option<Address>,
    /// Parameters of MAIL, and what was seen of the content.
    pub options: MailOptions,
    /// Octets of content.
    pub size: u64,
}

/// A recipient as it is stored.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Its place in the message, from 0.
    pub index: u32,
    /// Forward path.
    pub address: Address,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub orcpt: Option<Orcpt>,
    /// Where it stands.
    pub state: State,
    /// Attempts that ended.
    pub attempts: u32,
    /// When it is due; for [`State::Leased`] when the lease ends.
    pub due: Timestamp,
    /// Whether its sender was told that it is late.
    pub delay_notified: bool,
    /// What the last attempt ended with: `relay`, code and text.
    pub last_result: Option<String>,
    /// It waits for the end of a suspension.
    pub parked: bool,
}

/// A claim on some recipients of one message: who holds it may deliver them and
/// report results until the lease ends. Each recipient's epoch fences late results.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The message.
    pub message: Arc<Message>,
    /// The claimed recipients.
    pub recipients: Vec<ClaimedRecipient>,
    /// Its content, when it is still at hand from reception.
    pub body: Option<Body>,
    /// The lease does not end before that, whatever becomes of clocks; longer if renewed.
    pub until: Steady,
}

/// One recipient of a claim.
#[derive(Clone, Debug)]
pub struct ClaimedRecipient {
    /// The recipient; its state is [`State::Leased`].
    pub recipient: Recipient,
    /// Fencing epoch: it grows with every claim of this recipient.
    pub epoch: i64,
}

/// Names a lease on one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// [`Message::key`].
    pub message: i64,
    /// [`Recipient::index`].
    pub recipient: u32,
    /// [`ClaimedRecipient::epoch`].
    pub epoch: i64,
}
