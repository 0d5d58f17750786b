//! Reports to senders: what failed, what is late, what was delivered.
//!
//! A report is a `multipart/report` (RFC 6522) of three parts: plain words for a person, `message/delivery-status`
//! for a program (RFC 3464), and the message or its header. It goes from `<>`, so nothing is ever reported
//! about a report. When the message was sent with SMTPUTF8 and ASCII cannot say what is reported, the parts
//! have the international forms of RFC 6533 and the report needs SMTPUTF8 itself.
//!
//! Whatever peers said (replies, envelope ids, original recipients) is text of bounded length here: no control
//! character of theirs reaches a header or a field.

mod fields;
mod returned;
mod status;
mod words;

pub(crate) use returned::{Returned, returned_content};

use crate::resolve::Own;
use bytes::Bytes;
use fields::{clean, date, field};
use jiff::Timestamp;
use memchr::memmem;
use smtp::{BodyType, Enhanced, Notify, Reply};
use smtp_queue::{Body, MailOptions, Message, NewMessage, NewRecipient, QueueId, Recipient};

/// What a report is about; its recipients' actions fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DsnKind {
    /// Recipients failed for good or expired: [`Action::Failed`].
    Failure,
    /// Recipients are late: [`Action::Delayed`].
    Delay,
    /// Recipients were delivered or relayed: [`Action::Delivered`], [`Action::Relayed`].
    Success,
}

/// What was done with a recipient (RFC 3464 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
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
pub(crate) struct Reported<'a> {
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

/// The report to the sender of `message`; `None` when it has no sender or `recipients` is empty.
pub(crate) fn report(
    kind: DsnKind,
    message: &Message,
    recipients: &[Reported<'_>],
    content: &Returned,
    own: &Own,
) -> Option<NewMessage> {
    if recipients.is_empty() {
        return None;
    }
    let sender = message.sender.clone()?;
    let draft = Draft {
        kind,
        message,
        recipients,
        content,
        hostname: clean(&own.hostname, false),
        sender: sender.as_str(),
        id: QueueId::generate(),
        now: Timestamp::now(),
        international: needs_utf8(message, recipients, content),
    };
    let (octets, header_8bit) = draft.write();
    let has_8bit = !octets.is_ascii();
    let options = MailOptions {
        body_type: if has_8bit {
            BodyType::EightBitMime
        } else {
            BodyType::SevenBit
        },
        smtputf8: draft.international,
        has_8bit,
        header_8bit,
        ret: None,
        envid: None,
        origin: format!("{} of {}", draft.noun(), message.id),
        account: None,
        traceparent: message.options.traceparent,
        message_id: Some(draft.message_id()),
    };
    Some(NewMessage {
        id: draft.id,
        received_at: draft.now,
        sender: None,
        options,
        // RFC 3461 6.1: no report about a report.
        recipients: vec![NewRecipient {
            address: sender.clone(),
            notify: Some(Notify::NEVER),
            orcpt: None,
        }],
        body: Body::Memory(Bytes::from(octets)),
    })
}

/// Whether the report has to be in the forms of RFC 6533. Only a sender that used SMTPUTF8 can read them.
fn needs_utf8(message: &Message, recipients: &[Reported<'_>], content: &Returned) -> bool {
    let ascii_envelope = message.sender.as_ref().is_none_or(smtp::Address::is_ascii)
        && recipients
            .iter()
            .all(|reported| reported.recipient.address.is_ascii());
    let ascii_header = !message.options.header_8bit || content.octets().is_ascii();
    message.options.smtputf8 && !(ascii_envelope && ascii_header)
}

/// All that the parts of a report are written from.
struct Draft<'a> {
    kind: DsnKind,
    message: &'a Message,
    recipients: &'a [Reported<'a>],
    content: &'a Returned,
    hostname: String,
    sender: &'a str,
    id: QueueId,
    now: Timestamp,
    international: bool,
}

