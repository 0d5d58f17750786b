//! PEM (RFC 7468), as much of it as private keys need.

use crate::key::KeyError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Characters of a label that an error shows.
const LABEL: usize = 40;
/// Base64 characters of a line (RFC 7468 2).
const LINE: usize = 64;

/// A private key in DER.
pub(crate) enum PrivateKey {
    /// PrivateKeyInfo (RFC 5958).
    Pkcs8(Zeroizing<Vec<u8>>),
    /// RSAPrivateKey (RFC 8017 A.1.2).
    Pkcs1(Zeroizing<Vec<u8>>),
}

/// The one private key in `text`.
pub(crate) fn private_key(text: &str) -> Result<PrivateKey, KeyError> {
    let mut found = None;
    let mut instead = KeyError::NotPem;
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(DASHES))
        else {
            continue;
        };
        let wrap = match label {
            "PRIVATE KEY" => PrivateKey::Pkcs8,
            "RSA PRIVATE KEY" => PrivateKey::Pkcs1,
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            _ if label.ends_with("PUBLIC KEY") => {
                instead = KeyError::Public;
                continue;
            }
            _ => {
                instead = KeyError::OtherBlock(label.chars().take(LABEL).collect());
                continue;
            }
        };
        if found.is_some() {
            return Err(KeyError::Several);
        }
        found = Some(wrap(content(&mut lines, label)?));
    }
    found.ok_or(instead)
}

/// What a block holds, up to and with its last line.
fn content<'a>(
    lines: &mut impl Iterator<Item = &'a str>,
    label: &str,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // As long as the longest key, so that no half of it stays behind when the text grows.
    let mut encoded = Zeroizing::new(String::with_capacity(8192));
    for line in lines {
        if let Some(end) = line.strip_prefix(END).and_then(|rest| rest.strip_suffix(DASHES)) {
            return match STANDARD.decode(encoded.as_bytes()) {
                Ok(der) if end == label => Ok(Zeroizing::new(der)),
                _ => Err(KeyError::DamagedPem),
            };
        }
        // The header of RFC 1421 that OpenSSL writes before encrypted PKCS#1.
        if line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        encoded.push_str(line);
    }
    Err(KeyError::DamagedPem)
}

/// Writes PKCS#8.
pub(crate) fn write(der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / LINE + 64));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}
