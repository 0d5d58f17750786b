//! Queue ids: unique across pods and restarts.

use std::fmt;

/// A message's id for its life: a ULID, so ids sort by time of arrival. Written
/// as 26 characters of Crockford base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub(crate) ulid::Ulid);

impl QueueId {
    /// A new id. Ids made by one process ascend strictly.
    pub fn generate() -> Self {
        todo!()
    }
    /// Parses the 26 characters, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let _ = text;
        todo!()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
