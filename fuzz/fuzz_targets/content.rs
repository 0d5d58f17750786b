//! Content of DATA and of BDAT, in any pieces, beside a reader that goes octet by octet.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use smtp::body::{Breach, Limits, Piece, Reader};

const LIMITS: Limits = Limits { size: 300, line: 40 };
const WIDE: Limits = Limits {
    size: u64::MAX,
    line: usize::MAX,
};

fuzz_target!(|input: &[u8]| {
    let (cuts, octets) = input.split_at(input.len().min(8));
    data(octets, cuts);
    chunks(octets, cuts, false);
    chunks(octets, cuts, true);
});

/// Lengths of pieces, over and over.
fn lengths(cuts: &[u8]) -> impl Iterator<Item = usize> {
    cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle()
}

/// DATA: content, end and limits as expected.
fn data(octets: &[u8], cuts: &[u8]) {
    let (expected, end, _) = reference(octets, true);
    let (content, used, _) = read(Reader::data(WIDE), octets, cuts);
    let whole = read(Reader::data(WIDE), octets, &[]);
    assert_eq!(used, whole.1);
    if let Some(end) = end {
        assert_eq!((&content, used), (&expected, Some(end)));
        assert_eq!(whole.0, expected);
    } else {
        assert_eq!(used, None);
        assert!(expected.starts_with(&content));
    }
    let (content, used, breach) = read(Reader::data(LIMITS), octets, cuts);
    assert_eq!(used, end);
    assert!(content.len() as u64 <= LIMITS.size);
    if end.is_some() {
        assert_eq!(breach, expected_breach(&expected));
    }
}

fn expected_breach(content: &[u8]) -> Option<Breach> {
    let long = content
        .split(|octet| *octet == b'\n')
        .any(|line| line.strip_suffix(b"\r").unwrap_or(line).len() > LIMITS.line);
    if content.len() as u64 > LIMITS.size {
        Some(Breach::Size)
    } else {
        long.then_some(Breach::Line)
    }
}

/// Reads DATA: the content, where it ended, and the limit it broke.
fn read(mut reader: Reader, octets: &[u8], cuts: &[u8]) -> (Vec<u8>, Option<usize>, Option<Breach>) {
    let (mut content, mut input, mut rest) = (Vec::new(), BytesMut::new(), octets);
    let mut lengths = lengths(cuts);
    loop {
        match reader.next(&mut input) {
            Piece::Content(chunk) => content.extend_from_slice(&chunk),
            Piece::End => {
                return (
                    content,
                    Some(octets.len() - rest.len() - input.len()),
                    reader.breach(),
                );
            }
            Piece::More if rest.is_empty() => return (content, None, reader.breach()),
            Piece::More => {
                let (piece, later) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
                input.extend_from_slice(piece);
                rest = later;
            }
        }
    }
}

/// BDAT: chunks as long as the cuts say, each fed in two pieces.
fn chunks(octets: &[u8], cuts: &[u8], binary: bool) {
    let mut reader = Reader::chunks(WIDE, binary);
    let (mut content, mut rest) = (Vec::new(), octets);
    let mut lengths = lengths(cuts);
    loop {
        let (chunk, later) = rest.split_at(lengths.next().unwrap_or(rest.len()).min(rest.len()));
        rest = later;
        chunk_of(&mut reader, chunk, rest.is_empty(), &mut content);
        if rest.is_empty() {
            break;
        }
    }
    let (expected, _, bare) = reference(octets, false);
    if binary {
        assert_eq!(content, octets);
    } else {
        assert_eq!(content, expected);
        assert_eq!(reader.info().bare_line_ends, bare);
    }
    assert_eq!(reader.info().size, content.len() as u64);
    assert_eq!(reader.info().has_8bit, !content.is_ascii());
}

fn chunk_of(reader: &mut Reader, chunk: &[u8], last: bool, content: &mut Vec<u8>) {
    let (first, mut second) = chunk.split_at(chunk.len() / 2);
    let (mut left, mut input) = (chunk.len() as u64, BytesMut::from(first));
    reader.announce(left);
    loop {
        match reader.next_of_chunk(&mut input, &mut left, last) {
            Piece::Content(piece) => content.extend_from_slice(&piece),
            Piece::More => {
                input.extend_from_slice(second);
                second = b"behind the chunk";
            }
            Piece::End => break,
        }
    }
    assert_eq!(left, 0);
}

/// The rules, octet by octet: content, where it ends when dots count, and bare CRs and LFs.
fn reference(octets: &[u8], dots: bool) -> (Vec<u8>, Option<usize>, u64) {
    let (mut content, mut bare) = (Vec::new(), 0);
    let (mut at, mut line_start) = (0, true);
    while at < octets.len() {
        let rest = &octets[at..];
        if dots && line_start && rest.starts_with(b".\r\n") {
            return (content, Some(at + 3), bare);
        }
        let crlf = rest.starts_with(b"\r\n");
        match rest[0] {
            b'.' if dots && line_start => {}
            b'\r' | b'\n' => {
                content.extend_from_slice(b"\r\n");
                bare += u64::from(!crlf);
            }
            octet => content.push(octet),
        }
        line_start = crlf;
        at += if crlf { 2 } else { 1 };
    }
    (content, None, bare)
}
