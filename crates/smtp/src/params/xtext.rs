//! Text in parameters: xtext (RFC 3461 4) and the form of `utf-8;` addresses (RFC 6533 3).
//!
//! Neither decodes to control characters, so that decoded text can stand in a header field.

/// Decodes xtext (RFC 3461 4). `None` when it is malformed, not UTF-8, or stands for
/// control characters, which no value of ours may hold.
pub fn xtext_decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'+' => octets.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?),
            b'=' => return None,
            b'!'..=b'~' => octets.push(octet),
            _ => return None,
        }
    }
    String::from_utf8(octets)
        .ok()
        .filter(|text| !text.contains(char::is_control))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Encodes as xtext (RFC 3461 4).
pub fn xtext_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' => out.push_str(if octet == b'+' { "+2B" } else { "+3D" }),
            b'!'..=b'~' => out.push(char::from(octet)),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('+');
                out.push(char::from(DIGITS[usize::from(octet >> 4)]));
                out.push(char::from(DIGITS[usize::from(octet & 15)]));
            }
        }
    }
    out
}

/// Decodes the address of `utf-8;`: characters as they are, or as `\x{HEX}` (RFC 6533 3).
pub(super) fn unitext_decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        out.push_str(&rest[..start]);
        let (digits, after) = rest[start..].strip_prefix("\\x{")?.split_once('}')?;
        let hex = (2..=6).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
        out.push(char::from_u32(
            hex.then(|| u32::from_str_radix(digits, 16).ok())??,
        )?);
        rest = after;
    }
    out.push_str(rest);
    (!out.contains(|c: char| c.is_control())).then_some(out)
}
