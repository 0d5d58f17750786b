//! One mail while it is received: its envelope, and where its content goes.
//!
//! Promises: dropped at any moment before [`Transaction::store`] is called, it leaves nothing behind; a write
//! that failed is remembered until the end of the content, and the message is then refused whole.

use crate::author::Treatment;
use crate::content::{Content, Envelope, Seen};
use crate::policy::{Origin, Policy};
use crate::quota::Taken;
use crate::received::{Literal, Trace, protocol};
use crate::tls::Secured;
use jiff::{SignedDuration, Timestamp};
use smtp::body::BodyInfo;
use smtp::params::xtext_encode;
use smtp::{Address, Enhanced, MailParams, Orcpt, RcptParams, Reply};
use smtp_directory::Snapshot;
use smtp_observe::{RejectReason, Span, SpanKind};
use smtp_queue::{MailOptions, NewMessage, NewRecipient, NoRoom, Queue, QueueId, StoreError};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// The client as a transaction knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) origin: Origin,
    pub(crate) helo: &'a str,
    pub(crate) extended: bool,
    pub(crate) tls: Option<&'a Secured>,
    pub(crate) authenticated: bool,
}

impl Client<'_> {
    /// How its mail comes, as `Received:` and the log name it.
    pub(crate) fn protocol(&self, smtputf8: bool) -> &'static str {
        protocol(self.extended, smtputf8, self.tls.is_some(), self.authenticated)
    }
}

/// Most recipients of a mail, those behind aliases counted one by one.
const MOST_RECIPIENTS: usize = 10_000;
/// So many are compared one by one; more are worth a table.
const FEW: usize = 16;

/// One mail, from MAIL to the final reply.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// What was in force when the mail began; a reload does not change it under way.
    pub(crate) policy: Arc<Policy>,
    /// As it was then.
    pub(crate) directory: Arc<Snapshot>,
    pub(crate) sender: Option<Address>,
    pub(crate) recipients: Vec<NewRecipient>,
    /// The same, once they are more than a few.
    known: HashSet<Address>,
    /// Of the account's quotas; given back unless the mail is stored.
    taken: Vec<Taken>,
    params: MailParams,
    /// When it began, as our clock showed it: for its `Received:`.
    received_at: Timestamp,
    began: Instant,
    /// What is done to its header; it knows the account, too.
    pub(crate) treatment: Treatment,
    /// What is told of it to those who trace mail.
    pub(crate) span: Span,
    /// Whether it may name a trace that it belongs to.
    traced: bool,
    content: Option<Content>,
}

/// A message that is on stable storage.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: QueueId,
    pub(crate) size: u64,
    pub(crate) message_id: Option<String>,
    /// The domain that should have had a key to sign it.
    pub(crate) unsigned: Option<Box<str>>,
}

/// Why a message was not stored.
#[derive(Debug)]
pub(crate) struct NotStored {
    pub(crate) reply: Reply,
    pub(crate) reason: RejectReason,
    /// What an operator should know and the client need not.
    pub(crate) error: Option<String>,
}

impl Transaction {
    pub(crate) fn new(
        policy: Arc<Policy>,
        directory: Arc<Snapshot>,
        treatment: Treatment,
        sender: Option<Address>,
        params: MailParams,
        taken: Option<Taken>,
    ) -> Self {
        Transaction {
            policy,
            directory,
            sender,
            recipients: Vec::new(),
            known: HashSet::new(),
            taken: taken.into_iter().collect(),
            params,
            received_at: Timestamp::now(),
            began: Instant::now(),
            treatment,
            span: Span::default(),
            traced: false,
            content: None,
        }
    }

    /// The reverse path as a log shows it; empty for the null path.
    pub(crate) fn sender_text(&self) -> &str {
        self.sender.as_ref().map_or("", Address::as_str)
    }

    /// The queue id, known from DATA on.
    pub(crate) fn id(&self) -> Option<QueueId> {
        self.content.as_ref().map(Content::id)
    }

