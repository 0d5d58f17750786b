//! The envelope as MAIL and RCPT say it: whether a server can take a message at all, and the
//! commands with the parameters it offers.

use super::{Capabilities, Outgoing};
use crate::address::Address;
use crate::params::{BodyType, Notify, Orcpt, RcptParams, Ret};
use crate::reply::{Enhanced, Reply};
use std::io::Write as _;

/// Whether a server with these capabilities can take the message; `Err` is why not, for every recipient.
pub(super) fn check(message: &Outgoing, server: &Capabilities) -> Result<(), Reply> {
    const TOO_BIG: Reply = Reply::new(
        552,
        Enhanced(5, 3, 4),
        "Message is larger than the next server says it takes (SIZE)",
    );
    const NO_BINARY: Reply = Reply::new(
        554,
        Enhanced(5, 6, 1),
        "Message is BINARYMIME, which the next server does not take",
    );
    const NO_8BIT: Reply = Reply::new(
        554,
        Enhanced(5, 6, 3),
        "Message has 8-bit content; the next server does not take 8BITMIME",
    );
    const NO_UTF8: Reply = Reply::new(
        550,
        Enhanced(5, 6, 7),
        "Message has a non-ASCII address or header; the next server does not take SMTPUTF8",
    );
    if server.size.is_some_and(|most| most > 0 && message.size > most) {
        return Err(TOO_BIG);
    }
    if is_binary(message) {
        if !(server.chunking && server.binary_mime) {
            return Err(NO_BINARY);
        }
    } else if message.has_8bit && !server.eight_bit_mime {
        return Err(NO_8BIT);
    }
    if needs_smtputf8(message) && !server.smtputf8 {
        return Err(NO_UTF8);
    }
    Ok(())
}

/// Only BDAT carries it.
pub(super) fn is_binary(message: &Outgoing) -> bool {
    message.params.body == BodyType::BinaryMime
}

fn needs_smtputf8(message: &Outgoing) -> bool {
    let is_ascii = |address: &Address| address.is_ascii();
    (message.params.smtputf8 && message.header_8bit)
        || !message.sender.iter().all(is_ascii)
        || !message.recipients.iter().all(|(address, _)| is_ascii(address))
}

/// Whether MAIL says SMTPUTF8: when needed, and when it was said to us and is offered.
fn says_smtputf8(message: &Outgoing, server: &Capabilities) -> bool {
    server.smtputf8 && (message.params.smtputf8 || needs_smtputf8(message))
}

/// Appends the MAIL command.
pub(super) fn write_mail(message: &Outgoing, server: &Capabilities, out: &mut Vec<u8>) {
    push(out, "MAIL FROM:<");
    push(out, message.sender.as_ref().map_or("", Address::as_str));
    push(out, ">");
    if server.size.is_some() {
        // Writing to a Vec cannot fail.
        let _ = write!(out, " SIZE={}", message.size);
    }
    if is_binary(message) {
        push(out, " BODY=BINARYMIME");
    } else if message.has_8bit {
        push(out, " BODY=8BITMIME");
    }
    if says_smtputf8(message, server) {
        push(out, " SMTPUTF8");
    }
    if server.dsn {
        write_mail_dsn(message, out);
    }
    push(out, "\r\n");
}

fn write_mail_dsn(message: &Outgoing, out: &mut Vec<u8>) {
    match message.params.ret {
        Some(Ret::Full) => push(out, " RET=FULL"),
        Some(Ret::Headers) => push(out, " RET=HDRS"),
        None => {}
    }
    // It is xtext when it comes from MAIL; whatever else it is, it must not end the command.
    if let Some(envid) = message
        .params
        .envid
        .as_deref()
        .filter(|id| id.bytes().all(|b| b.is_ascii_graphic()))
    {
        push(out, " ENVID=");
        push(out, envid);
    }
}

/// Appends the RCPT command of recipient number `index`, if there is one.
pub(super) fn write_rcpt(message: &Outgoing, index: usize, server: &Capabilities, out: &mut Vec<u8>) {
    let Some((address, params)) = message.recipients.get(index) else {
        return;
    };
    push(out, "RCPT TO:<");
    push(out, address.as_str());
    push(out, ">");
    if server.dsn {
        write_rcpt_dsn(params, says_smtputf8(message, server), out);
    }
    push(out, "\r\n");
}

fn write_rcpt_dsn(params: &RcptParams, smtputf8: bool, out: &mut Vec<u8>) {
    if let Some(notify) = params.notify {
        push(out, " NOTIFY=");
        write_notify(notify, out);
    }
    if let Some(orcpt) = &params.orcpt {
        push(out, " ORCPT=");
        write_orcpt(orcpt, smtputf8, out);
    }
}

fn write_notify(notify: Notify, out: &mut Vec<u8>) {
    let names = [
        (Notify::SUCCESS, "SUCCESS"),
        (Notify::FAILURE, "FAILURE"),
        (Notify::DELAY, "DELAY"),
    ];
    let mut separator = "";
    for (_, name) in names.iter().filter(|(event, _)| notify.contains(*event)) {
        push(out, separator);
        push(out, name);
        separator = ",";
    }
    if separator.is_empty() {
        push(out, "NEVER");
    }
}

/// Without SMTPUTF8 a `utf-8` address is written in ASCII: `\x{C4}` (RFC 6533 3).
fn write_orcpt(orcpt: &Orcpt, smtputf8: bool, out: &mut Vec<u8>) {
    for c in orcpt.as_str().chars() {
        if c.is_ascii() || smtputf8 {
            push(out, c.encode_utf8(&mut [0; 4]));
        } else {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
