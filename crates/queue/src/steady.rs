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
    use std::process::Command;

    #[test]
    fn it_goes_on() {
        let (before, began) = (Steady::now(), Instant::now());
        std::thread::sleep(Duration::from_millis(30));
        let (after, took) = (Steady::now(), began.elapsed());
        let passed = after.since(before);
        assert!(passed >= Duration::from_millis(30) && passed <= took + Duration::from_millis(5));
        assert_eq!(before.since(after), Duration::ZERO);
        assert_eq!((before + passed, before + Duration::MAX > after), (after, true));
    }

    /// Says to this program that it runs on a machine that slept for so many seconds.
    const SLEPT: &str = "STEADY_TEST_SLEPT";

    /// A machine cannot be suspended for a test. But in a namespace of its own a process sees the two clocks as they are after a sleep.
    #[test]
    fn it_runs_on_while_the_machine_sleeps() {
        if let Ok(slept) = std::env::var(SLEPT) {
            let awake = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
            assert!(Steady::now().0 >= awake + Duration::from_secs(slept.parse().unwrap()));
            return;
        }
        let slept = "100000";
        let mut unshare = Command::new("unshare");
        if !nix::unistd::Uid::effective().is_root() {
            unshare.arg("--map-root-user");
        }
        let unshare = unshare
            .args(["--time", "--boottime", slept])
            .arg(std::env::current_exe().unwrap());
        let this = unshare.args(["--exact", "steady::tests::it_runs_on_while_the_machine_sleeps"]);
        let output = this.env(SLEPT, slept).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    }
}
