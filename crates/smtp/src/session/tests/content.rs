//! The ends of content, chunks, limits.

use super::driver::{Driver, Record, converse, settings};
use crate::session::{Note, Settings};

const HELLO: &str = "EHLO x\r\n";
const OPEN: &str = "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n";

fn run(text: &str) -> Record {
    converse(settings(), &[HELLO, OPEN, text])
}

/// What would smuggle a second mail if it ended the first.
const ENDS: [&str; 16] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r\n\0.\r\n",
    "\r\r\n.\r\r\n",
    "\n.\r",
    "\r.\n",
    "\r\n.\r\r\n",
    "\n\n.\n\n",
    "\r\n\u{2028}.\r\n",
    "\r\n .\r\n",
    "\r\n..\r\n",
    "\n\r.\n\r",
];

#[test]
fn variants_of_the_end_are_content() {
    let smuggled = "MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nboo";
    for end in ENDS {
        let data = format!("DATA\r\nfirst{end}{smuggled}\r\n.\r\nMAIL FROM:<c@x>\r\n");
        let whole = run(&data);
        assert_eq!(whole.codes(), [220, 250, 250, 250, 354, 250, 250], "{end:?}");
        assert_eq!(whole.messages.len(), 1);
        assert_eq!(whole.messages[0].0.sender, "a@x");
        for at in 0..data.len() {
            let (one, two) = data.as_bytes().split_at(at);
            let split = converse(settings(), &[HELLO.as_bytes(), OPEN.as_bytes(), one, two]);
            assert_eq!(split.messages, whole.messages, "{end:?} at {at}");
            assert_eq!(split.output, whole.output, "{end:?} at {at}");
        }
    }
}

#[test]
fn variants_of_the_end_over_bdat() {
    for end in ENDS.into_iter().chain(["\r\n.\r\n"]) {
        let content = format!("first{end}MAIL FROM:<evil@x>\r\n");
        for at in 0..=content.len() {
            let (one, two) = content.as_bytes().split_at(at);
            let first = format!("BDAT {}\r\n", one.len());
            let second = format!("BDAT {} LAST\r\n", two.len());
            let pieces = [
                HELLO.as_bytes(),
                OPEN.as_bytes(),
                first.as_bytes(),
                one,
                second.as_bytes(),
                two,
                b"NOOP\r\n",
            ];
            let record = converse(settings(), &pieces);
            assert_eq!(
                record.codes(),
                [220, 250, 250, 250, 250, 250, 250],
                "{end:?} at {at}"
            );
            assert_eq!(record.messages.len(), 1);
        }
    }
}

#[test]
fn bare_line_ends_are_noted_once() {
    let record = run("DATA\r\na\nb\rc\r\n.\r\nDATA\r\n");
    assert_eq!(
        record.notes,
        [Note::UnauthorizedPipelining, Note::BareLineEnds,][..]
    );
    assert_eq!(record.messages[0].0.content, b"a\r\nb\r\nc\r\n");
    assert_eq!(record.messages[0].1.bare_line_ends, 2);
}

#[test]
fn a_mail_over_size_is_refused_once_after_its_end() {
    let long = format!(
        "DATA\r\n{}.\r\n{OPEN}DATA\r\nsmall\r\n.\r\n",
        "0123456789\r\n".repeat(1000)
    );
    let record = run(&long);
    assert_eq!(record.codes(), [220, 250, 250, 250, 354, 552, 250, 250, 354, 250]);
    assert_eq!(record.refused, [552]);
    assert_eq!(record.messages.len(), 1);
    assert_eq!(record.messages[0].0.content, b"small\r\n");
}

#[test]
fn a_long_line_is_refused_once_after_the_end() {
    let wide = Settings {
        max_message_size: 1 << 20,
        ..settings()
    };
    for (length, code) in [(998, 250), (999, 554), (70000, 554)] {
        let text = format!("DATA\r\na\r\n{}\r\nb\r\n.\r\nNOOP\r\n", "x".repeat(length));
        let record = converse(wide.clone(), &[HELLO, OPEN, &text]);
        assert_eq!(record.codes()[4..], [354, code, 250]);
        let text = format!("BDAT {}\r\n{}BDAT 0 LAST\r\nNOOP\r\n", length, "x".repeat(length));
        let record = converse(wide.clone(), &[HELLO, OPEN, &text]);
        let last = if code == 250 { 250 } else { 503 };
        assert_eq!(record.codes()[4..], [code, last, 250]);
    }
    let text = format!(
        "MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@x>\r\nBDAT 2000 LAST\r\n{}",
        "x".repeat(2000)
    );
    assert_eq!(converse(wide, &[HELLO, &text]).codes()[4..], [250]);
}

#[test]
fn chunks_over_size_are_drained_and_refused_once() {
    let mut text = format!("BDAT 600\r\n{}", "x\r\n".repeat(200));
    for _ in 0..30 {
        text.push_str(&format!("BDAT 600\r\n{}", "NOOP\r\n".repeat(100)));
    }
    text.push_str("BDAT 0 LAST\r\n");
    let record = run(&text);
    assert_eq!(record.codes()[4..6], [250, 552]);
    assert!(record.codes()[6..].iter().all(|code| *code == 503));
    assert_eq!(record.codes().len(), 4 + 2 + 29 + 1);
    assert_eq!(
        (record.refused.as_slice(), record.delays.len(), record.closed),
        (&[552][..], 0, false)
    );
    let huge = run(&format!("BDAT {}\r\nNOOP\r\n", u64::MAX));
    assert_eq!(huge.codes().len(), 4);
}

#[test]
fn chunks_without_recipients_are_drained() {
    let record = converse(
        settings(),
        &[
            HELLO,
            "BDAT 6\r\nRSET\r\nMAIL FROM:<>\r\nBDAT 6 LAST\r\nRSET\r\nDATA\r\n",
        ],
    );
    assert_eq!(record.codes(), [220, 250, 503, 250, 503, 554]);
}

#[test]
fn a_chunk_of_unknown_size_ends_the_session() {
    for size in ["18446744073709551616", "-1", "x", "1 FIRST", ""] {
        let record = run(&format!("BDAT {size}\r\nMAIL FROM:<evil@x>\r\n"));
        assert_eq!(record.last_line(), "501 5.5.4 Syntax: BDAT size [LAST], closing");
        assert!(record.closed);
    }
}

#[test]
fn between_chunks_only_chunks() {
    let mut driver = Driver::new(settings());
    driver
        .send(HELLO)
        .send(OPEN)
        .send("BDAT 3\r\na\r\nDATA\r\nRCPT TO:<c@y>\r\nMAIL FROM:<>\r\nNOOP\r\nBDAT 1 LAST\r\nb");
    assert_eq!(driver.record.codes()[4..], [250, 503, 503, 503, 250, 250]);
    assert_eq!(driver.record.messages[0].0.content, b"a\r\nb");
    driver.send(OPEN).send("BDAT 1\r\nxRSET\r\nBDAT 1 LAST\r\ny");
    assert_eq!(driver.record.codes()[12..], [250, 250, 503]);
    assert_eq!(driver.record.messages.len(), 1);
}

#[test]
fn a_million_tiny_chunks() {
    let mut driver = Driver::new(Settings {
        max_message_size: 5,
        ..settings()
    });
    driver.send(HELLO).send(OPEN);
    for _ in 0..1000 {
        driver.send("BDAT 1\r\nxBDAT 0\r\n".repeat(1000));
        driver.record.output.clear();
        driver.record.answered.clear();
    }
    assert!(!driver.record.closed && driver.record.refused == [552]);
}
