//! Making peers' texts harmless: one line, no terminal control, bounded length.

/// Most octets of a field.
pub(super) const MAX_FIELD: usize = 1024;

/// What ends a field that was cut.
const CUT: &str = "…";

/// Appends `value` for inside of a JSON string.
pub(super) fn push_json(out: &mut Vec<u8>, value: &str) {
    push(
        out,
        value,
        |b| b == b'"' || b == b'\\',
        |out, c| match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c => {
                out.extend_from_slice(b"\\u");
                push_hex(out, c as u32 >> 8);
                push_hex(out, c as u32);
            }
        },
    );
}

/// Appends `value` for a text line.
pub(super) fn push_text(out: &mut Vec<u8>, value: &str) {
    push(
        out,
        value,
        |_| false,
        |out, c| match c {
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if (c as u32) < 0x100 => {
                out.extend_from_slice(b"\\x");
                push_hex(out, c as u32);
            }
            c => {
                out.extend_from_slice(b"\\u");
                push_hex(out, c as u32 >> 8);
                push_hex(out, c as u32);
            }
        },
    );
}

/// Appends `value`, cut to [`MAX_FIELD`], with `escape` for each character that must not stand as it is.
fn push(out: &mut Vec<u8>, value: &str, special: impl Fn(u8) -> bool, escape: impl Fn(&mut Vec<u8>, char)) {
    let kept = &value[..value.floor_char_boundary(MAX_FIELD)];
    if kept.bytes().all(|b| (b' '..0x7f).contains(&b) && !special(b)) {
        out.extend_from_slice(kept.as_bytes());
    } else {
        for c in kept.chars() {
            if is_control(c) || (c.is_ascii() && special(c as u8)) {
                escape(out, c);
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    if kept.len() < value.len() {
        out.extend_from_slice(CUT.as_bytes());
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
