//! How soon a hint is followed: at once, unless there was nothing behind those before. Whoever is let into the database can say what servers
//! say, as often as they like.

use std::time::{Duration, Instant};

/// The shortest time between two looks, however much is said.
const FIRST: Duration = Duration::from_millis(20);
/// The longest that a hint waits: by then somebody would have looked anyway.
const LAST: Duration = Duration::from_secs(1);

/// The time between looks, which grows with each in vain.
#[derive(Debug)]
pub(super) struct Pace {
    between: Duration,
    looked: Instant,
    /// When it was looked last because of a hint.
    followed: Option<Instant>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace {
            between: FIRST,
            looked: now,
            followed: None,
        }
    }

    /// How long a hint has to wait that is heard now. After silence it does not.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        if self
            .followed
            .is_some_and(|followed| now.duration_since(followed) >= LAST)
        {
            self.between = FIRST;
        }
        self.between.saturating_sub(now.duration_since(self.looked))
    }

    /// It was looked; because of a hint, if it says whether there was something behind that.
    pub(super) fn looked(&mut self, now: Instant, useful: Option<bool>) {
        self.looked = now;
        let Some(useful) = useful else { return };
        self.followed = Some(now);
        self.between = match useful {
            true => FIRST,
            false => (self.between * 2).min(LAST),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for ten seconds while somebody never stops talking; gives how often, when nothing, or always something, is behind it.
    fn looks(useful: bool) -> usize {
        let start = Instant::now();
        let (mut pace, mut now, mut looks) = (Pace::new(start), start, 0);
        while now.duration_since(start) < Duration::from_secs(10) {
            now += pace.wait(now);
            pace.looked(now, Some(useful));
            looks += 1;
        }
        looks
    }

    #[test]
    fn in_vain_it_slows_down_and_for_something_it_does_not() {
        assert!(looks(false) < 20, "{}", looks(false));
        assert!(looks(true) > 400, "{}", looks(true));
    }

    #[test]
    fn one_that_was_useful_or_silence_ends_it() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let exhaust = |pace: &mut Pace, now: &mut Instant| {
            for _ in 0..10 {
                *now += pace.wait(*now);
                pace.looked(*now, Some(false));
            }
        };
        exhaust(&mut pace, &mut now);
        assert_eq!(pace.wait(now), LAST);
        // A look that nobody asked for ends nothing.
        now += LAST / 2;
        pace.looked(now, None);
        assert_eq!(pace.wait(now), LAST);
        pace.looked(now, Some(true));
        assert_eq!(pace.wait(now), FIRST);
        exhaust(&mut pace, &mut now);
        assert_eq!(pace.wait(now + LAST), Duration::ZERO);
        pace.looked(now + LAST, Some(false));
        assert!(pace.wait(now + LAST) < LAST / 10);
    }
}
