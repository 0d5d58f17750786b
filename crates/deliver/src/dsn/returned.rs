//! How much of a message its report returns, and reading no more than that.

use super::DsnKind;
use memchr::memmem;
use smtp::{BodyType, Ret};
use smtp_queue::{Body, Message};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A failed message is returned whole up to this size, in octets, when its sender did not say.
const WHOLE_UNASKED: u64 = 64 * 1024;
/// And up to this size when its sender asked for it (RET=FULL). RFC 3461 4.3 lets a server return less.
const WHOLE_ASKED: u64 = 1024 * 1024;
/// Most octets of a header that are returned.
const HEADER: u64 = 64 * 1024;
/// Longest line of a header that is returned, without its CRLF (RFC 5322 2.1.1).
const LINE: usize = 998;

/// What a report returns of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// All of it.
    Whole(Vec<u8>),
    /// Its header, or as much of it as is returned.
    Headers(Vec<u8>),
}

impl Returned {
    /// The octets, whichever they are.
    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Returned::Whole(octets) | Returned::Headers(octets) => octets,
        }
    }
}

/// Reads what a report of `kind` about `message` returns of its content: bounded, off the reactor.
/// `body` is only read as far as needed. Without the content (an error), a report can still be made
/// with `Returned::Headers(Vec::new())`.
pub(crate) async fn returned_content(message: &Message, kind: DsnKind, body: &Body) -> io::Result<Returned> {
    let whole = returns_whole(message, kind, body.size());
    let limit = if whole { body.size() } else { HEADER };
    let octets = match body {
        Body::Memory(octets) => octets
            .iter()
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .copied()
            .collect(),
        Body::File { path, .. } => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_up_to(&path, limit))
                .await
                .map_err(io::Error::other)??
        }
    };
    Ok(if whole {
        Returned::Whole(octets)
    } else {
        Returned::Headers(header_of(octets))
    })
}

/// Only failures return content (RFC 3461 4.3); what cannot stand in a report of text lines is not returned.
fn returns_whole(message: &Message, kind: DsnKind, size: u64) -> bool {
    let limit = match message.options.ret {
        Some(Ret::Headers) => return false,
        Some(Ret::Full) => WHOLE_ASKED,
        None => WHOLE_UNASKED,
    };
    kind == DsnKind::Failure && message.options.body_type != BodyType::BinaryMime && size <= limit
}

fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut octets)?;
    Ok(octets)
}

/// The header without the empty line that ends it; of a longer one the whole lines that are there. BINARYMIME
/// content may hold anything at all: what are no lines of text is not returned, since a report is
/// sent with DATA, where a bare LF and a dot could end it for the next server (SMTP smuggling).
fn header_of(mut octets: Vec<u8>) -> Vec<u8> {
    let end = if octets.starts_with(b"\r\n") {
        0
    } else {
        let end = memmem::find(&octets, b"\r\n\r\n").or_else(|| memmem::rfind(&octets, b"\r\n"));
        end.map_or(octets.len(), |at| at + 2)
    };
    octets.truncate(end);
    let mut text = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let inner = line.strip_suffix(b"\r\n").unwrap_or(line);
        if inner.len() > LINE || inner.iter().any(|octet| b"\r\n\0".contains(octet)) {
            break;
        }
        text += line.len();
    }
    octets.truncate(text);
    octets
}
