//! Message after message, as it should go.

use super::{after_ehlo, message, play};
use crate::client::{ClientStep, WINDOW};
use bytes::BytesMut;

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
fn a_probe_ends_before_data() {
    let transcript = after_ehlo(
        "S: 250-PIPELINING",
        "! probe <> b@y.test c@y.test
         C: MAIL FROM:<>
         C: RCPT TO:<b@y.test>
         C: RCPT TO:<c@y.test>
         S: 250 ok
         S: 250 ok
         S: 550 5.1.1 Nobody
         = Finished RCPT 250, RCPT 550
         ! usable true
         ! probe <> b@y.test
         C: RSET
         C: MAIL FROM:<>
         C: RCPT TO:<b@y.test>
         S: 250 ok
         S: 450 later
         S: 503 5.5.1 MAIL first
         = Finished MAIL 450
         ! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         C: RCPT TO:<b@y.test>
         C: DATA",
    );
    play(false, &transcript);
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
