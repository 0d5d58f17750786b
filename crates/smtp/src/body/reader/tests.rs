use super::*;
use proptest::prelude::*;

const WIDE: Limits = Limits {
    size: 1 << 20,
    line: 998,
};

/// What reading some input gave: content, octets behind the end, whether the end was found, verdict.
#[derive(Debug, PartialEq)]
struct Outcome {
    content: Vec<u8>,
    rest: Vec<u8>,
    ended: bool,
    breach: Option<Breach>,
    info: BodyInfo,
}

/// Reads DATA from `input` cut into pieces of the lengths of `cuts`, and a last one.
fn data(limits: Limits, input: &[u8], cuts: &[usize]) -> Outcome {
    let mut reader = Reader::data(limits);
    let (mut content, mut buffer, mut rest) = (Vec::new(), BytesMut::new(), input);
    let mut cuts = cuts.iter();
    loop {
        match reader.next(&mut buffer) {
            Piece::Content(chunk) => {
                assert!(!chunk.is_empty());
                content.extend_from_slice(&chunk);
            }
            Piece::More if rest.is_empty() => break,
            Piece::More => {
                assert!(buffer.is_empty());
                let (now, later) = rest.split_at(cuts.next().map_or(rest.len(), |cut| *cut.min(&rest.len())));
                buffer.extend_from_slice(now);
                rest = later;
            }
            Piece::End => break,
        }
    }
    let ended = reader.at == At::End;
    let rest = [&buffer, rest].concat();
    Outcome {
        content,
        rest,
        ended,
        breach: reader.breach(),
        info: reader.info(),
    }
}

/// The rules, octet by octet.
fn reference(input: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut out = Vec::new();
    let (mut i, mut fresh) = (0, true);
    while i < input.len() {
        let rest = &input[i..];
        if fresh && rest.starts_with(b".\r\n") {
            return (out, Some(i + 3));
        }
        if fresh && rest[0] == b'.' {
            i += 1;
            fresh = false;
            continue;
        }
        fresh = rest.starts_with(b"\r\n");
        if fresh {
            i += 1;
        }
        match input[i] {
            b'\r' | b'\n' => out.extend_from_slice(b"\r\n"),
            octet => out.push(octet),
        }
        i += 1;
    }
    (out, None)
}

#[test]
fn a_clean_mail_is_one_piece_and_not_copied() {
    let mail = b"Subject: x\r\n\r\nHello\r\n.\r\nQUIT\r\n";
    let mut buffer = BytesMut::from(&mail[..]);
    let start = buffer.as_ptr();
    let mut reader = Reader::data(WIDE);
    let Piece::Content(chunk) = reader.next(&mut buffer) else {
        panic!("no content")
    };
    assert_eq!(chunk, &mail[..mail.len() - 9]);
    assert_eq!(chunk.as_ptr(), start);
    assert_eq!(reader.next(&mut buffer), Piece::End);
    assert_eq!(buffer, &b"QUIT\r\n"[..]);
}

#[test]
fn only_crlf_dot_crlf_ends() {
    for (wire, content) in [
        ("a\n.\nb", "a\r\n.\r\nb"),
        ("a\n.\r\nb", "a\r\n.\r\nb"),
        ("a\r\n.\nb", "a\r\n\r\nb"),
        ("a\r.\rb", "a\r\n.\r\nb"),
        ("a\r.\r\nb", "a\r\n.\r\nb"),
        ("a\r\n.\rb", "a\r\n\r\nb"),
        ("a\n.\rb", "a\r\n.\r\nb"),
        ("a\r.\nb", "a\r\n.\r\nb"),
        ("a\r\n\0.\r\nb", "a\r\n\0.\r\nb"),
        ("a\r\r\n.\r\r\nb", "a\r\n\r\n\r\n\r\nb"),
        ("a\r\n.\r\r\nb", "a\r\n\r\n\r\nb"),
        ("a\r\n..\r\nb", "a\r\n.\r\nb"),
        ("a\r\n.b\r\n", "a\r\nb\r\n"),
        ("\n.\r\n", "\r\n.\r\n"),
    ] {
        let wire = format!("{wire}\r\n.\r\nNOOP");
        let outcome = data(WIDE, wire.as_bytes(), &[]);
        assert!(outcome.ended, "{wire:?}");
        assert_eq!(outcome.rest, b"NOOP", "{wire:?}");
        assert_eq!(
            String::from_utf8(outcome.content).unwrap(),
            format!("{content}\r\n"),
            "{wire:?}"
        );
    }
    assert_eq!(data(WIDE, b".\r\nX", &[]).rest, b"X");
}

#[test]
fn the_header_is_looked_at() {
    let info = |text: &str| data(WIDE, format!("{text}\r\n.\r\n").as_bytes(), &[3, 1, 1]).info;
    let seen = info("Received: a\r\nRECEIVED:b\r\n received: c\r\nReceived : d\r\n\r\nReceived: e");
    assert_eq!(seen.received_fields, 2);
    assert_eq!((seen.header_8bit, seen.has_8bit), (false, false));
    let seen = info("A: b\r\n\r\né");
    assert_eq!((seen.header_8bit, seen.has_8bit), (false, true));
    let seen = info("A: é\n\nb");
    assert_eq!(
        (seen.header_8bit, seen.has_8bit, seen.bare_line_ends),
        (true, true, 2)
    );
}

