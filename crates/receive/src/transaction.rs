//! One mail while it is received: its envelope, and where its content goes.
//!
//! Promises: dropped at any moment before [`Transaction::store`] is called, it leaves nothing behind; a write
//! that failed is remembered until the end of the content, and the message is then refused whole.

use crate::author::Treatment;
use crate::content::{Content, Envelope};
use crate::policy::Policy;
use crate::received::{Literal, Trace, protocol};
use crate::tls::Secured;
use jiff::Timestamp;
use smtp::body::BodyInfo;
use smtp::{Address, Enhanced, MailParams, RcptParams, Reply};
use smtp_observe::RejectReason;
use smtp_queue::{MailOptions, NewMessage, NewRecipient, Queue, QueueId, StoreError};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// The client as a transaction knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) address: IpAddr,
    pub(crate) helo: &'a str,
    pub(crate) extended: bool,
    pub(crate) tls: Option<&'a Secured>,
}

/// One mail, from MAIL to the final reply.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// What was in force when the mail began; a reload does not change it under way.
    pub(crate) policy: Arc<Policy>,
    pub(crate) sender: Option<Address>,
    pub(crate) recipients: Vec<NewRecipient>,
    params: MailParams,
    received_at: Timestamp,
    /// What is done to its header.
    pub(crate) treatment: Treatment,
    content: Option<Content>,
}

/// A message that is on stable storage.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: QueueId,
    pub(crate) size: u64,
    pub(crate) message_id: Option<String>,
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
    pub(crate) fn new(policy: Arc<Policy>, sender: Option<Address>, params: MailParams) -> Self {
        Transaction {
            policy,
            sender,
            recipients: Vec::new(),
            params,
            received_at: Timestamp::now(),
            treatment: Treatment::default(),
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
        protocol(client.extended, self.params.smtputf8, client.tls.is_some())
    }

    /// An address that is named twice gets one copy, on the terms of the first time.
    pub(crate) fn add_recipient(&mut self, address: Address, params: RcptParams) {
        if self.recipients.iter().any(|known| known.address == address) {
            return;
        }
        self.recipients.push(NewRecipient {
            address,
            notify: params.notify,
            orcpt: params.orcpt,
        });
    }

    /// Opens the place for the content and writes our `Received:` field into it.
    pub(crate) async fn open(&mut self, queue: &Queue, client: Client<'_>) {
        let id = QueueId::generate();
        let field = Trace {
            helo: client.helo,
            client: client.address,
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
        let writer = queue.spool().writer(id);
        self.content = Some(Content::open(id, writer, &field, &self.envelope()).await);
    }

    /// Takes a piece of the content. A failure shows at the end, in [`Transaction::store`].
    pub(crate) async fn write(&mut self, chunk: &[u8]) {
        if let Some(mut content) = self.content.take() {
            content.push(chunk, &self.envelope()).await;
            self.content = Some(content);
        }
    }

    fn envelope(&self) -> Envelope<'_> {
        Envelope {
            treatment: &self.treatment,
            sender: self.sender.as_ref(),
            hostname: &self.policy.config.server.hostname,
            received_at: self.received_at,
            max_header: self.policy.config.limits.max_header_size,
        }
    }

    /// Makes the message durable, or refuses it whole.
    pub(crate) async fn store(
        mut self,
        queue: &Queue,
        client: Client<'_>,
        info: BodyInfo,
    ) -> Result<Stored, NotStored> {
        let Some(content) = self.content.take() else {
            return Err(NotStored::of_io(&io::Error::other("content without DATA")));
        };
        if info.received_fields >= self.policy.config.limits.max_hops {
            return Err(NotStored::looping(info.received_fields));
        }
        let id = content.id();
        let (body, message_id) = content.finish(&self.envelope()).await?;
        let stored = Stored {
            id,
            size: body.size(),
            message_id,
        };
        let message = NewMessage {
            id,
            received_at: self.received_at,
            sender: self.sender,
            options: options(self.params, info, client),
            recipients: self.recipients,
            body,
        };
        queue
            .submit(message)
            .await
            .map_err(|error| NotStored::of_store(&error))?;
        Ok(stored)
    }
}

fn options(params: MailParams, info: BodyInfo, client: Client<'_>) -> MailOptions {
    MailOptions {
        body_type: params.body,
        smtputf8: params.smtputf8,
        has_8bit: info.has_8bit,
        header_8bit: info.header_8bit,
        ret: params.ret,
        envid: params.envid,
        origin: format!("{} {}", client.helo, Literal(client.address)),
    }
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
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        NotStored::later(full, Some(error.to_string()))
    }

    fn of_store(error: &StoreError) -> Self {
        // The store reports its own failures.
        NotStored::later(matches!(error, StoreError::Full(_)), None)
    }

    /// One code for every failure to store: whatever the reason, the client keeps the message and tries again.
    fn later(full: bool, error: Option<String>) -> Self {
        let (text, reason) = if full {
            (
                "Insufficient system storage, message not accepted; try again later",
                RejectReason::StorageFull,
            )
        } else {
            (
                "The message could not be stored; try again later",
                RejectReason::StorageError,
            )
        };
        NotStored {
            reply: Reply::new(451, Enhanced(4, 3, 0), text),
            reason,
            error,
        }
    }
}
