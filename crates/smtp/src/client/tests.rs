//! Conversations as transcripts, played by [`play`]: `S:` is what the server says, `C:` what the client
//! must have said, `=` the step that must come, `!` what the caller does.

mod ahead;
mod auth;
mod awkward;
mod envelope;
mod properties;
mod tls;
mod transactions;

use super::*;
use crate::params::{BodyType, Notify, Orcpt, Ret};

/// Plays a transcript with a new client and gives it back.
#[track_caller]
fn play(lmtp: bool, transcript: &str) -> Client {
    let mut stage = Stage {
        client: Client::new("me.test", lmtp),
        input: BytesMut::new(),
    };
    for line in transcript
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
    {
        stage.play(line);
    }
    assert_eq!(stage.said(), "", "said more than the transcript");
    stage.client
}

/// A session in which EHLO was answered with these lines.
fn after_ehlo(extensions: &str, rest: &str) -> String {
    format!("S: 220 mx.test ESMTP\nC: EHLO me.test\nS: 250-mx.test\n{extensions}\nS: 250 X\n= Ready\n{rest}")
}

struct Stage {
    client: Client,
    input: BytesMut,
}

impl Stage {
    #[track_caller]
    fn play(&mut self, line: &str) {
        let (who, what) = line.split_at(line.len().min(2));
        let what = what.strip_prefix(' ').unwrap_or(what);
        match who {
            "S:" => {
                assert_eq!(self.said(), "", "before {line}");
                self.input.extend_from_slice(what.as_bytes());
                self.input.extend_from_slice(b"\r\n");
            }
            "C:" => self.hear(what),
            "= " => assert_eq!(self.step(), what),
            "! " => self.act(what),
            _ => panic!("{line}?"),
        }
    }

    fn said(&self) -> &str {
        std::str::from_utf8(&self.client.output.0).unwrap()
    }

    #[track_caller]
    fn hear(&mut self, expected: &str) {
        if self.client.output.0.is_empty() {
            assert_eq!(self.step(), "Read", "before {expected}");
        }
        let end = self.said().find("\r\n").map_or(0, |at| at + 2);
        let line: Vec<u8> = self.client.output.0.drain(..end).collect();
        assert_eq!(std::str::from_utf8(&line).unwrap(), format!("{expected}\r\n"));
    }

    fn step(&mut self) -> String {
        match self.client.step(&mut self.input) {
            Ok(ClientStep::Finished(outcome)) => format!("Finished {}", of(&outcome)),
            Ok(ClientStep::Refused { phase, reply }) => format!("Refused {}: {reply}", phase.name()),
            Ok(ClientStep::TlsRefused(reply)) => format!("TlsRefused {reply}"),
            Ok(ClientStep::AuthRefused(reply)) => format!("AuthRefused {reply}"),
            Ok(ClientStep::AuthChallenge(octets)) => {
                format!("AuthChallenge {}", String::from_utf8(octets).unwrap())
            }
            Ok(ClientStep::SendContent { chunked }) => String::from(if chunked {
                "SendContent by BDAT"
            } else {
                "SendContent"
            }),
            Ok(step) => format!("{step:?}"),
            Err(ClientError::Unexpected(reply)) => format!("Unexpected {reply}"),
            Err(error) => format!("{error:?}"),
        }
    }

    /// The mechanism, and an initial response if a blank follows it.
    fn authenticate(&mut self, words: &str) -> bool {
        let (mechanism, initial) = match words.split_once(' ') {
            Some((mechanism, initial)) => (mechanism, Some(initial.as_bytes())),
            None => (words, None),
        };
        self.client.authenticate(mechanism, initial)
    }

    #[track_caller]
    fn act(&mut self, action: &str) {
        match action.split_once(' ').unwrap_or((action, "")) {
            ("begin", words) => self.client.begin(message(words)).unwrap(),
            ("probe", words) => self.client.probe(message(words)).unwrap(),
            ("begin_other", words) => assert_eq!(self.client.begin(message(words)).unwrap_err().code, 421),
            ("ahead", words) => assert!(self.client.begin_ahead(message(words)), "{action}"),
            ("no_ahead", words) => assert!(!self.client.begin_ahead(message(words)), "{action}"),
            ("content", _) => {
                assert_eq!(
                    (self.client.phase(), self.client.after_final_dot()),
                    (Phase::Content, false)
                );
                self.client.content_sent();
                assert!(self.client.after_final_dot());
            }
            ("abort", _) => {
                let lost = Reply::new(451, Enhanced(4, 4, 2), "Lost");
                assert_eq!(of(&self.client.abort(&lost).unwrap()), &action["abort ".len()..]);
            }
            ("usable", answer) => assert_eq!(self.client.is_usable().to_string(), answer),
            ("phase", phase) => assert_eq!(self.client.phase().name(), phase),
            ("quit", _) => self.client.quit(),
            ("auth", words) => assert!(self.authenticate(words), "{action}"),
            ("no_auth", words) => assert!(!self.authenticate(words), "{action}"),
            ("respond", response) => self.client.auth_respond(response.as_bytes()),
            ("cancel", _) => self.client.auth_cancel(),
            ("start_tls", _) => self.client.start_tls(),
            ("tls_started", _) => self.client.tls_started(),
            _ => panic!("{action}?"),
        }
    }
}

/// `MAIL 250, RCPT 550`
fn of(outcome: &Outcome) -> String {
    let one = |(phase, reply): &(Phase, Reply)| format!("{} {}", phase.name(), reply.code);
    outcome.recipients.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The sender (or `<>`), recipients, and what is special about the message.
fn message(words: &str) -> Outgoing {
    let mut words = words.split(' ');
    let sender = Address::parse(words.next().unwrap()).ok();
    let mut message = Outgoing {
        sender,
        params: MailParams::default(),
        has_8bit: false,
        header_8bit: false,
        size: 100,
        recipients: Vec::new(),
    };
    for word in words {
        match word {
            "8bit" => message.has_8bit = true,
            "binary" => message.params.body = BodyType::BinaryMime,
            "smtputf8" => message.params.smtputf8 = true,
            "utf8header" => (message.has_8bit, message.header_8bit) = (true, true),
            "big" => message.size = 5000,
            "ret" => message.params.ret = Some(Ret::Headers),
            "envid" => message.params.envid = Some("id+2B1".into()),
            "bad-envid" => message.params.envid = Some("a\r\nRSET".into()),
            "never" => with_params(&mut message).notify = Some(Notify::NEVER),
            "notify" => with_params(&mut message).notify = Some(Notify::SUCCESS.with(Notify::DELAY)),
            "orcpt" => with_params(&mut message).orcpt = Orcpt::parse("rfc822;o+2B@x.test"),
            address => message
                .recipients
                .push((Address::parse(address).unwrap(), RcptParams::default())),
        }
    }
    message
}

/// The parameters of the last recipient.
fn with_params(message: &mut Outgoing) -> &mut RcptParams {
    &mut message.recipients.last_mut().unwrap().1
}
