//! A client sends anything, in any pieces: the replies are well formed, each is reported once, and
//! neither they nor the messages depend on where the pieces end.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use smtp::body::BodyInfo;
use smtp::session::{Session, Settings, Step};
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
    closed: bool,
}

fuzz_target!(|input: &[u8]| {
    let (cuts, octets) = input.split_at(input.len().min(8));
    let whole = converse(octets, &[]);
    assert_eq!(converse(octets, cuts), whole);
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
    }
}

/// Sends `octets` in pieces of the lengths that `cuts` names, over and over.
fn converse(octets: &[u8], cuts: &[u8]) -> Record {
    let mut session = Session::new(Arc::new(settings()));
    session.greet();
    let (mut record, mut input, mut rest) = (Record::default(), BytesMut::new(), octets);
    record.output.append(session.output());
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        input.extend_from_slice(piece);
        rest = later;
        while !record.closed && step(&mut session, &mut input, &mut record) {}
        record.output.append(session.output());
    }
    record
}

fn step(session: &mut Session<Mail>, input: &mut BytesMut, record: &mut Record) -> bool {
    match session.step(input) {
        Step::Read => return false,
        Step::Mail { sender, .. } => {
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
        Step::Hello { .. } | Step::Note(_) | Step::Delay(_) => {}
    }
    true
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
        assert!(line.len() <= 510 && !line.contains(char::is_control), "{line:?}");
        line.as_bytes().get(3) != Some(&b'-')
    });
    last.map(|line| line[..3].parse().expect("a code")).collect()
}
