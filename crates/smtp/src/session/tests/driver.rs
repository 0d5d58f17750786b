//! A caller with simple rules: it takes what is sent to it, and keeps all it was told.
//!
//! Refused are senders and recipients whose local part is `no` (550) or `later` (450), DATA of
//! the sender `nodata`, and messages that hold `REJECT`.

use crate::body::BodyInfo;
use crate::session::{AuthOffer, Note, Session, Settings, Step, Tls};
use crate::{Address, BodyType, Enhanced, Reply};
use bytes::BytesMut;
use std::sync::Arc;

pub(super) fn settings() -> Settings {
    Settings {
        hostname: "mx.example".into(),
        banner: "ESMTP Server Ready".into(),
        max_message_size: 1000,
        max_recipients: 3,
        max_line_length: 998,
        refuse_unauthorized_pipelining: false,
        tls: Tls::Absent,
        auth: AuthOffer::Absent,
        auth_required: false,
    }
}

/// A mail as the caller keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mail {
    pub(super) sender: String,
    pub(super) body_type: BodyType,
    pub(super) recipients: Vec<String>,
    pub(super) content: Vec<u8>,
}

/// All that a conversation came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Record {
    pub(super) output: String,
    pub(super) messages: Vec<(Mail, BodyInfo)>,
    pub(super) refused: Vec<u16>,
    pub(super) notes: Vec<Note>,
    pub(super) answered: Vec<(&'static str, u16)>,
    pub(super) delays: Vec<u64>,
    pub(super) hellos: Vec<String>,
    pub(super) closed: bool,
}

impl Record {
    /// The codes of the replies, the greeting's too.
    pub(super) fn codes(&self) -> Vec<u16> {
        let mut codes = Vec::new();
        for line in self.output.split_inclusive("\r\n") {
            let text = line.strip_suffix("\r\n").expect("a reply line ends with CRLF");
            assert!(!text.contains(['\r', '\n']), "{text:?}");
            let code: u16 = text[..3].parse().expect(text);
            assert!((200..600).contains(&code), "{text:?}");
            match text.as_bytes().get(3) {
                Some(b' ') | None => codes.push(code),
                Some(b'-') => {}
                _ => panic!("{text:?}"),
            }
        }
        codes
    }
    /// The code and enhanced code of each reply but the greeting's.
    pub(super) fn statuses(&self) -> Vec<String> {
        let last = self
            .output
            .lines()
            .filter(|line| line.as_bytes().get(3) != Some(&b'-'))
            .skip(1);
        last.map(|line| {
            let mut words = line.split(' ');
            let code = words.next().unwrap_or_default();
            let enhanced = words
                .next()
                .filter(|word| word.split('.').filter(|n| n.parse::<u16>().is_ok()).count() == 3);
            enhanced.map_or(code.to_owned(), |enhanced| format!("{code} {enhanced}"))
        })
        .collect()
    }
    pub(super) fn last_line(&self) -> &str {
        self.output.lines().last().unwrap_or_default()
    }
}

/// A conversation under way.
pub(super) struct Driver {
    pub(super) session: Session<Mail>,
    input: BytesMut,
    pub(super) record: Record,
}

impl Driver {
    pub(super) fn new(settings: Settings) -> Self {
        let mut session = Session::new(Arc::new(settings));
        session.greet();
        let mut driver = Driver {
            session,
            input: BytesMut::new(),
            record: Record::default(),
        };
        driver.flush();
        driver
    }

    pub(super) fn flush(&mut self) {
        let output = std::mem::take(self.session.output());
        self.record
            .output
            .push_str(std::str::from_utf8(&output).expect("replies are UTF-8"));
    }

    /// The client sends something: goes on until more is asked for.
    pub(super) fn send(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        self.input.extend_from_slice(octets.as_ref());
        while !self.record.closed && self.step() {}
        self.flush();
        self
    }

    fn step(&mut self) -> bool {
        let Driver {
            session,
            input,
            record,
        } = self;
        match session.step(input) {
            Step::Read => return false,
            Step::Hello { name, .. } => record.hellos.push(name.to_owned()),
            Step::Mail { sender, params } => {
                let answer = refusal(sender.as_ref()).map_or_else(|| Ok(mail(sender, params.body)), Err);
                session.answer_mail(answer);
            }
            Step::Rcpt {
                transaction,
                recipient,
                ..
            } => {
                let reply = refusal(Some(&recipient));
                if reply.is_none() {
                    transaction.recipients.push(recipient.to_string());
                }
                session.answer_rcpt(reply.unwrap_or(Reply::new(250, Enhanced(2, 1, 5), "Ok")));
            }
            Step::Data { transaction } => {
                let refused = transaction.sender.starts_with("nodata@");
                session.answer_data(if refused { Err(NO) } else { Ok(()) });
            }
            Step::Content { transaction, chunk } => {
                assert!(!chunk.is_empty());
                transaction.content.extend_from_slice(&chunk);
            }
            Step::Message { transaction, info } => {
                let refused = transaction.content.windows(6).any(|w| w == b"REJECT");
                if !refused {
                    record.messages.push((transaction, info));
                }
                session.answer_message(if refused {
                    NO
                } else {
                    Reply::new(250, Enhanced(2, 0, 0), "Queued")
                });
            }
            Step::Refused { reply, .. } => record.refused.push(reply.code),
            Step::StartTls | Step::Auth { .. } | Step::AuthResponse(_) | Step::AuthCancelled => {}
            Step::Note(note) => record.notes.push(note),
            Step::Answered { verb, code } => record.answered.push((verb, code)),
            Step::Delay(time) => record.delays.push(time.as_secs()),
            Step::Close => record.closed = true,
        }
        true
    }
}

const NO: Reply = Reply::new(550, Enhanced(5, 7, 1), "No");

fn refusal(address: Option<&Address>) -> Option<Reply> {
    match address?.local() {
        "no" => Some(NO),
        "later" => Some(Reply::new(450, Enhanced(4, 2, 0), "Later")),
        _ => None,
    }
}

fn mail(sender: Option<Address>, body_type: BodyType) -> Mail {
    let sender = sender.map(|sender| sender.to_string()).unwrap_or_default();
    Mail {
        sender,
        body_type,
        recipients: Vec::new(),
        content: Vec::new(),
    }
}

/// What comes of sending `pieces`, one after the other.
pub(super) fn converse<P: AsRef<[u8]>>(settings: Settings, pieces: &[P]) -> Record {
    let mut driver = Driver::new(settings);
    for piece in pieces {
        driver.send(piece);
    }
    driver.record
}

/// What comes of these commands, each on its own line.
pub(super) fn dialog(commands: &[&str]) -> Record {
    let lines: Vec<String> = commands.iter().map(|command| format!("{command}\r\n")).collect();
    converse(settings(), &lines)
}
