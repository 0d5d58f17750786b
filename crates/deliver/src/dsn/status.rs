//! The part for programs: `message/delivery-status` (RFC 3464), or its international form (RFC 6533).

use super::fields::{clean, date, field};
use super::{Action, Draft, Reported};
use smtp::params::xtext_decode;
use smtp::{Enhanced, Reply};
use std::fmt::Write;

impl Draft<'_> {
    /// All fields: the message's, then each recipient's.
    pub(super) fn status(&self) -> String {
        let mut out = String::new();
        let envid = self.message.options.envid.as_deref().and_then(xtext_decode);
        if let Some(envid) = envid {
            field(
                &mut out,
                "Original-Envelope-Id",
                &clean(&envid, self.international),
            );
        }
        field(&mut out, "Reporting-MTA", &format!("dns; {}", self.hostname));
        field(&mut out, "X-Queue-Id", &self.message.id.to_string());
        field(&mut out, "Arrival-Date", &date(self.message.received_at));
        for reported in self.recipients {
            out.push_str("\r\n");
            self.recipient_fields(&mut out, reported);
        }
        out
    }

    fn recipient_fields(&self, out: &mut String, reported: &Reported<'_>) {
        if let Some(orcpt) = &reported.recipient.orcpt {
            let address = self.address(&clean(orcpt.address_type(), false), &orcpt.address());
            field(out, "Original-Recipient", &address);
        }
        field(
            out,
            "Final-Recipient",
            &self.address("rfc822", reported.recipient.address.as_str()),
        );
        field(out, "Action", action_name(reported.action));
        field(out, "Status", &dotted(reported.status));
        if let Some(remote) = reported.remote {
            field(
                out,
                "Remote-MTA",
                &format!("dns; {}", clean(remote, self.international)),
            );
        }
        if let Some(reply) = reported.diagnostic {
            // Only what another server said is an SMTP diagnostic; our own findings have their own type.
            let kind = if reported.remote.is_some() {
                "smtp"
            } else {
                "X-smtp-server"
            };
            field(
                out,
                "Diagnostic-Code",
                &format!("{kind}; {}", reply_line(reply, self.international)),
            );
        }
        field(out, "Last-Attempt-Date", &date(reported.last_attempt));
        if let (Action::Delayed, Some(until)) = (reported.action, reported.will_retry_until) {
            field(out, "Will-Retry-Until", &date(until));
        }
    }

    /// `type; address`. An address beyond ASCII has the type `utf-8`; in a report of ASCII its characters
    /// are written as `\x{…}` (RFC 6533 3).
    fn address(&self, kind: &str, address: &str) -> String {
        if address.is_ascii() {
            return format!("{kind}; {}", clean(address, false));
        }
        if self.international {
            return format!("utf-8; {}", clean(address, true));
        }
        let mut escaped = String::from("utf-8; ");
        for character in clean(address, true).chars() {
            if character.is_ascii_graphic() && !"\\+=".contains(character) {
                escaped.push(character);
            } else {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\x{{{:X}}}", u32::from(character));
            }
        }
        escaped
    }
}

/// The word of an action (RFC 3464 2.3.3).
fn action_name(action: Action) -> &'static str {
    match action {
        Action::Failed => "failed",
        Action::Delayed => "delayed",
        Action::Relayed => "relayed",
        Action::Delivered => "delivered",
    }
}

pub(super) fn dotted(Enhanced(class, subject, detail): Enhanced) -> String {
    format!("{class}.{subject}.{detail}")
}

/// A reply as one line: its code, its status, its text.
pub(super) fn reply_line(reply: &Reply, international: bool) -> String {
    let text = clean(&reply.text, international);
    match reply.enhanced {
        Some(enhanced) => format!("{} {} {text}", reply.code, dotted(enhanced)),
        None => format!("{} {text}", reply.code),
    }
}
