//! How fast messages may go to one next hop: a token bucket, and the turns of what has to wait elsewhere.
//!
//! The bucket is kept as one number, the moment at which it is full again (GCRA). It holds what may go in a second, and one
//! message at least.

use std::time::{Duration, Instant};

/// So much of what may go stays in hand; the rest waits in the store.
const AHEAD: Duration = Duration::from_secs(30);
/// But so many messages at least, so that the next one is there when its turn comes.
const LEAST_AHEAD: u128 = 2;
/// The longest that a message waits in the store before its turn is reckoned anew: there may be more or fewer servers by then, another
/// rate, or nobody before it.
const LONGEST_TURN: Duration = Duration::from_secs(600);

/// The bucket of one next hop. Without an interval it is always full.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// From one message to the next.
    interval: Option<Duration>,
    full_at: Option<Instant>,
    /// Up to when turns were given to messages that went back to the store.
    turns_until: Option<Instant>,
}

impl Rate {
    /// From now on the time from one message to the next is this; what was taken stays taken.
    pub(crate) fn set(&mut self, interval: Option<Duration>) {
        self.interval = interval.filter(|interval| !interval.is_zero());
        self.turns_until = None;
    }

    /// Messages in a second; `None` without a limit.
    pub(crate) fn per_second(&self) -> Option<f64> {
        self.interval.map(|interval| 1.0 / interval.as_secs_f64())
    }

    /// How long until a message may go; `None`: one may now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let interval = self.interval?;
        let holds = interval.max(Duration::from_secs(1));
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + interval;
        full_at
            .checked_duration_since(now + holds)
            .filter(|wait| !wait.is_zero())
    }

    /// Takes a message out of the bucket, if one may go now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else {
            return true;
        };
        let goes = self.wait(now).is_none();
        if goes {
            self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + interval);
        }
        goes
    }

    /// What was taken did not go after all.
    pub(crate) fn give_back(&mut self) {
        if let (Some(interval), Some(full_at)) = (self.interval, self.full_at) {
            self.full_at = full_at.checked_sub(interval);
        }
    }

    /// Whether nothing is lost by forgetting it.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.interval.is_none() || self.full_at.is_none_or(|at| at <= now)
    }

    /// Most messages that are to wait in hand.
    pub(crate) fn ahead(&self) -> usize {
        let Some(interval) = self.interval else {
            return usize::MAX;
        };
        let messages = AHEAD.as_nanos() / interval.as_nanos().max(1);
        usize::try_from(messages.max(LEAST_AHEAD)).unwrap_or(usize::MAX)
    }

    /// For how long a message goes back to the store that is one too many in hand: until its turn comes, behind those that went back
    /// before.
    pub(crate) fn turn(&mut self, now: Instant) -> Duration {
        let first = now + AHEAD;
        let turn =
            self.turns_until.map_or(first, |until| until.max(first)) + self.interval.unwrap_or_default();
        let turn = turn.min(now + LONGEST_TURN);
        self.turns_until = Some(turn);
        turn.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(interval: Duration) -> Rate {
        let mut rate = Rate::default();
        rate.set(Some(interval));
        rate
    }

    /// How many go at once.
    fn burst(rate: &mut Rate, now: Instant) -> usize {
        (0..10_000).take_while(|_| rate.take(now)).count()
    }

    #[test]
    fn as_many_as_in_a_second_go_at_once_then_one_an_interval() {
        let now = Instant::now();
        let mut it = rate(SECOND / 10);
        assert_eq!(burst(&mut it, now), 10);
        assert_eq!(it.wait(now), Some(SECOND / 10));
        assert_eq!(it.wait(now + SECOND / 20), Some(SECOND / 20));
        assert_eq!(burst(&mut it, now + SECOND / 10), 1);
        assert_eq!(burst(&mut it, now + SECOND * 3600), 10, "it never holds more");
    }

    #[test]
    fn below_one_a_second_one_goes_at_once() {
        let now = Instant::now();
        let mut it = rate(SECOND * 60);
        assert_eq!(burst(&mut it, now), 1);
        assert_eq!(it.wait(now), Some(SECOND * 60));
        assert_eq!(burst(&mut it, now + SECOND * 59), 0);
        assert_eq!(burst(&mut it, now + SECOND * 60), 1);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let (mut it, now) = (Rate::default(), Instant::now());
        assert_eq!(burst(&mut it, now), 10_000);
        assert!(it.wait(now).is_none() && it.is_full(now) && it.per_second().is_none());
        assert_eq!(it.ahead(), usize::MAX);
    }

    #[test]
    fn another_rate_forgets_nothing_that_was_taken() {
        let now = Instant::now();
        let mut it = rate(SECOND / 10);
        assert_eq!(burst(&mut it, now), 10);
        it.set(Some(SECOND * 60));
        assert_eq!(burst(&mut it, now + SECOND / 2), 0);
        assert!(!it.is_full(now + SECOND / 2));
        it.set(None);
        assert_eq!(burst(&mut it, now), 10_000);
        it.set(Some(SECOND / 10));
        assert!(it.is_full(now + SECOND));
    }

    #[test]
    fn what_did_not_go_is_given_back() {
        let now = Instant::now();
        let mut it = rate(SECOND * 60);
        assert!(it.take(now) && !it.take(now));
        it.give_back();
        assert!(it.take(now) && !it.take(now));
    }

    #[test]
    fn what_went_back_has_its_turn_one_after_the_other() {
        let now = Instant::now();
        let mut it = rate(SECOND * 10);
        assert_eq!(it.ahead(), 3);
        let turns: Vec<u64> = (0..3).map(|_| it.turn(now).as_secs()).collect();
        assert_eq!(turns, [40, 50, 60]);
        assert_eq!(it.turn(now + SECOND * 20).as_secs(), 50);
        let last = (0..100).map(|_| it.turn(now)).last();
        assert_eq!(last, Some(LONGEST_TURN));
        it.set(Some(SECOND * 60));
        assert_eq!((it.ahead(), it.turn(now).as_secs()), (2, 90));
    }
}
