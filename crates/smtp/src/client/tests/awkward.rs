//! Servers that break off, answer out of turn, or make no sense.

use super::{after_ehlo, play};

const GROUP: &str = "! begin a@x.test b@y.test c@y.test
    C: MAIL FROM:<a@x.test>
    C: RCPT TO:<b@y.test>
    C: RCPT TO:<c@y.test>
    C: DATA\n";

/// A pipelined group of MAIL, two RCPT and DATA was sent; then this.
#[track_caller]
fn after_group(rest: &str) {
    play(false, &after_ehlo("S: 250-PIPELINING", &format!("{GROUP}{rest}")));
}

#[test]
fn refused_at_the_door() {
    play(
        false,
        "S: 554 No\n= Refused greeting: 554 No\n= Closed\n! usable false",
    );
    play(false, "S: 421 Busy\n= Refused greeting: 421 Busy");
    play(
        false,
        "S: 220 hi\nC: EHLO me.test\nS: 421 Busy\n= Refused EHLO: 421 Busy",
    );
    play(
        false,
        "S: 220 hi\nC: EHLO me.test\nS: 450 Busy\n= Refused EHLO: 450 Busy",
    );
    play(
        false,
        "S: 220 hi\nC: EHLO me.test\nS: 502 ?\nC: HELO me.test\nS: 550 no\n= Refused EHLO: 550 no\n= Closed",
    );
}

#[test]
fn a_refused_mail_settles_everyone_and_its_group_is_read_to_the_end() {
    after_group(
        "S: 550 5.7.1 Not you
         = Read
         ! phase RCPT
         S: 503 ?
         S: 503 ?
         S: 503 ?
         = Finished MAIL 550, MAIL 550
         ! usable true
         ! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         C: RCPT TO:<b@y.test>
         C: DATA",
    );
    after_group("S: 450 4.7.1 Later\n = Read\n ! abort MAIL 450, MAIL 450");
}

#[test]
fn data_accepted_for_nobody_gets_a_lone_dot() {
    after_group(
        "S: 250 ok
         S: 550 no
         S: 450 no
         S: 354 go
         C: .
         ! phase end of data
         S: 554 nobody
         = Finished RCPT 550, RCPT 450
         ! usable true",
    );
}

#[test]
fn no_dot_when_it_could_send_an_empty_message() {
    after_group(
        "S: 503 nested\n S: 250 ok\n S: 550 no\n S: 354 go\n = Finished MAIL 503, MAIL 503\n = Closed",
    );
    let lmtp = format!(
        "S: 220 hi\nC: LHLO me.test\nS: 250-hi\nS: 250 PIPELINING\n= Ready\n{GROUP}
         S: 250 ok\n S: 550 no\n S: 550 no\n S: 354 go\n = Finished RCPT 550, RCPT 550\n ! usable false"
    );
    play(true, &lmtp);
}

#[test]
fn refused_data_settles_those_accepted() {
    after_group(
        "S: 250 ok\n S: 550 no\n S: 250 ok\n S: 451 full\n = Finished RCPT 550, DATA 451\n ! usable true",
    );
}

#[test]
fn closing_settles_the_rest_wherever_it_comes() {
    after_group("S: 421 bye\n = Finished MAIL 421, MAIL 421\n = Closed\n ! usable false");
    after_group("S: 250 ok\n S: 550 no\n S: 421 bye\n S: 250 x\n = Finished RCPT 550, RCPT 421\n = Closed");
    after_group("S: 250 ok\n S: 250 ok\n S: 250 ok\n S: 421 bye\n = Finished DATA 421, DATA 421\n = Closed");
    let content = "S: 250 ok\n S: 550 no\n S: 250 ok\n S: 354 go\n = SendContent\n";
    after_group(&format!(
        "{content} S: 421 bye\n = Finished RCPT 550, content 421\n ! usable false"
    ));
    after_group(&format!(
        "{content} ! content\n S: 421 bye\n = Finished RCPT 550, end of data 421\n = Closed"
    ));
    play(
        false,
        &after_ehlo(
            "",
            "S: 421 idle too long\n= Refused idle: 421 idle too long\n= Closed",
        ),
    );
}

#[test]
fn content_refused_halfway() {
    let content = "S: 250 ok\n S: 250 ok\n S: 250 ok\n S: 354 go\n = SendContent\n";
    after_group(&format!(
        "{content} S: 552 too big\n = Finished content 552, content 552\n = Closed"
    ));
    after_group(&format!(
        "{content} S: 250 taken\n = Unexpected 250 taken\n ! abort content 451, content 451"
    ));
    let at_once =
        "S: 250 ok\n S: 250 ok\n S: 250 ok\n S: 354 go\n S: 552 too big\n = SendContent\n ! content\n";
    after_group(&format!("{at_once} = Finished end of data 552, end of data 552"));
    let at_once = at_once.replace("552 too big", "250 taken");
    after_group(&format!("{at_once} = Unexpected 250 taken"));
}

#[test]
fn replies_nobody_asked_for() {
    play(false, "S: 220 hi\nS: 250 hi\n= Unexpected 250 hi\n= Closed");
    play(
        false,
        &after_ehlo("", "S: 250 ok\n= Unexpected 250 ok\n! usable false"),
    );
    // Said before MAIL was: it must not be taken for its reply.
    let flood = "! begin a@x.test b@y.test
         C: MAIL FROM:<a@x.test>
         S: 450 no
         S: 250 ok
         S: 250 ok
         = Finished MAIL 450
         ! usable false
         = Unexpected 250 ok";
    play(false, &after_ehlo("", flood));
    after_group(
        "S: 250 ok\n S: 250 ok\n S: 250 ok\n S: 250 ok\n = Unexpected 250 ok\n ! abort DATA 451, DATA 451",
    );
}

#[test]
fn a_message_that_was_taken_stays_taken_whatever_follows() {
    after_group(
        "S: 250 ok
         S: 250 ok
         S: 250 ok
         S: 354 go
         = SendContent
         ! content
         S: 250 taken
         S: 421 and good bye
         = Finished end of data 250, end of data 250
         ! usable false
         = Refused idle: 421 and good bye",
    );
}

#[test]
fn replies_that_make_no_sense() {
    after_group("S: 354 go\n = Unexpected 354 go\n ! abort MAIL 451, MAIL 451");
    after_group("S: 250 ok\n S: 354 go\n = Unexpected 354 go\n ! phase RCPT");
    after_group("S: 250-ok\n S: 550 no\n = Malformed(\"550 no\")\n ! abort MAIL 451, MAIL 451\n = Closed");
    after_group("S: HTTP/1.1 200 OK\n = Malformed(\"HTTP/1.1 200 OK\")");
    play(false, "S: 354 go\n= Unexpected 354 go");
    play(
        false,
        &format!("{}\n= TooLong\n= Closed", "S: 220-hi\n".repeat(300)),
    );
    play(false, &format!("S: 220 {}\n= TooLong", "x".repeat(10_000_000)));
}

#[test]
fn multi_line_and_bare_replies() {
    after_group("S: 250-a\n S: 250-\n S: 250 b\n S: 250\n S: 550-\n S: 550\n S: 354\n = SendContent");
}
