//! Queue ids: unique across pods and restarts.

use parking_lot::Mutex;
use std::fmt;

/// A message's id for its life: a ULID, so ids sort by time of arrival. Written
/// as 26 characters of Crockford base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub(crate) ulid::Ulid);

static GENERATOR: Mutex<ulid::Generator> = Mutex::new(ulid::Generator::new());

impl QueueId {
    /// A new id. Ids made by one process ascend strictly, also when the clock is set back.
    pub fn generate() -> Self {
        let mut generator = GENERATOR.lock();
        QueueId(match generator.generate() {
            Ok(id) => id,
            // 2^80 ids within one millisecond, or a random part that began near its end.
            Err(overflow) => overflow.commit_overflow_increment(),
        })
    }

    /// Parses the 26 characters, in either case; `None` when they are no id.
    pub fn parse(text: &str) -> Option<Self> {
        ulid::Ulid::from_string(text).ok().map(QueueId)
    }

    /// The 16 octets, as they are stored; they sort as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The id of 16 stored octets.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        QueueId(ulid::Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::QueueId;

    #[test]
    fn ids_ascend_and_survive_their_text() {
        let mut last = QueueId::generate();
        for _ in 0..10_000 {
            let next = QueueId::generate();
            assert!(next > last);
            last = next;
        }
        let text = last.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(QueueId::parse(&text), Some(last));
        assert_eq!(QueueId::parse(&text.to_lowercase()), Some(last));
        assert_eq!(QueueId::from_bytes(last.to_bytes()), last);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "01",
            "../../../../../etc/passwd0",
            "01ARZ3NDEKTSV4RRFFQ69G5FA!",
            "é",
        ] {
            assert_eq!(QueueId::parse(text), None, "{text}");
        }
    }
}
