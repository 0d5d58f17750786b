//! Cuts command lines out of the input.
//!
//! A line ends at LF; that a CR stands before it is asked for but not insisted on (people type into
//! netcat). A line beyond the limit is thrown away as it comes, and reported once at each end of it.

use bytes::{Buf, BytesMut};
use memchr::memchr;

/// Whether the input starts at a line, or in one that is being thrown away.
#[derive(Debug)]
pub(super) enum Lines {
    Whole,
    Dropping,
}

/// What stands at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// No whole line yet.
    Partial,
    /// A line: its text is the first `text` octets, the next line starts at `next`.
    Whole { text: usize, next: usize },
    /// A line begins that is too long; what is there of it is gone.
    TooLong,
    /// The line that was too long has ended.
    Dropped,
}

impl Lines {
    /// `limit`: the longest line taken, in octets with its line end.
    pub(super) fn next(&mut self, input: &mut BytesMut, limit: usize) -> Line {
        let end = memchr(b'\n', input);
        if matches!(self, Lines::Dropping) {
            return self.go_on_dropping(end, input);
        }
        match end {
            Some(end) if end < limit => {
                let text = if input[..end].ends_with(b"\r") {
                    end - 1
                } else {
                    end
                };
                Line::Whole { text, next: end + 1 }
            }
            None if input.len() < limit => Line::Partial,
            _ => {
                *self = Lines::Dropping;
                Line::TooLong
            }
        }
    }

    fn go_on_dropping(&mut self, end: Option<usize>, input: &mut BytesMut) -> Line {
        let Some(end) = end else {
            input.clear();
            return Line::Partial;
        };
        input.advance(end + 1);
        *self = Lines::Whole;
        Line::Dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COMMAND_LINE;

    #[test]
    fn lines_end_at_lf() {
        let mut input = BytesMut::from(&b"NOOP\r\nRSET\nQU"[..]);
        let mut lines = Lines::Whole;
        assert_eq!(
            lines.next(&mut input, COMMAND_LINE),
            Line::Whole { text: 4, next: 6 }
        );
        input.advance(6);
        assert_eq!(
            lines.next(&mut input, COMMAND_LINE),
            Line::Whole { text: 4, next: 5 }
        );
        input.advance(5);
        assert_eq!(lines.next(&mut input, COMMAND_LINE), Line::Partial);
    }

    #[test]
    fn the_limit_counts_the_line_end() {
        let line = |length: usize| {
            let mut input = BytesMut::from([&vec![b'x'; length - 2][..], b"\r\n"].concat().as_slice());
            Lines::Whole.next(&mut input, COMMAND_LINE)
        };
        assert!(matches!(line(COMMAND_LINE), Line::Whole { .. }));
        assert_eq!(line(COMMAND_LINE + 1), Line::TooLong);
    }

    #[test]
    fn a_long_line_is_not_held() {
        let mut lines = Lines::Whole;
        let mut input = BytesMut::from(&vec![b'x'; COMMAND_LINE][..]);
        assert_eq!(lines.next(&mut input, COMMAND_LINE), Line::TooLong);
        assert_eq!(lines.next(&mut input, COMMAND_LINE), Line::Partial);
        assert!(input.is_empty());
        input.extend_from_slice(b"xx\nNOOP");
        assert_eq!(lines.next(&mut input, COMMAND_LINE), Line::Dropped);
        assert_eq!(input, &b"NOOP"[..]);
    }
}
