//! Header fields and report fields: folded, and free of what peers could smuggle in.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Lines are folded at the last space before this column (RFC 5322 2.1.1).
const FOLD_AT: usize = 76;
/// Octets after which even a word is broken; RFC 5322 allows 998 per line.
const LONGEST_WORD: usize = 900;
/// Most characters kept of anything that a peer said.
const LONGEST_TEXT: usize = 2000;

/// Appends `name: value`, folded at spaces.
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    let mut folded = true;
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        for piece in pieces(word) {
            // The first word stays beside the name: some readers take an empty first line for an empty field.
            if !folded && column + 1 + piece.len() > FOLD_AT {
                out.push_str("\r\n");
                column = 0;
            }
            out.push(' ');
            out.push_str(piece);
            column += 1 + piece.len();
            folded = false;
        }
    }
    out.push_str("\r\n");
}

/// A word in pieces that fit into a line.
pub(super) fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST_WORD));
        rest = after;
        Some(piece)
    })
}

/// What a peer said, as one line of text: control characters become spaces, and outside of an
/// international report everything but ASCII becomes `?`. Long text is cut.
pub(super) fn clean(text: &str, international: bool) -> String {
    let mut line: String = text
        .chars()
        .take(LONGEST_TEXT)
        .map(|character| match character {
            _ if character.is_control() => ' ',
            '\u{2028}' | '\u{2029}' => ' ',
            _ if character.is_ascii() || international => character,
            _ => '?',
        })
        .collect();
    if text.chars().nth(LONGEST_TEXT).is_some() {
        line.push_str(" ...");
    }
    line
}

/// A date as in a header (RFC 5322 3.3), in UTC.
pub(super) fn date(moment: Timestamp) -> String {
    // Only years before 0 and after 9999 have no such form.
    jiff::fmt::rfc2822::to_string(&moment.to_zoned(TimeZone::UTC)).unwrap_or_default()
}