    /// How the mail came, as `Received:` and the log name it.
    pub(crate) fn protocol(&self, client: Client<'_>) -> &'static str {
        client.protocol(self.params.smtputf8)
    }

    /// Whether so many more recipients may come.
    pub(crate) fn has_room_for(&self, recipients: usize) -> bool {
        self.recipients.len() + recipients <= MOST_RECIPIENTS
    }

    /// Adds what a recipient is resolved to. An address that is named twice gets one copy, on the terms of the first time; behind an
    /// alias reports still speak of the address that was named (RFC 3461 5.2.7).
    pub(crate) fn add_recipients(
        &mut self,
        named: &Address,
        addresses: Vec<Address>,
        params: RcptParams,
        taken: Option<Taken>,
    ) {
        self.taken.extend(taken);
        for address in addresses {
            if !self.is_new(&address) {
                continue;
            }
            let orcpt = params.orcpt.clone().or_else(|| original(named, &address));
            self.recipients.push(NewRecipient {
                address,
                notify: params.notify,
                orcpt,
            });
        }
    }

    fn is_new(&mut self, address: &Address) -> bool {
        if self.recipients.len() < FEW {
            return self.recipients.iter().all(|known| known.address != *address);
        }
        if self.known.is_empty() {
            self.known = self
                .recipients
                .iter()
                .map(|known| known.address.clone())
                .collect();
        }
        self.known.insert(address.clone())
    }

    /// Opens the place for the content and writes our `Received:` field into it.
    pub(crate) async fn open(&mut self, queue: &Queue, client: Client<'_>) {
        self.traced = self.span.is_recorded() && self.has_known_client(client);
        let id = QueueId::generate();
        let field = Trace {
            helo: client.helo,
            client: client.origin.address,
            tls: client.tls,
            hostname: &self.policy.config.server.hostname,
            protocol: self.protocol(client),
            id,
            recipient: match self.recipients.as_slice() {
                [only] => Some(&only.address),
                _ => None,
            },
            received_at: self.received_at,
        }
        .field();
        let giver = self.policy.giver(client.origin.address);
        let writer = queue.spool().writer_from(id, giver);
        self.content = Some(Content::open(id, writer, &field, &self.envelope()).await);
    }

    /// Takes a piece of the content. A failure shows at the end, in [`Transaction::store`].
    pub(crate) async fn write(&mut self, chunk: &[u8]) {
        if let Some(mut content) = self.content.take() {
            content.push(chunk, &self.envelope()).await;
            self.content = Some(content);
        }
    }

    /// Strangers do not decide what is traced.
    fn has_known_client(&self, client: Client<'_>) -> bool {
        let captured = self.policy.config.delivery.capture;
        self.treatment.author().is_some() || captured || self.policy.is_trusted(client.origin)
    }

    fn envelope(&self) -> Envelope<'_> {
        Envelope {
            treatment: &self.treatment,
            sender: self.sender.as_ref(),
            hostname: &self.policy.config.server.hostname,
            received_at: self.received_at,
            max_header: self.policy.config.limits.max_header_size,
            traced: self.traced,
        }
    }

    /// Makes the message durable, or refuses it whole. `span` becomes the message's.
    pub(crate) async fn store(
        mut self,
        queue: &Queue,
        client: Client<'_>,
        info: BodyInfo,
        span: &mut Span,
    ) -> Result<Stored, NotStored> {
        let Some(content) = self.content.take() else {
            return Err(NotStored::of_io(&io::Error::other("content without DATA")));
        };
        if info.received_fields >= self.policy.config.limits.max_hops {
            return Err(NotStored::looping(info.received_fields));
        }
        let id = content.id();
        let (body, seen) = content.finish(&self.envelope()).await?;
        let Seen {
            message_id,
            traceparent,
            unsigned,
        } = seen;
        span.becomes_message(id.to_bytes(), traceparent);
        let stored = Stored {
            id,
            size: body.size(),
            message_id: message_id.clone(),
            unsigned,
        };
        let took = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        let now = queue.now();
        let message = NewMessage {
            id,
            received_at: now.saturating_sub(took).unwrap_or(now),
            sender: self.sender,
            options: MailOptions {
                account: self
                    .treatment
                    .author()
                    .map(|author| author.account.name.to_string()),
                traceparent,
                message_id,
                ..options(self.params, info, client)
            },
            recipients: self.recipients,
            body,
        };
        let commit = span.child("queue commit", SpanKind::Internal);
        let submitted = queue.submit(message).await;
        drop(commit);
        submitted.map_err(|error| NotStored::of_store(&error))?;
        self.taken.into_iter().for_each(Taken::keep);
        Ok(stored)
    }
}

