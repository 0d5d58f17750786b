//! The next message, begun together with the end of the one before (RFC 2920 3.1).

use super::{after_ehlo, play};
use crate::client::{Client, WINDOW};

/// Up to the go-ahead for a message to b and c.
const FIRST: &str = "! begin a@x.test b@y.test c@y.test
    C: MAIL FROM:<a@x.test>
    C: RCPT TO:<b@y.test>
    C: RCPT TO:<c@y.test>
    C: DATA
    S: 250 ok
    S: 250 ok
    S: 250 ok
    S: 354 go
    = SendContent\n";
/// Its content, and the next message to d.
const NEXT: &str = "! content
    ! ahead a@x.test d@y.test
    C: MAIL FROM:<a@x.test>
    C: RCPT TO:<d@y.test>
    C: DATA\n";

/// Plays it with a server that offers PIPELINING, after [`FIRST`].
#[track_caller]
fn after_first(rest: &str) -> Client {
    play(false, &after_ehlo("S: 250-PIPELINING", &format!("{FIRST}{rest}")))
}

/// The same, the next message being on its way.
#[track_caller]
fn after_next(rest: &str) -> Client {
    after_first(&format!("{NEXT}{rest}"))
}

#[test]
fn replies_go_to_the_message_that_they_are_for() {
    after_next(
        "! no_ahead a@x.test e@y.test
         ! phase end of data
         = Read
         S: 550 spam
         S: 250 ok
         S: 250 ok
         S: 354 go
         = Finished end of data 550, end of data 550
         ! usable false
         ! phase MAIL
         ! begin a@x.test d@y.test
         = SendContent
         ! content
         ! ahead <> e@y.test
         C: MAIL FROM:<>
         C: RCPT TO:<e@y.test>
         C: DATA
         S: 250 taken
         = Finished end of data 250
         ! begin <> e@y.test
         S: 250 ok
         S: 250 ok
         = Read
         S: 354 go
         = SendContent
         ! content
         S: 250 taken
         = Finished end of data 250
         ! usable true
         ! quit
         C: QUIT",
    );
}

#[test]
fn only_what_was_begun_goes_on() {
    after_next(
        "S: 250 taken
         = Finished end of data 250, end of data 250
         ! begin_other a@x.test e@y.test
         ! begin_other a@x.test d@y.test
         ! quit",
    );
}

#[test]
fn not_before_the_content_is_written_nor_where_the_server_does_not_let_us() {
    after_first("! no_ahead a@x.test d@y.test");
    after_first("! content\n ! no_ahead a@x.test\n ! no_ahead a@x.test d@y.test binary\n = Read");
    let one_by_one = "! begin a@x.test b@y.test
        C: MAIL FROM:<a@x.test>
        S: 250 ok
        C: RCPT TO:<b@y.test>
        S: 250 ok
        C: DATA
        S: 354 go
        = SendContent
        ! content
        ! no_ahead a@x.test d@y.test
        S: 250 taken
        = Finished end of data 250";
    play(false, &after_ehlo("S: 250-8BITMIME", one_by_one));
    let last = format!("{FIRST}! content\n ! no_ahead a@x.test d@y.test");
    play(
        false,
        &after_ehlo("S: 250-PIPELINING\nS: 250-LIMITS MAILMAX=1", &last),
    );
}

#[test]
fn a_refused_one_leaves_the_connection_usable() {
    after_next(
        "S: 250 taken
         = Finished end of data 250, end of data 250
         ! begin a@x.test d@y.test
         S: 250 ok
         S: 550 nobody
         S: 354 go
         C: .
         S: 250 taken
         = Finished RCPT 550
         ! begin a@x.test e@y.test
         C: MAIL FROM:<a@x.test>
         C: RCPT TO:<e@y.test>
         C: DATA
         S: 450 later
         S: 503 ?
         S: 503 ?
         = Finished MAIL 450
         ! usable true",
    );
}

#[test]
fn a_server_that_goes_has_answered_only_for_the_first() {
    after_next(
        "S: 421 bye\n = Finished end of data 421, end of data 421\n ! begin_other a@x.test d@y.test\n = Closed",
    );
    after_next(
        "S: 250 taken
         S: 421 enough
         = Finished end of data 250, end of data 250
         ! begin a@x.test d@y.test
         = Finished MAIL 421
         ! usable false
         = Closed",
    );
    after_next("! abort end of data 451, end of data 451\n ! begin_other a@x.test d@y.test\n = Closed");
    after_next(
        "S: 250 taken
         = Finished end of data 250, end of data 250
         ! begin a@x.test d@y.test
         S: 250 ok
         = Read
         ! abort RCPT 451",
    );
}

#[test]
fn replies_out_of_turn_are_none() {
    after_next("S: 354 go\n = Unexpected 354 go\n ! abort end of data 451, end of data 451");
    after_next(
        "S: 250 taken
         S: 354 go
         = Finished end of data 250, end of data 250
         ! begin a@x.test d@y.test
         = Unexpected 354 go
         ! abort MAIL 451",
    );
}

/// It has a reply for each recipient before the next message's.
#[test]
fn by_lmtp() {
    let transcript = format!(
        "S: 220 hi\n C: LHLO me.test\n S: 250-mx.test\n S: 250 PIPELINING\n = Ready\n{FIRST}{NEXT}
         S: 250 b has it
         = Read
         S: 452 c is full
         S: 250 ok
         = Finished end of data 250, end of data 452
         ! begin a@x.test d@y.test
         S: 250 ok
         S: 354 go
         = SendContent
         ! content
         S: 250 d has it
         = Finished end of data 250"
    );
    play(true, &transcript);
}

/// What does not fit into the window leaves when the server has answered.
#[test]
fn one_for_many_recipients() {
    let many: Vec<String> = (0..150).map(|number| format!("r{number}@y.test")).collect();
    let next = format!("a@x.test {}", many.join(" "));
    let rcpt = |of: &[String]| -> String { of.iter().map(|to| format!("C: RCPT TO:<{to}>\n")).collect() };
    let (ahead, rest) = many.split_at(WINDOW - 2);
    let oks = |count: usize| "S: 250 ok\n".repeat(count);
    let rest: Vec<String> = rest.iter().map(|to| format!("C: RCPT TO:<{to}>\n")).collect();
    let rest = rest.join("S: 250 ok\n");
    after_first(&format!(
        "! content\n ! ahead {next}\n C: MAIL FROM:<a@x.test>\n {}
         S: 250 taken\n = Finished end of data 250, end of data 250\n ! begin {next}\n {rest}S: 250 ok\n C: DATA\n {} S: 354 go\n = SendContent",
        rcpt(ahead),
        oks(99),
    ));
}
