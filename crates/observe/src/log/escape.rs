//! Making peers' texts harmless: one line, no terminal control, bounded length.

/// Most octets of a field; what is longer is cut.
pub const MAX_FIELD: usize = 1024;

/// What ends a field that was cut.
const CUT: &str = "…";

/// Where a text is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The inside of a JSON string.
    Json,
    /// A line of text.
    Text,
}

/// Appends `value`, cut to [`MAX_FIELD`], with an escape for each character that must not stand as it is.
pub(super) fn push(out: &mut Vec<u8>, value: &str, format: Format) {
    let kept = &value[..value.floor_char_boundary(MAX_FIELD)];
    let special = |b: u8| format == Format::Json && matches!(b, b'"' | b'\\');
    if kept.bytes().all(|b| (b' '..0x7f).contains(&b) && !special(b)) {
        out.extend_from_slice(kept.as_bytes());
    } else {
        for c in kept.chars() {
            if is_control(c) || (c.is_ascii() && special(c as u8)) {
                push_escape(out, c, format);
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    if kept.len() < value.len() {
        out.extend_from_slice(CUT.as_bytes());
    }
}

/// JSON has no `\x`. The characters that are escaped have at most 16 bits.
fn push_escape(out: &mut Vec<u8>, c: char, format: Format) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if format == Format::Text && (c as u32) < 0x100 => {
            out.extend_from_slice(b"\\x");
            push_hex(out, c as u32);
        }
        c => {
            out.extend_from_slice(b"\\u");
            push_hex(out, c as u32 >> 8);
            push_hex(out, c as u32);
        }
    }
}

/// C0, DEL, C1, and what Unicode has for ending lines and turning the direction of writing.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends the lowest octet of `value` as two hexadecimal digits.
fn push_hex(out: &mut Vec<u8>, value: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[(value >> 4 & 15) as usize]);
    out.push(DIGITS[(value & 15) as usize]);
}
