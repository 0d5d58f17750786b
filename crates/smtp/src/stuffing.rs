//! Dot-stuffing: canonical content made ready for DATA (RFC 5321 4.5.2).
//!
//! Promises: nothing within the content can end it; the stuffed octets do not depend on how the
//! content was cut into chunks; linear work.

use memchr::memmem;

/// Makes canonical content ready for DATA: stuffs dots and ends it with
/// `CRLF . CRLF`, chunk by chunk (RFC 5321 4.5.2).
#[derive(Clone, Debug, Default)]
pub struct DotStuffer {
    place: Place,
}

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    AfterCr,
    InLine,
}

impl Place {
    fn after(self, octet: u8) -> Place {
        match (self, octet) {
            (_, b'\r') => Place::AfterCr,
            (Place::AfterCr, b'\n') => Place::LineStart,
            _ => Place::InLine,
        }
    }

    /// After a whole chunk that began within a line.
    fn after_chunk(chunk: &[u8]) -> Place {
        match chunk {
            [.., b'\r', b'\n'] => Place::LineStart,
            [.., b'\r'] => Place::AfterCr,
            _ => Place::InLine,
        }
    }
}

impl DotStuffer {
    /// Appends `chunk`, stuffed, to `out`.
    pub fn push(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + chunk.len() / 64 + 4);
        // Octet by octet until no line end reaches over from the chunk before.
        while self.place != Place::InLine {
            let Some((&octet, rest)) = chunk.split_first() else {
                return;
            };
            if octet == b'.' && self.place == Place::LineStart {
                out.push(b'.');
            }
            out.push(octet);
            self.place = self.place.after(octet);
            chunk = rest;
        }
        if chunk.is_empty() {
            return;
        }
        let mut copied = 0;
        for at in memmem::find_iter(chunk, b"\r\n.") {
            out.extend_from_slice(&chunk[copied..at + 3]);
            out.push(b'.');
            copied = at + 3;
        }
        out.extend_from_slice(&chunk[copied..]);
        self.place = Place::after_chunk(chunk);
    }

    /// Appends the end: a CRLF if the content did not end with one, then `.` CRLF.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.place != Place::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::default(), Vec::new());
        for chunk in chunks {
            stuffer.push(chunk, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    /// What a receiver makes of it, line by line: the content, and what follows its end.
    fn unstuffed(wire: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let (mut content, mut rest) = (Vec::new(), wire);
        loop {
            let end = memmem::find(rest, b"\r\n")? + 2;
            let (line, after) = rest.split_at(end);
            rest = after;
            if line == b".\r\n" {
                return Some((content, rest));
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
    }

    #[test]
    fn dots_at_line_starts_only() {
        assert_eq!(
            stuffed(&[b".a\r\n..\r\nb.c\r\n.\r\n"]),
            b"..a\r\n...\r\nb.c\r\n..\r\n.\r\n"
        );
        assert_eq!(stuffed(&[b"\n.\n\r.\r\n"]), b"\n.\n\r.\r\n.\r\n");
    }

    #[test]
    fn the_end_stands_on_its_own_line() {
        assert_eq!(stuffed(&[]), b".\r\n");
        assert_eq!(stuffed(&[b"a"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r"]), b"a\r\r\n.\r\n");
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a')];
        prop_oneof![
            prop::collection::vec(octet, 0..60),
            "([.a]{0,3}\r\n){0,20}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(content in octets(), cuts in prop::collection::vec(0usize..60, 0..6)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.sort_unstable();
            let (mut chunks, mut from) = (Vec::new(), 0);
            for cut in cuts {
                chunks.push(&content[from..cut]);
                from = cut;
            }
            chunks.push(&content[from..]);
            prop_assert_eq!(stuffed(&chunks), stuffed(&[&content]));
        }

        #[test]
        fn a_receiver_gets_the_content_back(content in octets()) {
            let wire = stuffed(&[&content]);
            let (received, rest) = unstuffed(&wire).unwrap();
            let mut expected = content;
            if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(received, expected);
            prop_assert!(rest.is_empty());
        }
    }
}
