//! A client sends anything, in any pieces: the replies are well formed, each is reported once, and
//! neither they nor the messages depend on where the pieces end. After STARTTLS another stream is read, and nothing of
//! the first counts there: no mail comes without AUTH.
//!
//! Input: eight octets that say how it is split; what is said in clear; two NUL; what is said under TLS.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use smtp::body::BodyInfo;
use smtp::session::{AuthAnswer, AuthOffer, Session, Settings, Step, Tls};
use smtp::{Address, Enhanced, Reply};
use std::sync::Arc;

const OK: Reply = Reply::new(250, Enhanced(2, 0, 0), "Ok");
const NO: Reply = Reply::new(550, Enhanced(5, 7, 1), "No");
const GOODBYE: Reply = Reply::new(421, Enhanced(4, 7, 0), "Goodbye");

#[derive(Debug, Default, PartialEq)]
struct Mail {
    sender: String,
    recipients: Vec<String>,
    content: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
struct Record {
    output: Vec<u8>,
    answered: Vec<u16>,
    messages: Vec<(Mail, BodyInfo)>,
    refused: usize,
    /// What was said in AUTH; `None` for an exchange that was cancelled.
    auth: Vec<Option<Vec<u8>>>,
    in_auth: bool,
    accepted: bool,
    tls: bool,
    closed: bool,
}

fuzz_target!(|input: &[u8]| {
    let (cuts, octets) = input.split_at(input.len().min(8));
    let clear = octets.windows(2).position(|pair| pair == [0, 0]);
    let (clear, secured) = match clear {
        Some(end) => (&octets[..end], &octets[end + 2..]),
        None => (octets, &[][..]),
    };
    let whole = converse(clear, secured, &[]);
    assert_eq!(converse(clear, secured, cuts), whole);
    assert_eq!(codes(&whole.output)[1..], whole.answered);
    for (mail, info) in &whole.messages {
        assert!(!mail.recipients.is_empty());
        assert_eq!(info.size, mail.content.len() as u64);
        assert!(info.size <= settings().max_message_size);
    }
});

fn settings() -> Settings {
    Settings {
        hostname: "mx.example".into(),
        banner: "ESMTP Server Ready".into(),
        max_message_size: 200,
        max_recipients: 3,
        max_line_length: 50,
        refuse_unauthorized_pipelining: false,
        tls: Tls::Offered,
        auth: AuthOffer::Mechanisms(vec!["PLAIN", "LOGIN"]),
        auth_required: false,
    }
}

fn tls_settings() -> Settings {
    Settings {
        tls: Tls::Active,
        auth_required: true,
        ..settings()
    }
}

/// Sends `clear`, and after STARTTLS `secured`, in pieces of the lengths that `cuts` names, over and over.
fn converse(clear: &[u8], secured: &[u8], cuts: &[u8]) -> Record {
    let mut session = Session::new(Arc::new(settings()));
    session.greet();
    let mut record = Record::default();
    record.output.append(session.output());
    talk(&mut session, clear, cuts, &mut record);
    if record.tls {
        assert!(matches!(
            session.step(&mut BytesMut::from(&b"NOOP\r\n"[..])),
            Step::Close
        ));
        record.accepted = false;
        session = Session::secured(Arc::new(tls_settings()));
        talk(&mut session, secured, cuts, &mut record);
    }
    record
}

fn talk(session: &mut Session<Mail>, octets: &[u8], cuts: &[u8], record: &mut Record) {
    let (mut input, mut rest, tls) = (BytesMut::new(), octets, record.tls);
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    while !rest.is_empty() && record.tls == tls {
        let (piece, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        input.extend_from_slice(piece);
        rest = later;
        while !record.closed && record.tls == tls && step(session, &mut input, record) {}
        record.output.append(session.output());
        assert_eq!(session.is_authenticated(), record.accepted);
    }
}

fn step(session: &mut Session<Mail>, input: &mut BytesMut, record: &mut Record) -> bool {
    match session.step(input) {
        Step::Read => return false,
        Step::Mail { sender, .. } => {
            assert!(record.accepted || !record.tls);
            let answer = refusal(sender.as_ref());
            let sender = sender.map(|sender| sender.to_string()).unwrap_or_default();
            session.answer_mail(answer.map_or_else(
                || {
                    Ok(Mail {
                        sender,
                        ..Mail::default()
                    })
                },
                Err,
            ));
        }
        Step::Rcpt {
            transaction,
            recipient,
            ..
        } => {
            let reply = refusal(Some(&recipient)).unwrap_or(OK);
            if reply.is_positive() {
                transaction.recipients.push(recipient.to_string());
            }
            session.answer_rcpt(reply);
        }
        Step::Data { transaction } => {
            let refused = transaction.recipients[0].starts_with('d');
            session.answer_data(if refused { Err(NO) } else { Ok(()) });
        }
        Step::Content { transaction, chunk } => {
            assert!(!chunk.is_empty());
            transaction.content.extend_from_slice(&chunk);
        }
        Step::Message { transaction, info } => {
            let refused = transaction.content.starts_with(b"no");
            if !refused {
                record.messages.push((transaction, info));
            }
            session.answer_message(if refused { NO } else { OK });
        }
        Step::Refused { .. } => record.refused += 1,
        Step::Answered { code, .. } => record.answered.push(code),
        Step::Close => record.closed = true,
        Step::StartTls => {
            assert!(input.is_empty() && !record.tls);
            record.tls = true;
        }
        Step::Auth { initial, .. } => {
            assert!(!record.in_auth);
            session.answer_auth(judge(initial.as_deref(), record));
        }
        Step::AuthResponse(response) => {
            assert!(record.in_auth);
            session.answer_auth(judge(Some(&response), record));
        }
        Step::AuthCancelled => {
            assert!(std::mem::take(&mut record.in_auth));
            record.auth.push(None);
        }
        Step::Hello { .. } | Step::Note(_) | Step::Delay(_) => {}
    }
    true
}

/// The first octet of what the client says decides.
fn judge(said: Option<&[u8]>, record: &mut Record) -> AuthAnswer {
    record.auth.extend(said.map(|said| Some(said.to_vec())));
    record.in_auth = false;
    match said.map(|said| said.first()) {
        None | Some(Some(b'a')) => {
            record.in_auth = true;
            AuthAnswer::Challenge(said.unwrap_or_default().to_vec())
        }
        Some(Some(b'o')) => {
            record.accepted = true;
            AuthAnswer::Accepted
        }
        Some(Some(b'g')) => AuthAnswer::Rejected(GOODBYE),
        _ => AuthAnswer::Rejected(NO),
    }
}

fn refusal(address: Option<&Address>) -> Option<Reply> {
    match address?.local().as_bytes().first() {
        Some(b'n') => Some(NO),
        Some(b'g') => Some(GOODBYE),
        _ => None,
    }
}

/// The code of each reply.
fn codes(output: &[u8]) -> Vec<u16> {
    let text = std::str::from_utf8(output).expect("replies are UTF-8");
    assert!(text.ends_with("\r\n"));
    let lines = text[..text.len() - 2].split("\r\n");
    let last = lines.filter(|line| {
        assert!(line.len() <= 510 || line.starts_with("334 "), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        line.as_bytes().get(3) != Some(&b'-')
    });
    last.map(|line| line[..3].parse().expect("a code")).collect()
}
