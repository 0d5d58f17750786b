//! A place in a trace, and how applications name it (W3C Trace Context, `traceparent`).

use std::fmt;

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` (W3C Trace Context 3.2); `None` when it is none. Of versions to come, what this one knows is read.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.splitn(5, '-');
        let [version] = octets(parts.next()?)?;
        let trace: [u8; 16] = octets(parts.next()?)?;
        let span: [u8; 8] = octets(parts.next()?)?;
        let [flags] = octets(parts.next()?)?;
        let known = version != 0xff && (version > 0 || parts.next().is_none());
        (known && trace != [0; 16] && span != [0; 8]).then_some(TraceContext {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// A new span in the same trace.
    pub(super) fn child(self) -> Self {
        TraceContext {
            span: super::span::new_id(),
            ..self
        }
    }

    /// The trace's id in hexadecimal digits, as tools show it.
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }
}

/// As a `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{}-{}-{flags:02x}", hex(&self.trace), hex(&self.span))
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Octets in lower-case hexadecimal digits, no more and no fewer than `N`.
fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * N || !digits.iter().all(lower) {
        return None;
    }
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

/// The last 8 octets of an id: the part of a queue id that is random. Never all zero.
pub(super) fn tail(id: [u8; 16]) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = id;
    match [a, b, c, d, e, f, g, h] {
        [0, 0, 0, 0, 0, 0, 0, 0] => [0, 0, 0, 0, 0, 0, 0, 1],
        tail => tail,
    }
}

/// An id as an even number: queue ids of one moment follow each other, and their traces shall not be kept or left out together
/// (the last step of SplitMix64).
pub(super) fn mixed(id: [u8; 16]) -> u64 {
    let id = u128::from_be_bytes(id);
    let mut mixed = (id >> 64) as u64 ^ id as u64;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
