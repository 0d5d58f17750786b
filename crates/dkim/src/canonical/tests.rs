use super::*;
use crate::header::Header;
use crate::verifier::relaxed_body;
use aws_lc_rs::digest::digest;
use proptest::prelude::*;

fn relaxed(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in Header::new(header).fields() {
        field(&one, &mut out);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The hash of a body given in pieces.
fn hash(pieces: &[&[u8]]) -> Vec<u8> {
    let mut body = BodyHash::new();
    for piece in pieces {
        body.update(piece);
    }
    body.finish().as_ref().to_vec()
}

/// The body hashes like `canonical`, whole and octet by octet.
fn assert_body(body: &[u8], canonical: &[u8]) {
    let wanted = digest(&SHA256, canonical);
    assert_eq!(hash(&[body]), wanted.as_ref(), "{body:?}");
    let single: Vec<_> = body.chunks(1).collect();
    assert_eq!(hash(&single), wanted.as_ref(), "{body:?} octet by octet");
}

#[test]
fn the_example_of_rfc_6376_3_4_5() {
    assert_eq!(relaxed(b"A: X\r\nB : Y\t\r\n\tZ  \r\n"), b"a:X\r\nb:Y Z\r\n");
    assert_body(b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n");
}

#[test]
fn bodies() {
    assert_body(b"", b"");
    assert_body(b"\r\n", b"");
    assert_body(b"\r\n\r\n \t\r\n", b"");
    assert_body(b" \t", b"");
    assert_body(b"a", b"a\r\n");
    assert_body(b"a\r\n", b"a\r\n");
    // Lines of blanks alone are empty lines, also at the end.
    assert_body(b"a\r\n \r\n\t\t\r\n", b"a\r\n");
    assert_body(b"a\r\n \r\n\t", b"a\r\n");
    assert_body(b"a\r\n \r\n\tb", b"a\r\n\r\n b\r\n");
    assert_body(b"\r\n\r\na \t\r\n", b"\r\n\r\na\r\n");
    assert_body(b"\ta\t \tb\r\n", b" a b\r\n");
    assert_body(
        "gr\u{fc}n \u{a0}\r\n".as_bytes(),
        "gr\u{fc}n \u{a0}\r\n".as_bytes(),
    );
    // What is no line end is text.
    assert_body(b"a\rb\nc\r\r\n\n", b"a\rb\nc\r\r\n\n\r\n");
    assert_body(b"a \r", b"a \r\r\n");
}

#[test]
fn many_empty_lines_before_text_are_hashed_and_not_kept() {
    let mut body = b"\r\n".repeat(100_000);
    assert_body(&body, b"");
    body.push(b'x');
    let canonical = [&body[..], b"\r\n"].concat();
    assert_body(&body, &canonical);
}

#[test]
fn text_longer_than_what_is_gathered() {
    let mut body = b"x".repeat(3 * GATHERED + 1);
    body.extend_from_slice(b"\r\n");
    assert_body(&body, &body);
    let words = b"word ".repeat(GATHERED);
    assert_body(&words, &[&words[..words.len() - 1], b"\r\n"].concat());
}

#[test]
fn fields() {
    assert_eq!(relaxed(b"Subject:\r\n"), b"subject:\r\n");
    assert_eq!(relaxed(b"Subject: \t\r\n \r\n"), b"subject:\r\n");
    assert_eq!(relaxed(b"SUBJECT \t:\r\n a\r\n\t b\r\n"), b"subject:a b\r\n");
    assert_eq!(relaxed(b"Subject: a: b"), b"subject:a: b\r\n");
    assert_eq!(
        relaxed("Subject:  gr\u{fc}n \u{a0}x\r\n".as_bytes()),
        "subject:gr\u{fc}n \u{a0}x\r\n".as_bytes()
    );
    // Octets that are not UTF-8, and a CR or LF alone, stay.
    assert_eq!(
        relaxed(b"Subject: \xff \r\xfe\nx\r\n"),
        b"subject:\xff \r\xfe\nx\r\n"
    );
}

proptest! {
    #[test]
    fn any_body_in_any_pieces(
        body in proptest::collection::vec(prop::sample::select(&b" \t\r\n\r\nab\xc3"[..]), 0..80),
        cut in 0_usize..80,
        size in 1_usize..9,
    ) {
        let wanted = digest(&SHA256, &relaxed_body(&body));
        let (front, back) = body.split_at(cut.min(body.len()));
        prop_assert_eq!(hash(&[front, back]), wanted.as_ref());
        let pieces: Vec<_> = body.chunks(size).collect();
        prop_assert_eq!(hash(&pieces), wanted.as_ref());
    }
}