impl Draft<'_> {
    fn noun(&self) -> &'static str {
        match self.kind {
            DsnKind::Failure => "failure report",
            DsnKind::Delay => "delay report",
            DsnKind::Success => "delivery report",
        }
    }

    /// The whole report, and whether its header has octets above 127.
    fn write(&self) -> (Vec<u8>, bool) {
        let words = self.words();
        let status = self.status();
        let boundary = self.boundary(&[words.as_bytes(), status.as_bytes(), self.content.octets()]);
        let eight_bit = !(words.is_ascii() && status.is_ascii() && self.content.octets().is_ascii());

        let mut head = String::new();
        self.header(&mut head, &boundary, eight_bit);
        let header_8bit = !head.is_ascii();
        head.push_str("\r\nThis is a report in MIME format (RFC 6522).\r\n");

        let charset = if words.is_ascii() { "us-ascii" } else { "utf-8" };
        let plain = format!("text/plain; charset={charset}");
        part(&mut head, &boundary, &plain, "Notification", !words.is_ascii());
        head.push_str(&words);
        let status_type = if self.international {
            "message/global-delivery-status"
        } else {
            "message/delivery-status"
        };
        part(
            &mut head,
            &boundary,
            status_type,
            "Delivery report",
            !status.is_ascii(),
        );
        head.push_str(&status);
        let (returned_type, description) = self.returned_type();
        part(
            &mut head,
            &boundary,
            returned_type,
            description,
            !self.content.octets().is_ascii(),
        );

        let mut octets = head.into_bytes();
        octets.extend_from_slice(self.content.octets());
        octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        (octets, header_8bit)
    }

    fn message_id(&self) -> String {
        format!("<{}@{}>", self.id, self.hostname)
    }

    fn header(&self, out: &mut String, boundary: &str, eight_bit: bool) {
        let Draft { hostname, id, .. } = self;
        let date = date(self.now);
        field(out, "Received", &format!("by {hostname} id {id}; {date}"));
        field(out, "Date", &date);
        field(
            out,
            "From",
            &format!("Mail Delivery System <MAILER-DAEMON@{hostname}>"),
        );
        field(out, "To", &format!("<{}>", self.sender));
        let subject = match self.kind {
            DsnKind::Failure => "Undelivered Mail Returned to Sender",
            DsnKind::Delay => "Delayed Mail (still being retried)",
            DsnKind::Success => "Successful Mail Delivery Report",
        };
        field(out, "Subject", subject);
        field(out, "Message-ID", &self.message_id());
        field(out, "Auto-Submitted", "auto-replied");
        field(out, "MIME-Version", "1.0");
        field(
            out,
            "Content-Type",
            &format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\""),
        );
        if eight_bit {
            field(out, "Content-Transfer-Encoding", "8bit");
        }
    }

    fn returned_type(&self) -> (&'static str, &'static str) {
        match (self.content, self.international) {
            (Returned::Whole(_), false) => ("message/rfc822", "The message"),
            (Returned::Whole(_), true) => ("message/global", "The message"),
            (Returned::Headers(_), false) => ("text/rfc822-headers", "The header of the message"),
            (Returned::Headers(_), true) => ("message/global-headers", "The header of the message"),
        }
    }

    /// A delimiter that is in none of `parts`: random, and looked for all the same.
    fn boundary(&self, parts: &[&[u8]]) -> String {
        loop {
            let boundary = format!("={:016x}/{}", rand::random::<u64>(), self.id);
            if parts
                .iter()
                .all(|part| memmem::find(part, boundary.as_bytes()).is_none())
            {
                return boundary;
            }
        }
    }
}

/// Begins a part.
fn part(out: &mut String, boundary: &str, content_type: &str, description: &str, eight_bit: bool) {
    out.push_str(&format!("\r\n--{boundary}\r\n"));
    field(out, "Content-Description", description);
    field(out, "Content-Type", content_type);
    if eight_bit {
        field(out, "Content-Transfer-Encoding", "8bit");
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests;
