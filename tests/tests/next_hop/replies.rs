//! Replies that come too late, not at all, or are none: the message is deferred, and delivered at the next attempt.

use super::{command, relay_to, send};
use blackbox::sink::{Act, Moment, Sink};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first attempt meets `act`, later ones an honest server: deferred once, then delivered.
fn deferred_then_sent(when: &'static str, act: Act, said: &str) {
    let spoilt = AtomicBool::new(false);
    let sink = Sink::scripted(move |_, moment| {
        let here = match when {
            "greeting" => *moment == Moment::Greeting,
            "end of data" => matches!(moment, Moment::EndOfData(_)),
            verb => command(moment, verb),
        };
        if here && !spoilt.swap(true, Ordering::SeqCst) {
            act.clone()
        } else {
            Act::Default
        }
    });
    let server = relay_to(&sink);
    send(&server, &["b@y.test"]);
    let deferred = server.wait_event("delivery", |line| line["status"] == "deferred");
    let text = deferred["text"].as_str().expect("text");
    assert!(text.contains(said), "{when}: {text}");
    assert!(text.len() < 1500, "a line of the log is short: {}", text.len());
    // After a final dot a duplicate is possible, and the next attempt waits; an operator need not.
    server.done(&["queue", "retry", "--all"]);
    server.wait_event("delivery", |line| line["status"] == "sent");
    server.wait_empty();
    assert!(sink.count() >= 1);
}

#[test]
fn closes_before_the_greeting() {
    deferred_then_sent("greeting", Act::Close, "greeting");
}

#[test]
fn turns_us_away_with_421() {
    deferred_then_sent(
        "greeting",
        Act::RawClose(b"421 4.3.2 too busy\r\n".to_vec()),
        "too busy",
    );
}

#[test]
fn closes_in_the_middle_of_a_reply() {
    deferred_then_sent("MAIL", Act::RawClose(b"250-2.1.0 half a rep".to_vec()), "MAIL");
}

#[test]
fn closes_at_the_reply_to_the_final_dot() {
    deferred_then_sent("end of data", Act::RawClose(b"250 2.0.0 tak".to_vec()), "may");
}

#[test]
fn hangs_after_the_final_dot() {
    deferred_then_sent("end of data", Act::Hang, "end of data");
}

#[test]
fn loses_its_reply_after_keeping_the_message() {
    deferred_then_sent("end of data", Act::KeepAndClose, "may");
}

#[test]
fn answers_ten_megabytes_in_one_line() {
    deferred_then_sent(
        "MAIL",
        Act::RawClose([b"250 ".to_vec(), vec![b'x'; 10 << 20]].concat()),
        "too long",
    );
}

#[test]
fn answers_without_end() {
    deferred_then_sent("EHLO", Act::RawClose(b"250-more\r\n".repeat(100_000)), "too long");
}

#[test]
fn answers_something_else_than_a_reply() {
    deferred_then_sent(
        "MAIL",
        Act::RawClose(b"<html>not SMTP</html>\r\n".to_vec()),
        "not",
    );
}

#[test]
fn answers_354_to_mail() {
    deferred_then_sent("MAIL", Act::RawClose(b"354 go ahead\r\n".to_vec()), "354");
}

#[test]
fn says_451_to_the_message() {
    deferred_then_sent(
        "end of data",
        Act::Say("451 4.3.0 try again".into()),
        "451 4.3.0 try again",
    );
}
