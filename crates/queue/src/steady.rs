//! A clock that nobody sets: it runs on while the wall clock is put right, while the process is stopped, and while the machine sleeps.
//!
//! What a lease is worth is measured by it. [`std::time::Instant`] will not do: on Linux it stands still while the machine is suspended,
//! and a lease that ended meanwhile would be taken for one that is held.

use nix::time::{ClockId, clock_gettime};
use std::ops::Add;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A moment by that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Steady(Duration);

/// Where there is no better clock: nothing suspends a machine that has none.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Whether the system has the clock: asked once, so that moments are never of two clocks.
static KNOWN: LazyLock<bool> = LazyLock::new(|| clock_gettime(CLOCK).is_ok());

impl Steady {
    /// When the machine was started.
    pub const START: Steady = Steady(Duration::ZERO);

    /// Now.
    pub fn now() -> Steady {
        let shown = KNOWN.then(|| clock_gettime(CLOCK).ok()).flatten();
        Steady(shown.map_or_else(|| STARTED.elapsed(), Duration::from))
    }

    /// How long ago `earlier` was; zero when it was not.
    pub fn since(self, earlier: Steady) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Steady {
    type Output = Steady;
    fn add(self, by: Duration) -> Steady {
        Steady(self.0.saturating_add(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_with_the_time_since_the_machine_was_started() {
        let (before, began) = (Steady::now(), Instant::now());
        std::thread::sleep(Duration::from_millis(30));
        let (after, took) = (Steady::now(), began.elapsed());
        let passed = after.since(before);
        assert!(passed >= Duration::from_millis(30) && passed <= took + Duration::from_millis(5));
        assert_eq!(before.since(after), Duration::ZERO);
        assert_eq!((before + passed, before + Duration::MAX > after), (after, true));
        // The time of suspensions is in it.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((Steady::now().0.as_secs_f64() - uptime).abs() < 60.0, "{uptime}");
    }
}
