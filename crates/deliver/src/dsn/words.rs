//! The part for people: what happened, to whom, what the other server said, what to do.

use super::fields::{clean, date, pieces};
use super::status::reply_line;
use super::{Action, Draft, DsnKind, Reported};
use smtp::Enhanced;

/// Lines are wrapped before this column.
const WIDTH: usize = 76;

impl Draft<'_> {
    /// The text, its lines ending in CRLF.
    pub(super) fn words(&self) -> String {
        let mut out = String::new();
        paragraph(
            &mut out,
            "",
            &format!("This is the mail server {}.", self.hostname),
        );
        paragraph(&mut out, "", self.opening());
        for reported in self.recipients {
            self.recipient_words(&mut out, reported);
        }
        paragraph(&mut out, "", &self.closing());
        // The empty line after the last paragraph belongs to the delimiter that follows.
        out.truncate(out.len() - "\r\n".len());
        out
    }

    fn opening(&self) -> &'static str {
        match self.kind {
            DsnKind::Failure => {
                "Your message could not be delivered to the recipients below. The attempts have ended: they \
                 will not get it unless you send it again."
            }
            DsnKind::Delay => {
                "This is only a notice, YOU DO NOT NEED TO DO ANYTHING. Your message has not been delivered to \
                 the recipients below yet. It is kept safe and is tried again automatically."
            }
            DsnKind::Success => {
                "Your message was delivered to the recipients below, as you asked to be told."
            }
        }
    }

    fn recipient_words(&self, out: &mut String, reported: &Reported<'_>) {
        paragraph(
            out,
            "  ",
            &format!(
                "<{}>",
                clean(reported.recipient.address.as_str(), self.can_say_utf8())
            ),
        );
        if let Some(reply) = reported.diagnostic {
            let speaker = match reported.remote {
                Some(remote) => format!("The server {} said:", clean(remote, self.international)),
                None => "This server found:".to_owned(),
            };
            paragraph(out, "    ", &speaker);
            paragraph(out, "      ", &reply_line(reply, self.international));
        }
        match reported.action {
            Action::Failed => paragraph(out, "    ", advice(reported.status)),
            Action::Delayed => {
                if let Some(until) = reported.will_retry_until {
                    paragraph(out, "    ", &format!("It is tried until {}.", date(until)));
                }
            }
            Action::Relayed => paragraph(
                out,
                "    ",
                "It was handed on to a server that does not report deliveries, so this is the last report.",
            ),
            Action::Delivered => paragraph(out, "    ", "It is in the mailbox."),
        }
    }

    /// A report without SMTPUTF8 can still show an address beyond ASCII to a person, if its sender used SMTPUTF8.
    fn can_say_utf8(&self) -> bool {
        self.international || self.message.options.smtputf8
    }

    fn closing(&self) -> String {
        format!(
            "Details for programs, and the message or its header, follow. If you need help, send this report to \
             postmaster@{}.",
            self.hostname
        )
    }
}

/// What the sender can do about a failure, by the subject and detail of its status (RFC 3463 3).
fn advice(Enhanced(_, subject, detail): Enhanced) -> &'static str {
    match (subject, detail) {
        (1, 10) | (1, 2) => {
            "What to do: check the part after the @ for typing errors; that domain takes no mail."
        }
        (1, 7 | 8) => "What to do: your own address was refused. Ask your mail provider to check it.",
        (1, _) => "What to do: check the address for typing errors, or ask the recipient for the right one.",
        (2, 2) => "What to do: the mailbox is full. Reach the recipient another way, or send it again later.",
        (2, 3) | (3, 4) => "What to do: the message is too large for them. Send less, or a link to it.",
        (2, _) => "What to do: the mailbox takes no mail at present. Reach the recipient another way.",
        (4, 6) => "What to do: nothing on your side; the mail settings of that domain form a loop.",
        (4, _) => {
            "What to do: their mail server could not be reached. Send it again later, or tell them another way."
        }
        (6, _) => {
            "What to do: their server cannot take this kind of message. Send it as plain text without attachments."
        }
        (7, _) => {
            "What to do: their server refuses this message by its rules. The answer above may say why; else ask \
             your mail provider, or the recipient another way."
        }
        _ => {
            "What to do: the answer above may say why. Else send it again later, or reach the recipient another way."
        }
    }
}

/// Appends `text` wrapped and indented, and an empty line.
fn paragraph(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        for piece in pieces(word) {
            if column > 0 && column + 1 + piece.len() > WIDTH {
                out.push_str("\r\n");
                column = 0;
            }
            let before = if column == 0 { indent } else { " " };
            out.push_str(before);
            out.push_str(piece);
            column += before.len() + piece.len();
        }
    }
    out.push_str("\r\n\r\n");
}
