//! A caller with simple rules: it takes what is sent to it, and keeps all it was told.
//!
//! Refused are senders and recipients whose local part is `no` (550) or `later` (450), DATA of
//! the sender `nodata`, and messages that hold `REJECT`. In AUTH
//! it knows who says `ok`, asks who says nothing or `ask`, has no time for `later`, ends the session at `bye`, and
//! refuses everyone else. What comes in clear after STARTTLS it does not read.

use crate::body::BodyInfo;
use crate::session::{AuthAnswer, AuthOffer, Note, Session, Settings, Step, Tls};
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

/// In clear, with all there is.
pub(super) fn open_settings() -> Settings {
    Settings {
        tls: Tls::Offered,
        auth: AuthOffer::Mechanisms(vec!["PLAIN", "LOGIN"]),
        ..settings()
    }
}

/// The same under TLS.
pub(super) fn tls_settings() -> Settings {
    Settings {
        tls: Tls::Active,
        ..open_settings()
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
    /// What was said in AUTH, and `cancelled`.
    pub(super) auth: Vec<String>,
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
    /// An exchange of AUTH is under way.
    in_auth: bool,
    /// A handshake is due.
    pub(super) in_handshake: bool,
}

impl Driver {
    pub(super) fn new(settings: Settings) -> Self {
        let mut session = Session::new(Arc::new(settings));
        session.greet();
        let mut driver = Driver {
            session,
            input: BytesMut::new(),
            record: Record::default(),
            in_auth: false,
            in_handshake: false,
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
        while !self.record.closed && !self.in_handshake && self.step() {}
        self.flush();
        self
    }

    /// TLS is up, after STARTTLS.
    pub(super) fn handshake(&mut self, settings: Settings) -> &mut Self {
        assert!(std::mem::take(&mut self.in_handshake));
        self.input.clear();
        self.session = Session::secured(Arc::new(settings));
        self
    }

    fn step(&mut self) -> bool {
        let Driver {
            session,
            input,
            record,
            in_auth,
            in_handshake,
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
            Step::StartTls => {
                assert!(input.is_empty());
                let mut more = BytesMut::from(&b"EHLO x\r\n"[..]);
                assert!(matches!(session.step(&mut more), Step::Close));
                *in_handshake = true;
            }
            Step::Auth { mechanism, initial } => {
                assert!(!std::mem::replace(in_auth, true));
                record.auth.push(mechanism.into());
                let answer = judge(initial.as_deref(), record);
                *in_auth = matches!(answer, AuthAnswer::Challenge(_));
                session.answer_auth(answer);
            }
            Step::AuthResponse(response) => {
                assert!(*in_auth);
                let answer = judge(Some(&response), record);
                *in_auth = matches!(answer, AuthAnswer::Challenge(_));
                session.answer_auth(answer);
            }
            Step::AuthCancelled => {
                assert!(std::mem::take(in_auth));
                record.auth.push("cancelled".into());
            }
            Step::Note(note) => record.notes.push(note),
            Step::Answered { verb, code } => record.answered.push((verb, code)),
            Step::Delay(time) => record.delays.push(time.as_secs()),
            Step::Close => record.closed = true,
        }
        true
    }
}

const NO: Reply = Reply::new(550, Enhanced(5, 7, 1), "No");

fn judge(said: Option<&[u8]>, record: &mut Record) -> AuthAnswer {
    let said = said.map(|said| String::from_utf8_lossy(said).into_owned());
    record.auth.extend(said.clone());
    AuthAnswer::Rejected(match said.as_deref() {
        None | Some("ask") => return AuthAnswer::Challenge(b"Who?".into()),
        Some("ok") => return AuthAnswer::Accepted,
        Some("later") => Reply::new(454, Enhanced(4, 7, 0), "Later"),
        Some("bye") => Reply::new(421, Enhanced(4, 7, 0), "Bye"),
        _ => Reply::new(535, Enhanced(5, 7, 8), "No"),
    })
}

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
    dialog_with(settings(), commands)
}

pub(super) fn dialog_with(settings: Settings, commands: &[&str]) -> Record {
    let lines: Vec<String> = commands.iter().map(|command| format!("{command}\r\n")).collect();
    converse(settings, &lines)
}

/// Commands, each with the status expected.
#[track_caller]
pub(super) fn check_with(settings: Settings, exchange: &[(&str, &str)]) -> Record {
    let commands: Vec<&str> = exchange.iter().map(|(command, _)| *command).collect();
    let expected: Vec<&str> = exchange.iter().map(|(_, status)| *status).collect();
    let record = dialog_with(settings, &commands);
    assert_eq!(record.statuses(), expected, "{commands:?}");
    record
}
