use super::*;
use proptest::prelude::*;

fn read_all(wire: &[u8]) -> Result<Vec<Reply>, ReplyError> {
    read_pieces(wire, wire.len().max(1))
}

/// Reads `wire` as it comes in pieces of `size` octets.
fn read_pieces(wire: &[u8], size: usize) -> Result<Vec<Reply>, ReplyError> {
    let (mut reader, mut input, mut replies) = (ReplyReader::default(), BytesMut::new(), Vec::new());
    for piece in wire.chunks(size) {
        input.extend_from_slice(piece);
        while let Some(reply) = reader.read(&mut input)? {
            replies.push(reply);
        }
    }
    Ok(replies)
}

fn one(wire: &[u8]) -> Reply {
    let mut replies = read_all(wire).unwrap();
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies.remove(0)
}

#[test]
fn lines_become_one_reply() {
    let reply = one(b"550-5.1.1 No such\r\n550 5.1.1 mailbox\r\n");
    assert_eq!(reply, Reply::new(550, Enhanced(5, 1, 1), "No such\nmailbox"));
    assert_eq!(
        read_all(b"250 a\r\n250-b\r\n250 c\r\n250-d\r\n").unwrap().len(),
        2
    );
}

#[test]
fn sloppy_servers_are_understood() {
    assert_eq!(one(b"250\r\n"), Reply::plain(250, ""));
    assert_eq!(one(b"250 \r\n"), Reply::plain(250, ""));
    assert_eq!(one(b"250-a\n250 b\n"), Reply::plain(250, "a\nb"));
    assert_eq!(one(b"250-\r\n250\r\n"), Reply::plain(250, "\n"));
    assert_eq!(one(b"250 2.0.0\r\n"), Reply::new(250, Enhanced(2, 0, 0), ""));
    assert_eq!(one(b"250 a\0\x1b[31m\xff\r\r\n").text, "a  [31m\u{fffd} ");
}

#[test]
fn enhanced_codes_must_agree_with_the_code() {
    assert_eq!(one(b"250 5.1.1 a\r\n"), Reply::plain(250, "5.1.1 a"));
    for text in [
        "4.0 a",
        "4.0.0.0 a",
        "4.0.x a",
        "4..0 a",
        "4.1000.0 a",
        "44.0.0 a",
        "+4.0.0 a",
    ] {
        assert_eq!(one(format!("450 {text}\r\n").as_bytes()).enhanced, None, "{text}");
    }
    let mixed = one(b"550-no\r\n550-5.7.1 reason\r\n550 5.1.1 other\r\n");
    assert_eq!(
        mixed,
        Reply::new(550, Enhanced(5, 7, 1), "no\nreason\n5.1.1 other")
    );
}

#[test]
fn what_is_not_a_reply_is_malformed() {
    for wire in [
        "HTTP/1.1 400 Bad\r\n",
        "\r\n",
        "25\r\n",
        "250OK\r\n",
        "150 a\r\n",
        "600 a\r\n",
        "2x0 a\r\n",
    ] {
        assert!(
            matches!(read_all(wire.as_bytes()), Err(ReplyError::Malformed(_))),
            "{wire}"
        );
    }
    assert_eq!(
        read_all(b"250-a\r\n550 b\r\n"),
        Err(ReplyError::Malformed("550 b".into()))
    );
}

#[test]
fn ten_megabytes_in_one_line_fail_early() {
    let (mut reader, mut input, mut fed) = (ReplyReader::default(), BytesMut::from("250 "), 0);
    let error = loop {
        input.extend_from_slice(&[b'x'; 1000]);
        fed += 1000;
        assert!(fed < 10_000_000);
        match reader.read(&mut input) {
            Ok(reply) => assert_eq!(reply, None),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ReplyError::TooLong);
    assert!(fed <= limits::REPLY_LINE + 1000);
}

#[test]
fn the_longest_line_is_taken_and_one_octet_more_is_not() {
    let line = |length: usize| format!("250 {}\r\n", "x".repeat(length - 6)).into_bytes();
    assert_eq!(one(&line(limits::REPLY_LINE)).text.len(), limits::REPLY_LINE - 6);
    assert_eq!(read_all(&line(limits::REPLY_LINE + 1)), Err(ReplyError::TooLong));
}

#[test]
fn an_endless_reply_fails_and_a_long_one_is_cut() {
    assert_eq!(read_all(&b"250-a\r\n".repeat(1000)), Err(ReplyError::TooLong));
    let mut wire = b"250-a\r\n".repeat(limits::REPLY_LINES - 1);
    wire.extend_from_slice(b"250 b\r\n");
    assert_eq!(one(&wire).text.lines().count(), limits::REPLY_LINES);
    wire.splice(0..0, *b"250-a\r\n");
    assert_eq!(read_all(&wire), Err(ReplyError::TooLong));
    let wide = format!("250-{}\r\n", "ä".repeat(1000)).repeat(100) + "250 end\r\n";
    assert!(one(wide.as_bytes()).text.len() <= KEPT_TEXT);
}

/// Lines that no reader could take for an enhanced code.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec("([a-zA-Zäß€:,][ -~\täß€]{0,60})?", 1..5).prop_map(|lines| lines.join("\n"))
}

fn enhanced(class: u8) -> impl Strategy<Value = Option<Enhanced>> {
    prop::option::of(
        (0u16..1000, 0u16..1000).prop_map(move |(subject, detail)| Enhanced(class, subject, detail)),
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let class = prop_oneof![Just(2u8), Just(4), Just(5)];
    class.prop_flat_map(|class| {
        (0u16..100, enhanced(class), text()).prop_map(move |(code, enhanced, text)| Reply {
            code: u16::from(class) * 100 + code,
            enhanced,
            text: Cow::Owned(text),
        })
    })
}

/// Octets that are often nearly replies.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "(250|550)[ -]?(5\\.1\\.1|2\\.0\\.0)?[ a-z]{0,4}\r?\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(reply in reply()) {
        let mut out = Vec::new();
        reply.write(&mut out);
        prop_assert_eq!(read_all(&out), Ok(vec![reply]));
    }

    #[test]
    fn any_text_is_written_as_one_reply(code in any::<u16>(), text in any::<String>()) {
        let mut out = Vec::new();
        Reply::with(code, Enhanced(5, 0, 0), text).write(&mut out);
        prop_assert_eq!(read_all(&out).map(|replies| replies.len()), Ok(1));
        prop_assert!(out.split_inclusive(|&b| b == b'\n').all(|line| line.len() <= 512));
    }

    #[test]
    fn pieces_make_no_difference(wire in wire(), size in 1usize..20) {
        prop_assert_eq!(read_pieces(&wire, size), read_all(&wire));
    }
}
