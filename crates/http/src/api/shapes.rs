//! The JSON of the queue.

use super::header::Header;
use super::words::StateName;
use jiff::Timestamp;
use serde::Serialize;
use smtp_queue::{
    AGES, Ages, Message, MessageDetail, MessageSummary, Recipient, Released, Shape, State, Stats,
};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One page of a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing {
    /// By id, so by time of arrival.
    messages: Vec<Entry>,
    /// The `after` of the next page; null on the last.
    next: Option<String>,
}

impl Listing {
    /// What was found when `limit` messages were asked for.
    pub(super) fn new(found: Vec<MessageSummary>, limit: usize) -> Listing {
        let last = found.last().filter(|_| found.len() >= limit);
        Listing {
            next: last.map(|last| last.message.id.to_string()),
            messages: found
                .into_iter()
                .map(|one| Entry::new(one.message, one.recipients))
                .collect(),
        }
    }
}

/// A message in the queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct Entry {
    /// Its queue id.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// Empty for the null sender.
    sender: String,
    /// Octets of its content.
    size: u64,
    /// Where it came from, for people.
    origin: String,
    /// Who sent it; null without AUTH.
    account: Option<String>,
    /// In a listing those that are not final, at most 100; else all.
    recipients: Vec<RecipientEntry>,
}

/// A recipient of a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recipient)]
struct RecipientEntry {
    address: String,
    state: StateName,
    /// Attempts that ended.
    attempts: u32,
    /// When it is tried next; of a leased one when its lease ends.
    #[schema(value_type = String, format = DateTime)]
    due: Timestamp,
    /// It waits for the end of a suspension.
    suspended: bool,
    /// What the last attempt ended with, or why none is made.
    last_result: Option<String>,
}

impl Entry {
    fn new(message: Message, recipients: Vec<Recipient>) -> Entry {
        Entry {
            id: message.id.to_string(),
            received_at: message.received_at,
            sender: message
                .sender
                .map(|sender| sender.as_str().to_owned())
                .unwrap_or_default(),
            size: message.size,
            origin: message.options.origin,
            account: message.options.account,
            recipients: recipients.into_iter().map(RecipientEntry::new).collect(),
        }
    }
}

impl RecipientEntry {
    fn new(recipient: Recipient) -> RecipientEntry {
        RecipientEntry {
            address: recipient.address.as_str().to_owned(),
            state: StateName(recipient.state),
            attempts: recipient.attempts,
            due: recipient.due,
            suspended: recipient.parked,
            last_result: recipient.last_result,
        }
    }
}

/// A message with its header.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageInFull)]
pub(crate) struct InFull {
    #[serde(flatten)]
    message: Entry,
    /// Its header section, at most 64 KiB of it; null when the content cannot be read.
    header: Option<String>,
    /// Whether the header goes on behind that.
    header_cut: bool,
}

impl InFull {
    pub(super) fn new(found: MessageDetail, header: Option<Header>) -> InFull {
        InFull {
            message: Entry::new(found.message, found.recipients),
            header_cut: header.as_ref().is_some_and(|header| header.cut),
            header: header.map(|header| header.text),
        }
    }
}

/// Figures of the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Messages with a recipient that is not done.
    messages: u64,
    /// Octets of their contents.
    bytes: u64,
    /// Recipients by state; every state is there.
    recipients: BTreeMap<&'static str, u64>,
    /// When the oldest unclaimed recipient became due; null while nothing that is due waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_due: Option<Timestamp>,
    /// Recipients that are due and unclaimed, counted up to 50,000.
    due: u64,
}

impl From<Stats> for Totals {
    fn from(stats: Stats) -> Totals {
        let names = State::ALL.map(State::name);
        Totals {
            messages: stats.messages,
            bytes: stats.bytes,
            recipients: names.into_iter().zip(stats.recipients).collect(),
            oldest_due: stats.oldest_due,
            due: stats.due,
        }
    }
}

/// The queue by domain and age.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shape)]
pub(crate) struct ShapeEntry {
    /// Bounds of ages in minutes. A count's place is that of the first bound that it is younger than; the last counts are older than all.
    bounds: Vec<u32>,
    /// Recipients that are not final, by age.
    total: Vec<u64>,
    /// Domains, those with most recipients first.
    domains: Vec<DomainShape>,
}

/// What waits of one domain.
#[derive(Debug, Serialize, ToSchema)]
struct DomainShape {
    /// Its name; empty for the null sender.
    domain: String,
    /// Recipients in all.
    recipients: u64,
    /// Recipients by age.
    ages: Vec<u64>,
}

impl ShapeEntry {
    /// A shape, of at most so many domains.
    pub(super) fn new(shape: Shape, limit: usize) -> ShapeEntry {
        let one = |(domain, ages): (String, Ages)| DomainShape {
            domain,
            recipients: ages.iter().sum(),
            ages: ages.to_vec(),
        };
        ShapeEntry {
            bounds: AGES.to_vec(),
            total: shape.total.to_vec(),
            domains: shape.domains.into_iter().take(limit).map(one).collect(),
        }
    }
}

/// What a change did, or with `dry_run` would do.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Touched {
    /// Messages.
    pub(super) touched: u64,
    /// It ended early and there may be more: ask the same again with this as `after`. Null when all is done.
    pub(super) next: Option<String>,
    /// After a release: messages of which something still cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    still_quarantined: Option<u64>,
    /// After a release: why, for the first 100 of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unreadable: Option<Vec<Unreadable>>,
}

/// A message that cannot be read.
#[derive(Debug, Serialize, ToSchema)]
struct Unreadable {
    /// Its id, or without a readable one the store's name for it.
    id: String,
    reason: String,
}

impl Touched {
    /// So many messages, and that is all.
    pub(super) fn all(touched: u64) -> Touched {
        Touched {
            touched,
            ..Touched::default()
        }
    }

    /// Adds what became of messages in quarantine.
    pub(super) fn released(&mut self, released: Released) {
        self.touched += released.messages;
        *self.still_quarantined.get_or_insert_default() += released.still;
        let named = self.unreadable.get_or_insert_default();
        let room = UNREADABLE.saturating_sub(named.len());
        let reasons = released.unreadable.into_iter().take(room);
        named.extend(reasons.map(|one| Unreadable {
            id: one.id,
            reason: one.reason,
        }));
    }
}

/// Messages in quarantine that are named.
const UNREADABLE: usize = 100;
