//! What the server did lately, by the minute: the totals are looked at every few seconds and remembered for a quarter of an hour.

use smtp_observe::{Observer, Totals};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::interval;

/// How often the totals are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Over how long rates are told, in minutes.
pub(crate) const MINUTES: [u64; 3] = [1, 5, 15];
/// Looks that are remembered: those of the longest time, and one before it.
const KEPT: usize = (15 * 60 / 5) + 1;

/// The totals of the last quarter of an hour.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    looks: Mutex<VecDeque<(Instant, Totals)>>,
}

impl Rates {
    /// Looks again and again. Never ends.
    pub(crate) async fn look(self: Arc<Self>, observer: Observer) {
        let mut tick = interval(LOOK);
        loop {
            tick.tick().await;
            self.note(Instant::now(), observer.totals());
        }
    }

    fn note(&self, at: Instant, totals: Totals) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        while looks.len() >= KEPT {
            looks.pop_front();
        }
        looks.push_back((at, totals));
    }

    /// Received, delivered and deferred in a second, between each look and the next, oldest first; 0 before the first.
    pub(crate) fn series(&self) -> Vec<[f64; 3]> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = looks.iter().zip(looks.iter().skip(1));
        let before = std::iter::repeat_n([0.0; 3], KEPT.saturating_sub(looks.len().max(1)));
        let lately = pairs.map(|((before, then), (after, now))| {
            let seconds = after.saturating_duration_since(*before).as_secs_f64().max(0.001);
            let rate = |then: u64, now: u64| now.saturating_sub(then) as f64 / seconds;
            [
                rate(then.received, now.received),
                rate(then.delivered, now.delivered),
                rate(then.deferred, now.deferred),
            ]
        });
        before.chain(lately).collect()
    }

    /// For each of [`MINUTES`] the totals then, and the seconds since; since the first look where there is none as old.
    pub(crate) fn then(&self, now: Instant) -> [(Totals, f64); MINUTES.len()] {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        MINUTES.map(|minutes| {
            let span = Duration::from_secs(minutes * 60);
            // The newest that is old enough; they are in order.
            let old_enough = |(at, _): &(Instant, Totals)| now.saturating_duration_since(*at) >= span;
            let place = looks.partition_point(old_enough).saturating_sub(1);
            let (at, totals) = looks.get(place).copied().unwrap_or((now, Totals::default()));
            (totals, now.saturating_duration_since(at).as_secs_f64())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rate_is_over_its_own_time() {
        let rates = Rates::default();
        let start = Instant::now();
        let received = |received| Totals {
            received,
            ..Totals::default()
        };
        let at = |seconds| start + Duration::from_secs(seconds);
        for look in 0..=200 {
            rates.note(at(look * 5), received(look));
        }
        assert_eq!(rates.looks.lock().unwrap().len(), KEPT);
        let then = rates.then(at(1000));
        assert_eq!(then.map(|(totals, _)| totals.received), [188, 140, 20]);
        assert_eq!(then.map(|(_, seconds)| seconds), [60.0, 300.0, 900.0]);
        let series = rates.series();
        assert_eq!((series.len(), series[0][0]), (KEPT - 1, 0.2));
        // A server that just began.
        let young = Rates::default();
        assert_eq!(young.then(start), [(Totals::default(), 0.0); 3]);
        young.note(start, received(0));
        assert_eq!((young.series().len(), young.series()[7]), (KEPT - 1, [0.0; 3]));
        assert_eq!(young.then(at(7)).map(|(_, seconds)| seconds), [7.0; 3]);
    }
}
