//! The least rate at which content has to come, so that slow senders cannot hold slots.
//!
//! Only time spent waiting for the client counts, never time that our own disk took. The first window is
//! grace: a connection may start slowly, and a short message may pause once.

use std::time::Duration;

/// Time over which the rate is averaged.
const WINDOW: Duration = Duration::from_secs(30);

/// Watches the rate of one message's content.
#[derive(Debug)]
pub(crate) struct Pace {
    /// `limits.min_data_rate`; 0 is off.
    octets_per_second: u64,
    window: Duration,
    /// Waiting that is forgiven in this window.
    grace: Duration,
    /// Waiting so far in this window.
    waited: Duration,
    /// Octets so far in this window.
    octets: u64,
}

/// Content came too slowly.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Pace {
    /// `octets_per_second` is `limits.min_data_rate`, `idle` is `server.connection_timeout`.
    pub(crate) fn new(octets_per_second: u64, idle: Duration) -> Self {
        let window = WINDOW.min(idle).max(Duration::from_millis(1));
        Pace {
            octets_per_second,
            window,
            grace: window,
            waited: Duration::ZERO,
            octets: 0,
        }
    }

    /// How long the client may stay silent from now on; never more than `most`.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        if self.octets_per_second == 0 {
            return most;
        }
        let earned = Duration::from_millis(self.octets.saturating_mul(1000) / self.octets_per_second);
        let allowed = (earned.saturating_add(self.grace)).max(self.window);
        most.min(allowed.saturating_sub(self.waited))
    }

    /// Notes that waiting for `waited` brought `octets`, which may be none.
    pub(crate) fn note(&mut self, waited: Duration, octets: usize) -> Result<(), TooSlow> {
        self.waited += waited;
        self.octets = self.octets.saturating_add(octets as u64);
        if self.waited < self.window {
            return Ok(());
        }
        let counted = self.waited.saturating_sub(self.grace).as_millis();
        if u128::from(self.octets) * 1000 < u128::from(self.octets_per_second) * counted {
            return Err(TooSlow);
        }
        self.grace = Duration::ZERO;
        self.waited = Duration::ZERO;
        self.octets = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_window_is_grace_and_the_second_is_not() {
        let mut pace = Pace::new(500, IDLE);
        for _ in 0..59 {
            assert_eq!(pace.note(SECOND, 1), Ok(()));
        }
        assert_eq!(pace.note(SECOND, 1), Err(TooSlow));
    }

    #[test]
    fn enough_octets_in_each_window_go_on_for_ever() {
        let mut pace = Pace::new(500, IDLE);
        for _ in 0..10_000 {
            assert_eq!(pace.note(SECOND, 500), Ok(()));
        }
    }

    #[test]
    fn a_burst_does_not_buy_more_than_its_window() {
        let mut pace = Pace::new(500, IDLE);
        assert_eq!(pace.note(30 * SECOND, 10_000_000), Ok(()));
        assert_eq!(pace.note(30 * SECOND, 100), Err(TooSlow));
    }

    #[test]
    fn a_window_of_octets_before_each_long_silence_is_too_slow() {
        let mut pace = Pace::new(500, IDLE);
        assert_eq!(pace.note(30 * SECOND, 15_000), Ok(()));
        assert_eq!(pace.note(SECOND, 15_000), Ok(()));
        assert_eq!(pace.note(290 * SECOND, 1), Err(TooSlow));
    }

    #[test]
    fn our_own_slowness_is_not_counted() {
        let mut pace = Pace::new(500, IDLE);
        for _ in 0..1000 {
            assert_eq!(pace.note(Duration::ZERO, 1), Ok(()));
        }
    }

    #[test]
    fn off_means_that_only_idle_counts() {
        let mut pace = Pace::new(0, IDLE);
        assert_eq!(pace.patience(IDLE), IDLE);
        for _ in 0..1000 {
            assert_eq!(pace.note(SECOND, 0), Ok(()));
        }
    }

    #[test]
    fn patience_ends_where_the_rate_would_be_missed() {
        let mut pace = Pace::new(500, IDLE);
        assert_eq!(pace.patience(IDLE), 30 * SECOND);
        assert_eq!(pace.note(30 * SECOND, 0), Ok(()));
        assert_eq!(pace.patience(IDLE), 30 * SECOND);
        assert_eq!(pace.note(10 * SECOND, 0), Ok(()));
        assert_eq!(pace.patience(IDLE), 20 * SECOND);
        assert_eq!(pace.patience(5 * SECOND), 5 * SECOND);
        assert_eq!(pace.note(SECOND, 500 * 50), Ok(()));
        assert_eq!(pace.patience(IDLE), 39 * SECOND);
    }

    #[test]
    fn a_short_idle_limit_shortens_the_window() {
        let mut pace = Pace::new(1000, 2 * SECOND);
        assert_eq!(pace.note(2 * SECOND, 0), Ok(()));
        assert_eq!(pace.note(2 * SECOND, 1999), Err(TooSlow));
    }
}
