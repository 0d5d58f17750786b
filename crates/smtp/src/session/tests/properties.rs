//! What holds for any stream of octets.

use super::driver::{Driver, Record, converse, open_settings, tls_settings};
use crate::session::Note;
use proptest::prelude::*;

/// Parts that conversations are made of, and parts that break them. `b2s=` is `ok` in base64, `YXNr` is `ask`.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let texts = prop_oneof![
        4 => Just("EHLO x\r\n"), 4 => Just("MAIL FROM:<a@x>\r\n"), 1 => Just("MAIL FROM:<a@x> BODY=BINARYMIME\r\n"),
        1 => Just("MAIL FROM:<nodata@x>\r\n"), 6 => Just("RCPT TO:<b@y>\r\n"), 1 => Just("RCPT TO:<no@y>\r\n"),
        6 => Just("DATA\r\n"), 4 => Just("\r\n.\r\n"), 1 => Just("\n.\n"), 1 => Just("."), 1 => Just("\r"), 1 => Just("\n"),
        2 => Just("BDAT 3\r\nab\r"), 2 => Just("BDAT 3 LAST\r\n\n.\r"), 1 => Just("BDAT 0\r\n"), 1 => Just("BDAT 900\r\n"),
        1 => Just("RSET\r\n"), 1 => Just("NOOP\n"), 1 => Just("Received: x\r\n"), 1 => Just("REJECT"), 1 => Just("é"),
        4 => Just("AUTH PLAIN\r\n"), 1 => Just("AUTH LOGIN =\r\n"), 1 => Just("AUTH PLAIN b2s=\r\n"), 1 => Just("AUTH LOGIN bm8=\r\n"),
        2 => Just("b2s=\r\n"), 2 => Just("YXNr\r\n"), 1 => Just("bGF0ZXI=\r\n"), 1 => Just("Ynll\r\n"), 2 => Just("*\r\n"), 1 => Just("\r\n"),
        1 => Just("STARTTLS\r\n"),
    ];
    prop_oneof![
        20 => texts.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => prop_oneof![990_usize..2100, 12_200_usize..12_300].prop_map(|length| vec![b'A'; length]),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(part(), 0..40).prop_map(|parts| parts.concat())
}

/// What comes of a stream in clear, and of another one under TLS if it came to that.
fn talk<P: AsRef<[u8]>, Q: AsRef<[u8]>>(clear: &[P], secured: &[Q]) -> Record {
    let mut driver = Driver::new(open_settings());
    for piece in clear {
        driver.send(piece);
    }
    if driver.in_handshake {
        driver.handshake(tls_settings());
        for piece in secured {
            driver.send(piece);
        }
        assert!(!driver.in_handshake);
    }
    driver.record
}

fn split<'a>(mut octets: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = octets.split_at(*cut.min(&octets.len()));
        pieces.push(piece);
        octets = rest;
    }
    pieces.push(octets);
    pieces
}

proptest! {
    #[test]
    fn the_same_however_it_is_split(clear in stream(), secured in stream(), cuts in proptest::collection::vec(0_usize..30, 0..100)) {
        let mut whole = talk(&[&clear], &[&secured]);
        let mut split = talk(&split(&clear, &cuts), &split(&secured, &cuts));
        // Whether input came too early is a matter of time, and that is what a split is.
        whole.notes.retain(|note| *note != Note::UnauthorizedPipelining);
        split.notes.retain(|note| *note != Note::UnauthorizedPipelining);
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn one_octet_at_a_time(clear in stream(), secured in stream()) {
        let whole = talk(&[&clear], &[&secured]);
        let single = talk(&clear.chunks(1).collect::<Vec<_>>(), &secured.chunks(1).collect::<Vec<_>>());
        prop_assert_eq!((single.output, single.messages, single.auth), (whole.output, whole.messages, whole.auth));
    }

    #[test]
    fn every_reply_is_reported_and_well_formed(clear in stream(), secured in stream()) {
        let record = talk(&[&clear], &[&secured]);
        let reported: Vec<u16> = record.answered.iter().map(|(_, code)| *code).collect();
        prop_assert_eq!(&record.codes()[1..], &reported[..]);
    }

    #[test]
    fn a_reply_for_each_line_of_auth(lines in proptest::collection::vec("(EHLO x|MAIL FROM:<a@x>|RSET|STARTTLS|AUTH (PLAIN|LOGIN|X)( b2s=| YXNr| =)?|[*]|b2s=|YXNr||bm8=|[A-Za-z]{0,6})", 0..40)) {
        let mut driver = Driver::new(open_settings());
        driver.send("EHLO x\r\n");
        for line in lines {
            let before = driver.record.codes().len();
            driver.send(format!("{line}\r\n"));
            prop_assert_eq!(driver.record.codes().len(), before + 1, "{}", line);
            if driver.record.closed {
                break;
            }
            if driver.in_handshake {
                driver.handshake(tls_settings()).send("EHLO y\r\n");
            }
        }
    }

    #[test]
    fn a_reply_for_each_command(lines in proptest::collection::vec("(EHLO x|MAIL FROM:<a@x>|MAIL FROM:<>|RCPT TO:<b@y>|RCPT TO:<no@y>|RSET|NOOP|VRFY x|HELP|[A-Z]{0,4} [ -~]{0,10})", 0..40)) {
        let lines: Vec<&String> = lines.iter().filter(|line| !matches!(&line[..4.min(line.len())], "DATA" | "BDAT" | "QUIT")).collect();
        let stream: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let record = converse(open_settings(), &[stream]);
        let expected = 1 + lines.len();
        if record.closed {
            prop_assert!(record.codes().len() <= expected);
        } else {
            prop_assert_eq!(record.codes().len(), expected);
        }
    }

    #[test]
    fn any_octets(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
        let record = converse(open_settings(), &[&octets]);
        prop_assert_eq!(record.codes().len(), 1 + record.answered.len());
    }
}
