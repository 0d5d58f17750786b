//! Pauses between attempts: each twice as long as the one before, and spread, since many servers lose the same database at once.

use std::time::Duration;
use uuid::Uuid;

/// Pauses, from the first that is needed on.
#[derive(Debug)]
pub(super) struct Pauses {
    shortest: Duration,
    longest: Duration,
    last: Option<Duration>,
}

impl Pauses {
    pub(super) fn new((shortest, longest): (Duration, Duration)) -> Pauses {
        Pauses {
            shortest,
            longest,
            last: None,
        }
    }

    /// The next pause, between a half and the whole of what it has grown to.
    pub(super) fn next(&mut self) -> Duration {
        let longer = self
            .last
            .map_or(self.shortest, |last| (last * 2).min(self.longest));
        self.last = Some(longer);
        let part = u32::from(Uuid::new_v4().as_bytes().first().copied().unwrap_or(0));
        longer / 2 + longer / 2 * part / 255
    }

    /// It worked: the next is short again.
    pub(super) fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_are_spread_and_begin_anew() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut pauses = Pauses::new((first, most));
        for whole in [100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let pause = pauses.next();
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
        }
        let mut others: Vec<Duration> = (0..20).map(|_| pauses.next()).collect();
        others.dedup();
        assert!(others.len() > 1, "all pauses are alike");
        pauses.reset();
        assert!(pauses.next() <= first);
    }
}
