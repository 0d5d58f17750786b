//! The header that a proxy puts before everything else to say who its client is: version 2 of HAProxy's PROXY protocol
//! (proxy-protocol.txt, section 2.2). Pure.
//!
//! Promises: no panic on any octets; never more is asked for than the header has; memory and work are bounded by [`MOST`]; nothing
//! is guessed: what does not say plainly who the client is, is a flaw.
//!
//! Why it is written here is in docs/decisions/0009-proxies.md.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What a header of version 1 begins with, the one in words.
const VERSION_1: &[u8] = b"PROXY ";
/// Octets before the part whose length they tell.
const FIXED: usize = 16;
/// Most octets of a whole header. Addresses take 52; the rest is additions, of which a client's certificate is the longest.
pub(crate) const MOST: usize = 4096;
/// The addition that holds a checksum of the header (PP2_TYPE_CRC32C).
const CHECKSUM: u8 = 0x03;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The connection is this client's. IPv4-mapped addresses are made IPv4.
    Client(SocketAddr),
    /// The connection is the proxy's own (LOCAL): it looks whether we are there.
    Local,
}

/// Why there is no usable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Something else came.
    Missing,
    /// A header, and what is wrong with it.
    Invalid(&'static str),
}

/// How many octets the header has, as far as `read`, its beginning, tells: so many may be read, and no more. When all of them are there it is
/// complete.
///
/// # Errors
/// When it is clear already that no usable header comes.
pub(crate) fn wanted(read: &[u8]) -> Result<usize, Flaw> {
    let Some(begin) = read.first_chunk::<FIXED>() else {
        let begins = |what: &[u8]| read.iter().zip(what).all(|(one, other)| one == other);
        return match begins(SIGNATURE) || (begins(VERSION_1) && read.len() < VERSION_1.len()) {
            true => Ok(FIXED),
            false => Err(other(read)),
        };
    };
    if !begin.starts_with(SIGNATURE) {
        return Err(other(begin));
    }
    let [.., high, low] = *begin;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    match length > MOST {
        true => Err(Flaw::Invalid("it is longer than 4096 octets")),
        false => Ok(length),
    }
}

/// What begins otherwise.
fn other(read: &[u8]) -> Flaw {
    match read.starts_with(VERSION_1) {
        true => Flaw::Invalid("it is of version 1; only version 2 is taken (HAProxy: send-proxy-v2)"),
        false => Flaw::Missing,
    }
}

/// Reads a header that is complete, and nothing but it.
///
/// # Errors
/// When it does not say who the client is, or breaks the rules.
pub(crate) fn parse(header: &[u8]) -> Result<Header, Flaw> {
    if wanted(header)? != header.len() {
        return Err(Flaw::Invalid("its length is wrong"));
    }
    let Some((&[.., command, family, _, _], rest)) = header.split_first_chunk::<FIXED>() else {
        return Err(Flaw::Missing);
    };
    match command {
        // Whatever follows is to be ignored.
        0x20 => return Ok(Header::Local),
        0x21 => {}
        _ => return Err(Flaw::Invalid("its version or command is unknown")),
    }
    let short = Flaw::Invalid("its addresses are cut off");
    let (address, port, additions) = match family {
        // TCP over IPv4: source, destination, both ports.
        0x11 => {
            let (&[a, b, c, d, _, _, _, _, high, low, _, _], rest) =
                rest.split_first_chunk::<12>().ok_or(short)?;
            (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), [high, low], rest)
        }
        0x21 => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let (_, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let (&[high, low, _, _], rest) = rest.split_first_chunk::<4>().ok_or(short)?;
            (Ipv6Addr::from(*source).to_canonical(), [high, low], rest)
        }
        0x00 => return Err(Flaw::Invalid("it names no client (UNSPEC)")),
        _ => return Err(Flaw::Invalid("its client did not come by TCP")),
    };
    check(header, additions)?;
    match is_somebody(address) {
        true => Ok(Header::Client(SocketAddr::new(address, u16::from_be_bytes(port)))),
        false => Err(Flaw::Invalid("its client's address is nobody's")),
    }
}

/// Whether a connection can come from there.
fn is_somebody(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Walks over the additions, and verifies the checksum where there is one.
fn check(header: &[u8], additions: &[u8]) -> Result<(), Flaw> {
    let broken = Flaw::Invalid("its additions (TLV) are broken");
    let mut rest = additions;
    let mut sum = None;
    while !rest.is_empty() {
        let (&[kind, high, low], after) = rest.split_first_chunk::<3>().ok_or(broken)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after_value) = after.split_at_checked(length).ok_or(broken)?;
        if kind == CHECKSUM {
            let told = value.try_into().map(u32::from_be_bytes).map_err(|_| broken)?;
            let before = header.len() - after.len();
            if sum.replace((told, before)).is_some() {
                return Err(broken);
            }
        }
        rest = after_value;
    }
    let Some((told, before)) = sum else { return Ok(()) };
    // It is computed with zeros in its own place.
    let octets = header.iter().enumerate().map(|(place, octet)| {
        let own = (before..before + size_of::<u32>()).contains(&place);
        if own { 0 } else { *octet }
    });
    match crc32c(octets) == told {
        true => Ok(()),
        false => Err(Flaw::Invalid("its checksum (CRC32C) is wrong")),
    }
}

/// RFC 9260 appendix A, bit by bit: a header is short.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    let sum = octets.fold(u32::MAX, |sum, octet| {
        (0..8).fold(sum ^ u32::from(octet), |sum, _| {
            let reduced = if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            sum >> 1 ^ reduced
        })
    });
    !sum
}

#[cfg(test)]
mod tests;
