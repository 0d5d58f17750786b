//! Replies in any pieces. Checked: no panic; pieces make no difference; what was read can be written
//! and is one reply again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use smtp::Reply;
use smtp::reply::{ReplyError, ReplyReader};

fuzz_target!(|data: &[u8]| {
    let Some((&size, wire)) = data.split_first() else {
        return;
    };
    let whole = read(wire, wire.len().max(1));
    assert_eq!(read(wire, usize::from(size) + 1), whole);
    for reply in whole.0 {
        let mut out = Vec::new();
        reply.write(&mut out);
        assert!(
            out.split_inclusive(|&octet| octet == b'\n')
                .all(|line| line.len() <= 512)
        );
        let (again, error) = read(&out, out.len());
        assert!(again.len() == 1 || error == Some(ReplyError::TooLong));
        assert!(again.iter().all(|again| again.code == reply.code));
    }
});

fn read(wire: &[u8], size: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut input, mut replies) = (ReplyReader::default(), BytesMut::new(), Vec::new());
    for piece in wire.chunks(size) {
        input.extend_from_slice(piece);
        loop {
            match reader.read(&mut input) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}
