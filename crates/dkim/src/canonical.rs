//! Canonicalisation by the relaxed algorithms (RFC 6376 3.4.2 and 3.4.4).

use crate::header::Field;
use aws_lc_rs::digest::{Context, Digest, SHA256};

/// Octets that are gathered before they are hashed.
const GATHERED: usize = 4096;
/// Line ends to hash at a time.
const LINE_ENDS: &[u8; 64] = &line_ends();

const fn line_ends() -> [u8; 64] {
    let mut octets = [b'\n'; 64];
    let mut at = 0;
    while at < octets.len() {
        octets[at] = b'\r';
        at += 2;
    }
    octets
}

/// Appends a field in relaxed form, without a CRLF at its end: `name:value`, the name in lower case, folds undone, runs of blanks
/// made one, and none around the value.
pub(crate) fn field(field: &Field<'_>, out: &mut Vec<u8>) {
    out.extend(field.name.bytes().map(|octet| octet.to_ascii_lowercase()));
    out.push(b':');
    let start = out.len();
    let mut octets = field.value.iter().copied().peekable();
    let mut blank = false;
    while let Some(octet) = octets.next() {
        match octet {
            b' ' | b'\t' => blank = true,
            // A field's CRLF is always a fold: a blank follows.
            b'\r' if octets.next_if_eq(&b'\n').is_some() => {}
            _ => {
                if blank && out.len() > start {
                    out.push(b' ');
                }
                blank = false;
                out.push(octet);
            }
        }
    }
}

/// Hashes a body in relaxed form, in pieces of any size.
///
/// A line's text is hashed at once, but blanks and line ends only when text follows: so what must not be hashed at the end of a
/// line or of the body never was, and the memory does not depend on the body.
pub(crate) struct BodyHash {
    hash: Context,
    gathered: Vec<u8>,
    /// Blanks are held back.
    blank: bool,
    /// Line ends that are held back.
    line_ends: u64,
    /// A CR is held back that may begin a line end.
    cr: bool,
    /// Text was hashed.
    any: bool,
}

impl BodyHash {
    pub(crate) fn new() -> Self {
        BodyHash {
            hash: Context::new(&SHA256),
            gathered: Vec::with_capacity(GATHERED),
            blank: false,
            line_ends: 0,
            cr: false,
            any: false,
        }
    }

    pub(crate) fn update(&mut self, mut octets: &[u8]) {
        while let Some((&first, rest)) = octets.split_first() {
            if self.cr {
                self.cr = false;
                if first == b'\n' {
                    self.line_ends = self.line_ends.saturating_add(1);
                    self.blank = false;
                    octets = rest;
                    continue;
                }
                self.text(b"\r");
            }
            match first {
                b' ' | b'\t' => self.blank = true,
                b'\r' => self.cr = true,
                _ => {
                    let (text, after) = octets.split_at(canonical_len(octets));
                    self.text(text);
                    octets = after;
                    continue;
                }
            }
            octets = rest;
        }
    }

    pub(crate) fn finish(mut self) -> Digest {
        if self.cr {
            self.text(b"\r");
        }
        if self.any {
            self.gather(b"\r\n");
        }
        self.hash.update(&self.gathered);
        self.hash.finish()
    }

    /// Text that is not blank, behind what was held back.
    fn text(&mut self, text: &[u8]) {
        while self.line_ends > 0 {
            let now = self.line_ends.min(LINE_ENDS.len() as u64 / 2);
            self.gather(LINE_ENDS.get(..2 * now as usize).unwrap_or_default());
            self.line_ends -= now;
        }
        if std::mem::take(&mut self.blank) {
            self.gather(b" ");
        }
        self.gather(text);
        self.any = true;
    }

    /// Hashes in large pieces: words are short.
    fn gather(&mut self, octets: &[u8]) {
        if self.gathered.len() + octets.len() > GATHERED {
            self.hash.update(&self.gathered);
            self.gathered.clear();
        }
        if octets.len() > GATHERED {
            self.hash.update(octets);
        } else {
            self.gathered.extend_from_slice(octets);
        }
    }
}

/// Octets at the start that are hashed as they are: text, and single spaces before text.
fn canonical_len(octets: &[u8]) -> usize {
    memchr::memchr3_iter(b' ', b'\t', b'\r', octets)
        .find(|&at| match (octets.get(at), octets.get(at + 1)) {
            (Some(b' '), Some(next)) => matches!(next, b' ' | b'\t' | b'\r'),
            _ => true,
        })
        .unwrap_or(octets.len())
}

#[cfg(test)]
mod tests;