#[test]
fn limits_hold_and_the_end_is_found() {
    let small = Limits { size: 10, line: 5 };
    let breach = |text: &str| {
        let outcome = data(small, format!("{text}\r\n.\r\nNOOP").as_bytes(), &[2, 2]);
        assert_eq!(outcome.rest, b"NOOP");
        outcome.breach
    };
    assert_eq!(breach("12345\r\n1"), None);
    assert_eq!(breach("123456"), Some(Breach::Line));
    assert_eq!(breach("12345\r\n12"), Some(Breach::Size));
    assert_eq!(breach("12345678901"), Some(Breach::Size));
    assert_eq!(breach("..2345"), None);
    assert_eq!(breach("1\n2\n3\n4"), Some(Breach::Size));
}

/// Reads chunks, each fed in pieces of `cut` octets.
fn chunks(wire: &[&[u8]], binary: bool, cut: usize) -> (Vec<u8>, BodyInfo) {
    let mut reader = Reader::chunks(WIDE, binary);
    let mut content = Vec::new();
    for (i, chunk) in wire.iter().enumerate() {
        let (mut left, mut buffer, mut rest) = (chunk.len() as u64, BytesMut::new(), *chunk);
        reader.announce(left);
        loop {
            match reader.next_of_chunk(&mut buffer, &mut left, i + 1 == wire.len()) {
                Piece::Content(piece) => content.extend_from_slice(&piece),
                Piece::More => {
                    let (now, later) = rest.split_at(cut.min(rest.len()));
                    buffer.extend_from_slice(now);
                    rest = later;
                }
                Piece::End => break,
            }
        }
        assert_eq!((left, rest.len(), buffer.len()), (0, 0, 0));
    }
    (content, reader.info())
}

#[test]
fn chunks_are_normalised_across_their_ends() {
    let read = |wire: &[&[u8]]| String::from_utf8(chunks(wire, false, 1).0).unwrap();
    assert_eq!(read(&[b"a\r", b"\nb"]), "a\r\nb");
    assert_eq!(read(&[b"a\r", b"", b"\r", b"\n.\r\n"]), "a\r\n\r\n.\r\n");
    assert_eq!(read(&[b"a\n", b".\r"]), "a\r\n.\r\n");
    let (content, info) = chunks(&[b"Received: x\r\n\r\n\0\r", b"\xff\n"], true, 2);
    assert_eq!(content, b"Received: x\r\n\r\n\0\r\xff\n");
    assert_eq!(
        (info.received_fields, info.bare_line_ends, info.has_8bit),
        (1, 0, true)
    );
}

#[test]
fn an_announced_size_is_a_breach_at_once() {
    let mut reader = Reader::chunks(WIDE, true);
    reader.announce(u64::MAX);
    reader.announce(u64::MAX);
    assert_eq!(reader.breach(), Some(Breach::Size));
}

fn awkward() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(&b"\r\n"[..]), 2 => Just(&b"."[..]), 2 => Just(&b"\r"[..]), 2 => Just(&b"\n"[..]),
        1 => Just(&b"\r\n.\r\n"[..]), 2 => Just(&b"text"[..]), 1 => Just(&b"Received: "[..]), 1 => Just(&b"\xc3\xa9"[..]),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn as_the_reference_says_however_it_is_split(wire in awkward(), cuts in proptest::collection::vec(1_usize..6, 0..80)) {
        let whole = data(WIDE, &wire, &[]);
        let split = data(WIDE, &wire, &cuts);
        let (content, end) = reference(&wire);
        prop_assert_eq!(whole.ended, end.is_some());
        if let Some(end) = end {
            prop_assert_eq!(&whole.content, &content);
            prop_assert_eq!(&whole.rest, &wire[end..]);
            prop_assert_eq!(whole.info.size, content.len() as u64);
            prop_assert_eq!(&split, &whole);
        }
    }

    #[test]
    fn breaches_do_not_depend_on_splits(wire in awkward(), cuts in proptest::collection::vec(1_usize..6, 0..80)) {
        let limits = Limits { size: 40, line: 8 };
        let (whole, split) = (data(limits, &wire, &[]), data(limits, &wire, &cuts));
        prop_assert_eq!((whole.breach, whole.ended, whole.rest), (split.breach, split.ended, split.rest));
    }

    #[test]
    fn what_is_stuffed_comes_back(wire in awkward(), cuts in proptest::collection::vec(1_usize..6, 0..80)) {
        let content = reference(&[&wire[..], b"\r\n"].concat()).0;
        let content = if content.ends_with(b"\r\n") { content } else { b"\r\n".to_vec() };
        let (mut stuffer, mut out) = (crate::DotStuffer::default(), Vec::new());
        stuffer.push(&content, &mut out);
        stuffer.finish(&mut out);
        let back = data(WIDE, &out, &cuts);
        prop_assert!(back.ended && back.rest.is_empty());
        prop_assert_eq!(back.content, content);
    }

    #[test]
    fn chunks_of_any_size_give_the_same(wire in awkward(), cut in 1_usize..8) {
        let whole = chunks(&[&wire], false, usize::MAX);
        let parts: Vec<&[u8]> = wire.chunks(cut).collect();
        let cut_up = if parts.is_empty() { chunks(&[b""], false, 1) } else { chunks(&parts, false, 1) };
        prop_assert_eq!(cut_up, whole);
        let binary = chunks(&[&wire], true, cut);
        prop_assert_eq!(binary.0, wire);
    }
}