/// The ORCPT of an address that an alias led to. One beyond ASCII has none: it may not appear where only ASCII does.
fn original(named: &Address, address: &Address) -> Option<Orcpt> {
    let changed = address != named && named.is_ascii();
    changed
        .then(|| Orcpt::parse(&format!("rfc822;{}", xtext_encode(named.as_str()))))
        .flatten()
}

fn options(params: MailParams, info: BodyInfo, client: Client<'_>) -> MailOptions {
    MailOptions {
        body_type: params.body,
        smtputf8: params.smtputf8,
        has_8bit: info.has_8bit,
        header_8bit: info.header_8bit,
        ret: params.ret,
        envid: params.envid,
        origin: format!("{} {}", client.helo, Literal(client.origin.address)),
        account: None,
        traceparent: None,
        message_id: None,
    }
}

/// There is no room.
const FULL: &str = "Insufficient system storage, message not accepted; try again later";
/// It failed for another reason.
const UNSTORED: &str = "The message could not be stored; try again later";

/// A client has its share of the room for large messages, or would with this one.
pub(crate) fn over_share() -> (Reply, RejectReason) {
    let text = "Too many large messages from your address are on their way; try again later";
    let reply = Reply::new(452, Enhanced(4, 3, 1), text);
    (reply, RejectReason::RateLimited)
}

impl NotStored {
    fn looping(hops: u32) -> Self {
        let text = format!("too many hops ({hops}): this message is going round in a loop");
        NotStored {
            reply: Reply::with(554, Enhanced(5, 4, 6), text),
            reason: RejectReason::Loop,
            error: None,
        }
    }

    /// The header was refused.
    pub(crate) fn of_header(reply: Reply) -> Self {
        let reason = match reply.enhanced {
            Some(Enhanced(_, 7, _)) => RejectReason::SenderDenied,
            _ => RejectReason::BadHeader,
        };
        NotStored {
            reply,
            reason,
            error: None,
        }
    }

    pub(crate) fn header_too_large(most: usize) -> Self {
        let text = format!("the header is larger than {most} octets");
        NotStored {
            reply: Reply::with(552, Enhanced(5, 3, 4), text),
            reason: RejectReason::TooLarge,
            error: None,
        }
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        if NoRoom::of(error) == Some(NoRoom::Share) {
            return NotStored::over_share();
        }
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        match full {
            true => NotStored {
                reply: Reply::new(452, Enhanced(4, 3, 1), FULL),
                reason: RejectReason::StorageFull,
                error: Some(error.to_string()),
            },
            false => NotStored::later(RejectReason::StorageError, UNSTORED, Some(error.to_string())),
        }
    }

    /// Nothing is wrong here: others have room.
    fn over_share() -> Self {
        let (reply, reason) = over_share();
        NotStored {
            reply,
            reason,
            error: None,
        }
    }

    /// One code for every failure to store: whatever the reason, the client keeps the message and tries again.
    fn of_store(error: &StoreError) -> Self {
        // The store reports its own failures.
        match error {
            StoreError::Full(_) => NotStored::later(RejectReason::StorageFull, FULL, None),
            _ => NotStored::later(RejectReason::StorageError, UNSTORED, None),
        }
    }

    fn later(reason: RejectReason, text: &'static str, error: Option<String>) -> Self {
        NotStored {
            reply: Reply::new(451, Enhanced(4, 3, 0), text),
            reason,
            error,
        }
    }
}
