//! Reports to senders: what failed, what is late, what was delivered (RFC 3464).

use crate::resolve::Own;
use jiff::Timestamp;
use smtp::{Enhanced, Reply};
use smtp_queue::{Body, Message, NewMessage, Recipient};
use std::io;

/// What a report is about; its recipients' actions fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DsnKind {
    /// Recipients failed for good or expired: [`Action::Failed`].
    Failure,
    /// Recipients are late: [`Action::Delayed`].
    Delay,
    /// Recipients were delivered or relayed: [`Action::Delivered`], [`Action::Relayed`].
    Success,
}

/// What was done with a recipient (RFC 3464 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not delivered yet; we go on trying.
    Delayed,
    /// Handed to a server that sends no reports of success itself.
    Relayed,
    /// In the recipient's mailbox.
    Delivered,
}

/// One recipient of a report.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Whose mail.
    pub recipient: &'a Recipient,
    /// What was done.
    pub action: Action,
    /// Why.
    pub status: Enhanced,
    /// Name of the server that said `diagnostic`; `None` when it is our own finding.
    pub remote: Option<&'a str>,
    /// The reply that decided.
    pub diagnostic: Option<&'a Reply>,
    /// When it was last tried.
    pub last_attempt: Timestamp,
    /// Until when we go on trying; for [`Action::Delayed`].
    pub will_retry_until: Option<Timestamp>,
}

/// What a report returns of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// All of it.
    Whole(Vec<u8>),
    /// Its header, or as much of it as is returned.
    Headers(Vec<u8>),
}

/// Reads what a report of `kind` about `message` returns of its content: bounded, off the reactor.
/// `body` is only read as far as needed.
pub async fn returned_content(message: &Message, kind: DsnKind, body: &Body) -> io::Result<Returned> {
    let _ = (message, kind, body);
    todo!()
}

/// The report to the sender of `message`; `None` when it has no sender or `recipients` is empty.
pub fn report(
    kind: DsnKind,
    message: &Message,
    recipients: &[Reported<'_>],
    content: &Returned,
    own: &Own,
) -> Option<NewMessage> {
    let _ = (kind, message, recipients, content, own);
    todo!()
}
