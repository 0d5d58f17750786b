//! The JSON of the queue.
//!
//! A message: `id`, `received_at`, `sender` (`""` is the null sender), `size` in octets, `origin`
//! (where it came from, for people), `account` (who sent it, or null) and `recipients`, each with `address`, `state`, `attempts`,
//! `due` (RFC 3339; for `leased` the lease's end), `suspended` (it waits for the end of a suspension) and `last_result` (text or null).

use jiff::Timestamp;
use serde::Serialize;
use smtp_queue::{Message, Recipient, Released, State, Stats, Unreadable};
use std::collections::BTreeMap;

/// One page of a listing.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    /// By id, so by time of arrival.
    pub(super) messages: Vec<Entry>,
    /// The `after` of the next page; null on the last.
    pub(super) next: Option<String>,
}

/// One message.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    id: String,
    received_at: Timestamp,
    sender: String,
    size: u64,
    origin: String,
    account: Option<String>,
    recipients: Vec<RecipientEntry>,
}

#[derive(Debug, Serialize)]
struct RecipientEntry {
    address: String,
    state: &'static str,
    attempts: u32,
    due: Timestamp,
    suspended: bool,
    last_result: Option<String>,
}

impl Entry {
    pub(super) fn new(message: Message, recipients: Vec<Recipient>) -> Entry {
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
            state: recipient.state.name(),
            attempts: recipient.attempts,
            due: recipient.due,
            suspended: recipient.parked,
            last_result: recipient.last_result,
        }
    }
}

/// The answer of `GET /api/v1/queue/stats`.
#[derive(Debug, Serialize)]
pub(crate) struct Totals {
    /// Messages with a recipient that is not done.
    messages: u64,
    /// Octets of their contents.
    bytes: u64,
    /// Recipients by state; every state is there.
    recipients: BTreeMap<&'static str, u64>,
    /// When the oldest unclaimed recipient became due.
    oldest_due: Option<Timestamp>,
}

impl From<Stats> for Totals {
    fn from(stats: Stats) -> Totals {
        let names = State::ALL.map(State::name);
        Totals {
            messages: stats.messages,
            bytes: stats.bytes,
            recipients: names.into_iter().zip(stats.recipients).collect(),
            oldest_due: stats.oldest_due,
        }
    }
}

/// The answer to a change.
#[derive(Debug, Serialize)]
pub(crate) struct Touched {
    /// Messages changed, or with `dry_run` those that would be.
    pub(super) touched: u64,
    /// After a bounce: there are more, ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
    /// After a release.
    #[serde(flatten)]
    kept: Option<Kept>,
}

/// What stays in quarantine.
#[derive(Debug, Serialize)]
struct Kept {
    /// Messages of which something still cannot be read.
    still_quarantined: u64,
    /// Why, for the first 100 of them.
    unreadable: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    id: String,
    reason: String,
}

impl Touched {
    pub(super) fn new(touched: u64) -> Touched {
        Touched {
            touched,
            more: None,
            kept: None,
        }
    }

    pub(super) fn bounced(touched: u64, more: bool) -> Touched {
        Touched {
            more: Some(more),
            ..Touched::new(touched)
        }
    }

    /// Messages that were held, and those that were in quarantine.
    pub(super) fn released(held: u64, released: Released) -> Touched {
        let reason = |one: Unreadable| Reason {
            id: one.id,
            reason: one.reason,
        };
        Touched {
            kept: Some(Kept {
                still_quarantined: released.still,
                unreadable: released.unreadable.into_iter().map(reason).collect(),
            }),
            ..Touched::new(held + released.messages)
        }
    }
}
