//! What a store answers.

use crate::id::QueueId;
use crate::message::{Attempt, Message, Recipient};
use jiff::Timestamp;

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct MessageSummary {
    /// The message.
    pub message: Message,
    /// Its recipients that are not final; at most 100.
    pub recipients: Vec<Recipient>,
}

/// All of one message but its content.
#[derive(Clone, Debug)]
pub struct MessageDetail {
    /// The message.
    pub message: Message,
    /// All its recipients.
    pub recipients: Vec<Recipient>,
}

/// Figures of the queue, kept incrementally; of what is due the index is counted, up to 50,000.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Messages with a recipient that is not final.
    pub messages: u64,
    /// Octets of their contents.
    pub bytes: u64,
    /// Recipients by state, in the order of [`State::ALL`](crate::State::ALL).
    pub recipients: [u64; 8],
    /// When the oldest unclaimed recipient became due, if one is.
    pub oldest_due: Option<Timestamp>,
    /// Recipients that are due and unclaimed; 50,000 when there are more. In PostgreSQL one of 5,000 or more may be 10 s old.
    pub due: u64,
}

/// What the servers that share a store tell each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// How many there are.
    pub servers: usize,
    /// The directory's revision.
    pub directory: u64,
    /// How often all were told to read their configurations again.
    pub reloads: u64,
    /// Something is due that nobody has claimed.
    pub due: bool,
    /// How often others said that something is due.
    pub announced: u64,
    /// How often suspensions were changed.
    pub suspensions: u64,
}

/// A server that shares a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its id; each start is another one.
    pub id: String,
    /// Its machine, which is the pod, and its process.
    pub name: String,
    /// Its version; empty when it is one that does not say.
    pub version: String,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it was heard of.
    pub seen: Timestamp,
    /// Whether it drains: it begins nothing.
    pub draining: bool,
    /// Recipients that it has in hand.
    pub leases: u64,
    /// Whether it is the one that was asked.
    pub this: bool,
}

/// What [`Store::finish`](super::Store::finish) did.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Messages that left the queue.
    pub removed: Vec<QueueId>,
    /// Results that came too late.
    pub fenced: Vec<Attempt>,
}

/// What [`Store::release`](super::Store::release) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Messages of which a recipient is queued again.
    pub messages: u64,
    /// Messages of which something still cannot be read.
    pub still: u64,
    /// The first 100 of these.
    pub unreadable: Vec<Unreadable>,
}

impl Released {
    /// Adds what was done to other messages.
    pub(crate) fn add(&mut self, more: Released) {
        self.messages += more.messages;
        self.still += more.still;
        self.unreadable.extend(more.unreadable);
        self.unreadable.truncate(100);
    }
}

/// A message that stays in quarantine, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id, for people: without a readable one the store's own name for it.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}
