//! Reads the content of one message from DATA or BDAT.
//!
//! * Only CRLF `.` CRLF ends DATA. A dot is taken away only at the start of a line that a real
//!   CRLF began; around bare CR or LF a dot is content.
//! * Bare CR and bare LF become CRLF, also across chunks, unless the content is binary.
//! * Content without irregularities is handed out in the buffer it came in, as far as it goes.
//! * Once a limit is broken nothing more is handed out, but the end is still found.
//! * Content, end and verdict do not depend on how the input was split.

use super::BodyInfo;
use super::inspect::Inspector;
use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

/// Most octets that are copied at a time around irregularities.
const COPY: usize = 4096;

/// How much content is taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of canonical content.
    pub size: u64,
    /// Octets of a line without its CRLF. Binary content has no lines.
    pub line: usize,
}

/// The limit that a message broke. Both: its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Larger than [`Limits::size`].
    Size,
    /// A line longer than [`Limits::line`].
    Line,
}

/// What the reader found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Nothing before more input comes.
    More,
    /// Canonical content, at least one octet.
    Content(Bytes),
    /// The end of DATA, or of the chunk.
    End,
}

/// Reads one message.
#[derive(Debug)]
pub struct Reader {
    form: Form,
    at: At,
    limits: Limits,
    /// Sum of the chunks announced.
    announced: u64,
    seen: Inspector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Data,
    Chunks,
    Binary,
}

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the start, or behind a real CRLF.
    LineStart,
    /// In a line, or at the start of one that a bare CR or LF began.
    Line,
    /// Behind a CR that is not handed out yet.
    Cr,
    /// Behind a dot at a line's start, taken away.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
    /// Behind the end.
    End,
}

/// Why a clean run of octets ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// No more input.
    Dry,
    /// A dot at a line's start.
    Dot,
    /// A CR that no LF follows in the input so far.
    Cr,
    /// A bare LF.
    Lf,
}

impl Reader {
    /// For the content of DATA.
    pub fn data(limits: Limits) -> Self {
        Reader::new(Form::Data, limits)
    }

    /// For BDAT; `binary` content (BODY=BINARYMIME) is left as it is.
    pub fn chunks(limits: Limits, binary: bool) -> Self {
        Reader::new(if binary { Form::Binary } else { Form::Chunks }, limits)
    }

    fn new(form: Form, limits: Limits) -> Self {
        Reader {
            form,
            at: At::LineStart,
            limits,
            announced: 0,
            seen: Inspector::new(),
        }
    }

    /// Announces a chunk: one that goes beyond the size limit is not handed out at all.
    pub fn announce(&mut self, size: u64) {
        self.announced = self.announced.saturating_add(size);
    }

    /// The limit broken so far, if any.
    pub fn breach(&self) -> Option<Breach> {
        if self.seen.info.size.max(self.announced) > self.limits.size {
            return Some(Breach::Size);
        }
        let long = self.form != Form::Binary && self.seen.longest_line() > self.limits.line;
        long.then_some(Breach::Line)
    }

    /// What was learnt, so far or in the end.
    pub fn info(&self) -> BodyInfo {
        self.seen.info
    }

    /// Reads DATA.
    pub fn next(&mut self, input: &mut BytesMut) -> Piece {
        let all = input.len();
        self.read(input, all).1
    }

    /// Reads a chunk with `left` octets to come, and counts them down. With `last` the message
    /// ends where the chunk does.
    pub fn next_of_chunk(&mut self, input: &mut BytesMut, left: &mut u64, last: bool) -> Piece {
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        let (used, piece) = self.read(input, here);
        *left -= used as u64;
        match piece {
            Piece::More if *left == 0 && last => self.end_of_chunks(),
            Piece::More if *left == 0 => Piece::End,
            piece => piece,
        }
    }

    /// A CR at the very end is a bare one.
    fn end_of_chunks(&mut self) -> Piece {
        if self.at != At::Cr {
            return Piece::End;
        }
        let mut out = Vec::new();
        self.bare_line_end(&mut out);
        if self.breach().is_some() {
            Piece::End
        } else {
            Piece::Content(out.into())
        }
    }

