//! From an address to the folder of its Maildir, so that no address can name anything else.

use crate::route::domain_key;
use smtp::Address;
use std::path::PathBuf;

/// Longest encoded part, in octets: two of them and some text still fit into one file name of 255.
const PART_LENGTH: usize = 120;

/// The folder that `template` gives `recipient`.
pub(super) fn expand(template: &str, separator: &str, recipient: &Address) -> PathBuf {
    let domain = domain_key(recipient.domain()).unwrap_or_else(|| recipient.domain().to_lowercase());
    let local = mailbox(recipient.local(), separator);
    let mut path = String::with_capacity(template.len() + domain.len() + local.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, placeholder) = rest.split_at(open);
        path.push_str(before);
        if let Some(after) = placeholder.strip_prefix("{domain}") {
            path.push_str(&encode(&domain));
            rest = after;
        } else if let Some(after) = placeholder.strip_prefix("{local}") {
            path.push_str(&encode(&local));
            rest = after;
        } else {
            path.push('{');
            rest = placeholder.strip_prefix('{').unwrap_or_default();
        }
    }
    path.push_str(rest);
    PathBuf::from(path)
}

/// The mailbox that a local part names: without its quotes and its subaddress, in lower case. A local part
/// that begins with the separator has no subaddress.
fn mailbox(local: &str, separator: &str) -> String {
    let unquoted = match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => without_escapes(quoted),
        None => local.to_owned(),
    };
    let end = match separator {
        "" => None,
        separator => unquoted.find(separator).filter(|at| *at > 0),
    };
    unquoted
        .get(..end.unwrap_or(unquoted.len()))
        .unwrap_or(&unquoted)
        .to_lowercase()
}

fn without_escapes(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut escaped = false;
    for character in quoted.chars() {
        escaped = character == '\\' && !escaped;
        if !escaped {
            text.push(character);
        }
    }
    text
}

/// A part as one harmless piece of a file name. Letters and digits of any script, `-`, `_`, `+` and dots
/// within stay; every other octet becomes `=XX`, so different parts stay different. A part that gets too long
/// ends in a hash of all of it.
fn encode(part: &str) -> String {
    let mut name = String::with_capacity(part.len());
    for (at, character) in part.char_indices() {
        let plain = character.is_alphanumeric() || "-_+".contains(character) || (character == '.' && at > 0);
        if plain {
            name.push(character);
        } else {
            let mut octets = [0; 4];
            for octet in character.encode_utf8(&mut octets).bytes() {
                name.push_str(&format!("={octet:02X}"));
            }
        }
    }
    if name.is_empty() {
        // A lone `=` is no encoding of anything else.
        name.push('=');
    }
    if name.len() > PART_LENGTH {
        let hash = format!("=={:016x}", fnv1a(part.as_bytes()));
        name.truncate(name.floor_char_boundary(PART_LENGTH - hash.len()));
        name.push_str(&hash);
    }
    name
}

/// FNV-1a, 64 bit: the same in every version and on every machine, as a folder's name has to be.
fn fnv1a(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::address;
    use std::path::Component;

    fn folder(to: &str) -> String {
        expand("/mail/{domain}/{local}", "+", &address(to))
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn ordinary_addresses_have_ordinary_folders() {
        assert_eq!(folder("Ann.Smith@Example.COM"), "/mail/example.com/ann.smith");
        assert_eq!(folder("ann+lists@example.com"), "/mail/example.com/ann");
        assert_eq!(folder("+ann@example.com"), "/mail/example.com/+ann");
        assert_eq!(
            folder("\u{fc}nal@b\u{fc}cher.example"),
            "/mail/xn--bcher-kva.example/\u{fc}nal"
        );
        assert_eq!(folder("\"a b\"@example.com"), "/mail/example.com/a=20b");
        assert_eq!(folder("ann@[192.0.2.7]"), "/mail/=5B192.0.2.7=5D/ann");
    }

    #[test]
    fn templates_are_taken_literally_but_for_their_placeholders() {
        let ann = address("ann+x@example.com");
        assert_eq!(expand("/mail/shared", "+", &ann), PathBuf::from("/mail/shared"));
        assert_eq!(
            expand("/m/{local}@{domain}/{x", "", &ann),
            PathBuf::from("/m/ann+x@example.com/{x")
        );
    }

    #[test]
    fn no_local_part_leaves_its_folder() {
        let hostile = [
            "../../etc/passwd",
            "a/b",
            ".",
            "..",
            "...",
            "/",
            "a\\\\..",
            "{domain}",
            "~root",
            "=2E=2E",
            ".hidden",
            "new",
            "a'b",
            "$(id)",
            "%2e%2e%2f",
            "",
        ];
        let mut seen = std::collections::HashSet::new();
        for local in hostile {
            let folder = expand(
                "/mail/{domain}/{local}",
                "+",
                &address(&format!("\"{local}\"@example.com")),
            );
            let parts: Vec<_> = folder.components().collect();
            assert_eq!(parts.len(), 4, "{local:?} became {folder:?}");
            let Component::Normal(last) = parts[3] else {
                panic!("{local:?} became {folder:?}")
            };
            assert!(
                !last.to_str().unwrap().starts_with('.'),
                "{local:?} became {folder:?}"
            );
            assert!(seen.insert(folder), "{local:?} shares a folder");
        }
    }

    #[test]
    fn long_parts_are_cut_and_stay_different() {
        let (one, two) = (encode(&"/".repeat(64)), encode(&("/".repeat(63) + "|")));
        assert!(one.len() <= PART_LENGTH && two.len() <= PART_LENGTH);
        assert_ne!(one, two);
        let wide = encode(&"\u{1d54f}".repeat(80));
        assert!(wide.len() <= PART_LENGTH);
    }
}
