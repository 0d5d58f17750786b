//! Message content on the wire: from DATA or BDAT to canonical lines, and back
//! to DATA with its dots stuffed.

/// What was learnt of a message while it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyInfo {
    /// Octets of canonical content.
    pub size: u64,
    /// `Received:` fields in the header: the hops so far (RFC 5321 6.3).
    pub received_fields: u32,
    /// An octet above 127 is in the header.
    pub header_8bit: bool,
    /// An octet above 127 is anywhere.
    pub has_8bit: bool,
    /// Bare CR or LF octets that were made into CRLF.
    pub bare_line_ends: u64,
}

/// Makes canonical content ready for DATA: stuffs dots and ends it with
/// `CRLF . CRLF`, chunk by chunk (RFC 5321 4.5.2).
#[derive(Debug)]
pub struct DotStuffer {
    /// Where the next octet stands: after CRLF (2), after CR (1), within a line (0).
    line_start: u8,
}

impl Default for DotStuffer {
    fn default() -> Self {
        DotStuffer { line_start: 2 }
    }
}

impl DotStuffer {
    /// Appends `chunk`, stuffed, to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let _ = (chunk, out, self.line_start);
        todo!()
    }
    /// Appends the end: a CRLF if the content did not end with one, then `.` CRLF.
    pub fn finish(self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }
}
