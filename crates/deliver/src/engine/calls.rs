//! What webhooks are told of a recipient's attempt. docs/webhooks.md is its manual.

use jiff::Timestamp;
use serde::Serialize;
use smtp::{Address, Enhanced, Orcpt};
use smtp_config::{MessageEvent, Webhook};
use smtp_observe::DeliveryStatus;
use smtp_queue::{MailOptions, Message, NewCall, NewMessage, QueueId};

/// The message that something happened to.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) id: QueueId,
    pub(super) received_at: Timestamp,
    pub(super) sender: Option<&'a Address>,
    pub(super) options: &'a MailOptions,
}

impl<'a> From<&'a Message> for About<'a> {
    fn from(message: &'a Message) -> Self {
        About {
            id: message.id,
            received_at: message.received_at,
            sender: message.sender.as_ref(),
            options: &message.options,
        }
    }
}

impl<'a> From<&'a NewMessage> for About<'a> {
    fn from(message: &'a NewMessage) -> Self {
        About {
            id: message.id,
            received_at: message.received_at,
            sender: message.sender.as_ref(),
            options: &message.options,
        }
    }
}

/// What happened, to one recipient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened<'a> {
    pub(super) event: MessageEvent,
    pub(super) recipient: &'a Address,
    pub(super) orcpt: Option<&'a Orcpt>,
    /// Which attempt it was, from 1.
    pub(super) attempt: u32,
    pub(super) relay: &'a str,
    pub(super) status: Enhanced,
    pub(super) text: &'a str,
    /// When it is tried again.
    pub(super) due: Option<Timestamp>,
}

/// The calls of those webhooks that want to know.
pub(super) fn calls(webhooks: &[Webhook], about: About<'_>, happened: Happened<'_>) -> Vec<NewCall> {
    let account = about.options.account.as_deref();
    let mut wanted = webhooks
        .iter()
        .filter(|webhook| webhook.wants(happened.event, account))
        .peekable();
    if wanted.peek().is_none() {
        return Vec::new();
    }
    // Nothing in it that could not be written as JSON.
    let body = serde_json::to_string(&body(about, happened)).unwrap_or_default();
    let event = QueueId::generate();
    wanted
        .map(|webhook| NewCall {
            webhook: webhook.name.clone(),
            event,
            body: body.clone(),
        })
        .collect()
}

/// The event of an attempt that ended so.
pub(super) fn event(status: DeliveryStatus, captured: bool) -> MessageEvent {
    match status {
        DeliveryStatus::Sent if captured => MessageEvent::Captured,
        DeliveryStatus::Sent => MessageEvent::Delivered,
        DeliveryStatus::Deferred => MessageEvent::Deferred,
        DeliveryStatus::Bounced => MessageEvent::Bounced,
        DeliveryStatus::Expired => MessageEvent::Expired,
    }
}

/// What is said, in the form of Standard Webhooks.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: String,
    message_id: Option<&'a str>,
    account: Option<&'a str>,
    /// Empty for `<>`.
    sender: &'a str,
    recipient: &'a str,
    /// As it was sent, when an alias changed it.
    original_recipient: Option<String>,
    attempt: u32,
    relay: &'a str,
    status: String,
    reply: &'a str,
    received_at: String,
    next_attempt_at: Option<String>,
}

fn body<'a>(about: About<'a>, happened: Happened<'a>) -> Body<'a> {
    let recipient = happened.recipient.as_str();
    let original = happened.orcpt.map(|orcpt| orcpt.address());
    let Enhanced(class, subject, detail) = happened.status;
    Body {
        r#type: format!("message.{}", happened.event.name()),
        timestamp: written(Timestamp::now()),
        data: Data {
            id: about.id.to_string(),
            message_id: about.options.message_id.as_deref(),
            account: about.options.account.as_deref(),
            sender: about.sender.map_or("", Address::as_str),
            recipient,
            original_recipient: original.filter(|original| original != recipient),
            attempt: happened.attempt,
            relay: happened.relay,
            status: format!("{class}.{subject}.{detail}"),
            reply: happened.text,
            received_at: written(about.received_at),
            next_attempt_at: happened.due.map(written),
        },
    }
}

fn written(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
