//! Conversations as transcripts, played by [`play`]: `S:` is what the server says, `C:` what the client
//! must have said, `=` the step that must come, `!` what the caller does.

mod awkward;
mod envelope;
mod properties;
mod tls;

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
        std::str::from_utf8(&self.client.output).unwrap()
    }

    #[track_caller]
    fn hear(&mut self, expected: &str) {
        if self.client.output.is_empty() {
            assert_eq!(self.step(), "Read", "before {expected}");
        }
        let end = self.said().find("\r\n").map_or(0, |at| at + 2);
        let line: Vec<u8> = self.client.output.drain(..end).collect();
        assert_eq!(std::str::from_utf8(&line).unwrap(), format!("{expected}\r\n"));
    }

    fn step(&mut self) -> String {
        match self.client.step(&mut self.input) {
            Ok(ClientStep::Finished(outcome)) => format!("Finished {}", of(&outcome)),
            Ok(ClientStep::Refused { phase, reply }) => format!("Refused {}: {reply}", phase.name()),
            Ok(ClientStep::TlsRefused(reply)) => format!("TlsRefused {reply}"),
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

    #[track_caller]
    fn act(&mut self, action: &str) {
        match action.split_once(' ').unwrap_or((action, "")) {
            ("begin", words) => self.client.begin(message(words)).unwrap(),
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

#[test]
fn one_by_one() {
    let client = play(
        false,
        "S: 220 mx.test
         C: EHLO me.test
         S: 500 What?
         C: HELO me.test
         ! phase EHLO
         S: 250 mx.test
         = Ready
         = Read
         ! begin a@x.test b@y.test c@y.test
         C: MAIL FROM:<a@x.test>
         ! phase MAIL
         S: 250 ok
         C: RCPT TO:<b@y.test>
         ! phase RCPT
         S: 250 ok
         C: RCPT TO:<c@y.test>
         S: 550 5.1.1 Nobody
         C: DATA
         ! phase DATA
         S: 354 go
         = SendContent
         ! phase content
         ! content
         ! phase end of data
         = Read
         S: 250 taken
         = Finished end of data 250, RCPT 550
         ! usable true
         ! begin <> b@y.test
         C: MAIL FROM:<>
         S: 450 later
         = Finished MAIL 450
         ! usable true
         ! phase idle
         ! quit
         C: QUIT
         S: 221 bye
         = Closed
         = Closed
         ! usable false",
    );
    assert!(!client.capabilities().extended && !client.after_final_dot());
}

#[test]
fn a_pipelined_group_leaves_in_one_write() {
    let transcript = after_ehlo(
        "S: 250-PIPELINING\nS: 250-SIZE 1000",
        "! begin a@x.test b@y.test c@y.test
         C: MAIL FROM:<a@x.test> SIZE=100
         C: RCPT TO:<b@y.test>
         C: RCPT TO:<c@y.test>
         C: DATA
         S: 250 ok
         S: 450 4.2.1 Busy
         S: 250 ok
         = Read
         ! phase DATA
         S: 354 go
         = SendContent
         ! content
         S: 250 taken
         = Finished RCPT 450, end of data 250
         ! begin <> b@y.test
         C: MAIL FROM:<> SIZE=100
         C: RCPT TO:<b@y.test>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 354 go
         = SendContent
         ! content
         S: 554 5.7.1 Spam
         = Finished end of data 554
         ! usable true",
    );
    play(false, &transcript);
}

#[test]
fn after_a_failed_transaction_comes_rset() {
    let failed = "! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         C: RCPT TO:<b@y.test>
         C: DATA
         S: 250 ok
         S: 550 no
         S: 503 no recipients
         = Finished RCPT 550
         ! begin a@x.test c@y.test
         C: RSET\n";
    let next = "C: MAIL FROM:<a@x.test>
         C: RCPT TO:<c@y.test>
         C: DATA
         ! phase RSET\n";
    let go_on = format!("{failed}{next} S: 250 ok\n S: 250 ok\n S: 250 ok\n S: 354 ok\n = SendContent");
    play(false, &after_ehlo("S: 250-PIPELINING", &go_on));
    let refused = format!("{failed}{next} S: 500 what?\n = Unexpected 500 what?\n ! usable false");
    play(false, &after_ehlo("S: 250-PIPELINING", &refused));

    let one_by_one = "! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         S: 250 ok
         C: RCPT TO:<b@y.test>
         S: 550 no
         = Finished RCPT 550
         ! begin a@x.test c@y.test
         C: RSET
         S: 250 ok
         C: MAIL FROM:<a@x.test>
         S: 250 ok
         C: RCPT TO:<c@y.test>
         S: 250 ok
         C: DATA
         S: 451 not now
         = Finished DATA 451";
    play(false, &after_ehlo("", one_by_one));
}

#[test]
fn lmtp_answers_for_each_accepted_recipient() {
    let start = "S: 220 store.test\nC: LHLO me.test\nS: 250-store.test\nS: 250 PIPELINING\n= Ready
         ! begin a@x.test b@y.test c@y.test d@y.test
         C: MAIL FROM:<a@x.test>
         C: RCPT TO:<b@y.test>
         C: RCPT TO:<c@y.test>
         C: RCPT TO:<d@y.test>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 550 no
         S: 250 ok
         S: 354 go
         = SendContent
         ! content
         S: 250 stored
         = Read\n";
    play(
        true,
        &format!(
            "{start} S: 452 full\n = Finished end of data 250, RCPT 550, end of data 452\n ! usable true"
        ),
    );
    play(
        true,
        &format!(
            "{start} S: 421 off\n = Finished end of data 250, RCPT 550, end of data 421\n ! usable false"
        ),
    );
    play(
        true,
        &format!("{start} ! abort end of data 250, RCPT 550, end of data 451\n = Closed"),
    );
    play(
        true,
        "S: 220 store.test\nC: LHLO me.test\nS: 500 what?\n= Refused EHLO: 500 what?",
    );
}

#[test]
fn binary_content_goes_by_bdat_once_someone_is_there_to_get_it() {
    let extensions = "S: 250-PIPELINING\nS: 250-CHUNKING\nS: 250-BINARYMIME";
    let start = "! begin a@x.test b@y.test c@y.test binary
         C: MAIL FROM:<a@x.test> BODY=BINARYMIME
         C: RCPT TO:<b@y.test>
         C: RCPT TO:<c@y.test>
         S: 250 ok
         S: 550 no\n";
    let taken = "S: 250 ok
         = SendContent by BDAT
         C: BDAT 100 LAST
         ! content
         S: 250 taken
         = Finished RCPT 550, end of data 250";
    play(false, &after_ehlo(extensions, &format!("{start}{taken}")));
    play(
        false,
        &after_ehlo(
            extensions,
            &format!("{start} S: 550 no\n = Finished RCPT 550, RCPT 550"),
        ),
    );
}

#[test]
fn no_more_transactions_than_the_server_takes() {
    let one = "! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         S: 450 no
         = Finished MAIL 450\n";
    let transcript = format!("{one} ! usable true\n {one} ! usable false");
    let mut client = play(false, &after_ehlo("S: 250-LIMITS MAILMAX=2", &transcript));
    assert_eq!(client.begin(message("a@x.test b@y.test")).unwrap_err().code, 421);
    assert!(client.output().is_empty());
}

#[test]
fn every_recipient_of_many_is_asked_within_the_window() {
    let mut client = play(false, &after_ehlo("S: 250-PIPELINING", ""));
    let recipients: Vec<_> = (0..1000).map(|n| format!("r{n}@y.test")).collect();
    client
        .begin(message(&format!("a@x.test {}", recipients.join(" "))))
        .unwrap();
    let (mut input, mut asked, mut most) = (BytesMut::new(), 0, 0);
    loop {
        let said = String::from_utf8(std::mem::take(client.output())).unwrap();
        most = most.max(client.due.len());
        asked += said.matches("RCPT TO:").count();
        for command in said.lines() {
            input.extend_from_slice(if command == "DATA" {
                b"354 go\r\n"
            } else {
                b"250 ok\r\n"
            });
        }
        match client.step(&mut input).unwrap() {
            ClientStep::Read => assert!(!client.output().is_empty()),
            step => break assert!(matches!(step, ClientStep::SendContent { chunked: false })),
        }
    }
    assert_eq!((asked, most), (1000, WINDOW));
}