    /// Takes up to `limit` octets of `input` until there is something to tell. Gives how many, too.
    fn read(&mut self, input: &mut BytesMut, limit: usize) -> (usize, Piece) {
        let mut used = 0;
        while used < limit && self.at != At::End {
            let clean = self.clean(&input[..limit - used]);
            if clean > 0 {
                used += clean;
                if self.breach().is_none() {
                    return (used, Piece::Content(input.split_to(clean).freeze()));
                }
                input.advance(clean);
                continue;
            }
            let (taken, out) = self.copy(&input[..limit - used]);
            used += taken;
            input.advance(taken);
            if !out.is_empty() && self.breach().is_none() {
                return (used, Piece::Content(out.into()));
            }
        }
        (
            used,
            if self.at == At::End {
                Piece::End
            } else {
                Piece::More
            },
        )
    }

    /// How many octets at the start of `input` are content as they stand.
    fn clean(&mut self, input: &[u8]) -> usize {
        match (self.form, self.at) {
            (Form::Binary, _) => {
                self.seen.binary(input);
                input.len()
            }
            (_, At::LineStart | At::Line) => self.run(input).0,
            _ => 0,
        }
    }

    /// The same within or before a line, and why it ends.
    fn run(&mut self, input: &[u8]) -> (usize, Stop) {
        let mut end = 0;
        let stop = loop {
            let rest = &input[end..];
            if self.at == At::LineStart {
                match rest.first() {
                    None => break Stop::Dry,
                    Some(b'.') if self.form == Form::Data => break Stop::Dot,
                    Some(_) => self.at = At::Line,
                }
            }
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.seen.text(rest);
                end = input.len();
                break Stop::Dry;
            };
            let (text, rest) = rest.split_at(length);
            self.seen.text(text);
            end += length;
            if !rest.starts_with(b"\r\n") {
                break if rest.starts_with(b"\n") {
                    Stop::Lf
                } else {
                    Stop::Cr
                };
            }
            self.seen.line_end();
            self.at = At::LineStart;
            end += 2;
        };
        self.seen.octets(&input[..end]);
        (end, stop)
    }

    /// Makes about [`COPY`] octets canonical. Gives how many were used, and the content.
    fn copy(&mut self, input: &[u8]) -> (usize, Vec<u8>) {
        let mut out = Vec::with_capacity(input.len().min(COPY) + 2);
        let mut used = 0;
        while let Some(&octet) = input.get(used)
            && out.len() < COPY
        {
            used += match (self.at, octet) {
                (At::End, _) => break,
                (At::LineStart | At::Line, _) => {
                    let end = input.len().min(used + COPY);
                    self.copy_run(&input[used..end], &mut out)
                }
                (At::Cr, b'\n') => {
                    self.line_end(&mut out);
                    self.at = At::LineStart;
                    1
                }
                (At::Cr, _) => {
                    self.bare_line_end(&mut out);
                    0
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    1
                }
                (At::Dot, _) => {
                    self.at = At::Line;
                    0
                }
                (At::DotCr, b'\n') => {
                    self.at = At::End;
                    1
                }
                (At::DotCr, _) => {
                    self.at = At::Cr;
                    0
                }
            };
        }
        (used, out)
    }

    /// Copies a clean run and steps over what ends it.
    fn copy_run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let (run, stop) = self.run(input);
        out.extend_from_slice(&input[..run]);
        match stop {
            Stop::Dry => return run,
            Stop::Dot => self.at = At::Dot,
            Stop::Cr => self.at = At::Cr,
            Stop::Lf => self.bare_line_end(out),
        }
        run + 1
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.seen.octets(b"\r\n");
        self.seen.line_end();
    }

    fn bare_line_end(&mut self, out: &mut Vec<u8>) {
        self.line_end(out);
        self.seen.info.bare_line_ends += 1;
        self.at = At::Line;
    }
}

#[cfg(test)]
mod tests;
