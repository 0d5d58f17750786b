//! Looks at content as it passes: size, longest line, header, hops, 8-bit octets.
//!
//! What it finds does not depend on how the content was cut into pieces.

use super::BodyInfo;

const RECEIVED: &[u8] = b"received:";

/// What was seen so far, and where in a line we are.
#[derive(Debug)]
pub(super) struct Inspector {
    pub(super) info: BodyInfo,
    /// Octets of the current line so far.
    line: usize,
    longest: usize,
    section: Section,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// In a header line whose first octets are those of [`RECEIVED`], as many as said.
    Matching(usize),
    /// In a header line of another name, or past the name.
    Header,
    /// Behind the first empty line.
    Body,
}

impl Inspector {
    pub(super) fn new() -> Self {
        Inspector {
            info: BodyInfo::default(),
            line: 0,
            longest: 0,
            section: Section::Matching(0),
        }
    }

    /// Octets of the longest line so far.
    pub(super) fn longest_line(&self) -> usize {
        self.longest
    }

    /// A part of a line, without line ends.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.line = self.line.saturating_add(text.len());
        self.longest = self.longest.max(self.line);
        if self.section != Section::Body {
            self.header(text);
        }
    }

    /// The end of a line.
    pub(super) fn line_end(&mut self) {
        if self.section != Section::Body {
            self.section = if self.line == 0 {
                Section::Body
            } else {
                Section::Matching(0)
            };
        }
        self.line = 0;
    }

    /// Canonical octets, line ends included, all of which went through `text` and `line_end` too.
    pub(super) fn octets(&mut self, octets: &[u8]) {
        self.info.size = self.info.size.saturating_add(octets.len() as u64);
        self.info.has_8bit = self.info.has_8bit || !octets.is_ascii();
    }

    /// Octets of BINARYMIME, where only the header has lines.
    pub(super) fn binary(&mut self, octets: &[u8]) {
        self.octets(octets);
        for &octet in octets {
            match octet {
                _ if self.section == Section::Body => return,
                b'\n' => self.line_end(),
                b'\r' => {}
                _ => self.text(&[octet]),
            }
        }
    }

    fn header(&mut self, text: &[u8]) {
        self.info.header_8bit = self.info.header_8bit || !text.is_ascii();
        let Section::Matching(seen) = self.section else {
            return;
        };
        let wanted = &RECEIVED[seen..];
        let both = wanted.len().min(text.len());
        self.section = if !wanted[..both].eq_ignore_ascii_case(&text[..both]) {
            Section::Header
        } else if both == wanted.len() {
            self.info.received_fields = self.info.received_fields.saturating_add(1);
            Section::Header
        } else {
            Section::Matching(seen + both)
        };
    }
}
