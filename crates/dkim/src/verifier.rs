//! A verifier for tests (RFC 6376 6.1), written for clearness and on its own: it shares no code with the signer, takes the message
//! whole, and does everything by the letter.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Verifies the first `DKIM-Signature:` of a message with the public key as it is in `p=`.
pub(crate) fn verify(message: &[u8], public_key: &[u8]) -> Result<(), &'static str> {
    let (fields, body) = split(message);
    let signature = fields
        .iter()
        .find(|field| name(field) == b"dkim-signature")
        .ok_or("no signature")?;
    let text = String::from_utf8(signature.clone()).map_err(|_| "not UTF-8")?;
    let value = text.split_once(':').ok_or("no value")?.1;
    let tag = |wanted: &str| -> Option<String> {
        value
            .split(';')
            .filter_map(|tag| tag.split_once('='))
            .find(|(name, _)| name.trim() == wanted)
            .map(|(_, value)| value.split_ascii_whitespace().collect())
    };
    if STANDARD.encode(digest(&SHA256, &relaxed_body(body))) != tag("bh").ok_or("no bh")? {
        return Err("body hash");
    }
    let mut signed = Vec::new();
    let mut left = fields.clone();
    for wanted in tag("h").ok_or("no h")?.split(':') {
        let wanted = wanted.to_ascii_lowercase();
        if let Some(at) = left.iter().rposition(|field| name(field) == wanted.as_bytes()) {
            signed.extend(relaxed_field(&left.remove(at)));
            signed.extend(b"\r\n");
        }
    }
    let b_at = text.rfind("b=").ok_or("no b")? + 2;
    let after = text[b_at..].find(';').map_or("", |end| &text[b_at + end..]);
    signed.extend(relaxed_field(format!("{}{after}", &text[..b_at]).as_bytes()));
    let signature = STANDARD
        .decode(tag("b").ok_or("no b")?)
        .map_err(|_| "b is no Base64")?;
    match tag("a").as_deref() {
        Some("rsa-sha256") => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key).verify(&signed, &signature)
        }
        Some("ed25519-sha256") => {
            UnparsedPublicKey::new(&ED25519, public_key).verify(digest(&SHA256, &signed).as_ref(), &signature)
        }
        _ => return Err("algorithm"),
    }
    .map_err(|_| "signature")
}

/// The fields, folds included, without the CRLF at their ends; and the body.
fn split(message: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut rest = message;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let line = &rest[..end];
        rest = &rest[end + 2..];
        match (line.first(), fields.last_mut()) {
            (None, _) => return (fields, rest),
            (Some(b' ' | b'\t'), Some(field)) => {
                field.extend(b"\r\n");
                field.extend(line);
            }
            _ => fields.push(line.to_vec()),
        }
    }
    if !rest.is_empty() {
        fields.push(rest.to_vec());
    }
    (fields, b"")
}

fn name(field: &[u8]) -> Vec<u8> {
    let end = field.iter().position(|&octet| octet == b':').unwrap_or(0);
    field[..end].trim_ascii_end().to_ascii_lowercase()
}

fn relaxed_field(field: &[u8]) -> Vec<u8> {
    let colon = field.iter().position(|&octet| octet == b':').unwrap();
    let unfolded = replace(&field[colon + 1..], b"\r\n", b"");
    let mut out = name(field);
    out.push(b':');
    out.extend(trim_blanks(&squeeze(&unfolded)));
    out
}

pub(crate) fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = body;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(squeeze(&rest[..end]));
        rest = &rest[end + 2..];
    }
    lines.push(squeeze(rest));
    for line in &mut lines {
        if line.ends_with(b" ") {
            line.pop();
        }
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
        .into_iter()
        .flat_map(|line| [line, b"\r\n".to_vec()].concat())
        .collect()
}

/// Each run of blanks made one space.
fn squeeze(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for &octet in text {
        match octet {
            b' ' | b'\t' if out.ends_with(b" ") => {}
            b' ' | b'\t' => out.push(b' '),
            _ => out.push(octet),
        }
    }
    out
}

fn trim_blanks(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    text.strip_suffix(b" ").unwrap_or(text)
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend(&rest[..at]);
        out.extend(to);
        rest = &rest[at + from.len()..];
    }
    out.extend(rest);
    out
}
