//! When a recipient is tried again, when it is given up, and when its sender hears that it is late.
//!
//! Intervals start at `delivery.retry_initial`, grow by half each time up to `delivery.retry_max`, and are
//! spread by jitter so that the backlog of a dead host does not come back in one wave. The last try is at
//! `delivery.expire_after`, not before it.

use jiff::{SignedDuration, Timestamp};
use smtp::Notify;
use smtp_config::Delivery;
use std::time::Duration;

/// How far an interval strays from its nominal length, either way.
const JITTER: f64 = 0.15;
/// How much longer each interval is than the one before.
const GROWTH: f64 = 1.5;
/// How long a next hop is left alone after its first failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);

/// What to do with a recipient that could not be delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again then.
    At(Timestamp),
    /// It was tried for long enough.
    GiveUp,
}

/// A random number from -1 to 1, for the functions of this module.
pub(crate) fn dice() -> f64 {
    rand::random_range(-1.0..=1.0)
}

/// When a recipient is tried again that was tried `attempts` times before the attempt that ended at
/// `now`. `dice` is from -1 to 1.
pub(crate) fn next_try(
    attempts: u32,
    received: Timestamp,
    now: Timestamp,
    settings: &Delivery,
    dice: f64,
) -> Next {
    let end = expiry(received, settings);
    if now >= end {
        return Next::GiveUp;
    }
    let at = later(now, spread(interval(attempts, settings), dice));
    Next::At(at.min(end))
}

/// When a message received then is given up.
pub(crate) fn expiry(received: Timestamp, settings: &Delivery) -> Timestamp {
    later(received, settings.expire_after)
}

/// How long a next hop is left alone after `failures` failures in a row, from 1: 30 s, doubled up to
/// `delivery.retry_initial`. More would only delay new mail for a host that is back; one probe in five minutes is
/// cheap. `dice` is from -1 to 1.
pub(crate) fn backoff(failures: u32, settings: &Delivery, dice: f64) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    spread(doubled.min(settings.retry_initial), dice)
}

/// Whether a sender is told now that its message is late. Without NOTIFY it is; with NOTIFY
/// it must have asked for it (RFC 3461 4.1).
pub(crate) fn notice_due(
    notified: bool,
    notify: Option<Notify>,
    received: Timestamp,
    now: Timestamp,
    settings: &Delivery,
) -> bool {
    !notified
        && !settings.delay_notice_after.is_zero()
        && notify.is_none_or(|asked| asked.contains(Notify::DELAY))
        && now >= later(received, settings.delay_notice_after)
}

/// `time` and `by` later; the end of time if there is no such moment.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// How long ago `time` is; zero for the future.
pub(crate) fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or_default()
}

fn interval(attempts: u32, settings: &Delivery) -> Duration {
    // 64 steps of growth exceed every sensible maximum, and keep the power finite.
    let factor = GROWTH.powi(i32::try_from(attempts.min(64)).unwrap_or(64));
    let seconds = settings.retry_initial.as_secs_f64() * factor;
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(settings.retry_max)
        .min(settings.retry_max)
}

/// `length`, spread by jitter.
pub(crate) fn spread(length: Duration, dice: f64) -> Duration {
    length.mul_f64(1.0 + JITTER * dice.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Delivery {
        Delivery {
            capture: false,
            retry_initial: Duration::from_secs(300),
            retry_max: Duration::from_secs(3600),
            expire_after: Duration::from_secs(432_000),
            delay_notice_after: Duration::from_secs(14_400),
            port: 25,
            max_connections_per_destination: 20,
            max_rate_per_destination: smtp_config::Rate::NONE,
            max_connections: 500,
            subaddress_separator: "+".into(),
            double_bounce_to: None,
            tls: Default::default(),
            ca_file: None,
            connect_timeout: Duration::from_secs(30),
            final_timeout: Duration::from_secs(600),
            block_timeout: Duration::from_secs(180),
            min_data_rate: 2000,
            hang_after: Duration::from_secs(10),
            max_in_hand: 10_000,
            idle_timeout: Duration::from_secs(5),
            message_pipelining: Default::default(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn intervals_start_at_five_minutes_and_grow_to_an_hour() {
        let settings = settings();
        let waits: Vec<i64> = (0..10)
            .map(
                |attempts| match next_try(attempts, at(0), at(1000), &settings, 0.0) {
                    Next::At(time) => time.as_second() - 1000,
                    Next::GiveUp => panic!("given up"),
                },
            )
            .collect();
        assert_eq!(waits, [300, 450, 675, 1012, 1518, 2278, 3417, 3600, 3600, 3600]);
        assert_eq!(
            next_try(u32::MAX, at(0), at(1000), &settings, 0.0),
            Next::At(at(4600))
        );
    }

    #[test]
    fn jitter_spreads_intervals_by_fifteen_per_cent() {
        let settings = settings();
        assert_eq!(next_try(0, at(0), at(0), &settings, -1.0), Next::At(at(255)));
        assert_eq!(next_try(0, at(0), at(0), &settings, 1.0), Next::At(at(345)));
        assert_eq!(next_try(0, at(0), at(0), &settings, 99.0), Next::At(at(345)));
    }

    #[test]
    fn the_last_try_is_at_the_end_and_nothing_after_it() {
        let settings = settings();
        assert_eq!(
            next_try(50, at(0), at(431_000), &settings, 1.0),
            Next::At(at(432_000))
        );
        assert_eq!(
            next_try(50, at(0), at(431_999), &settings, 0.0),
            Next::At(at(432_000))
        );
        assert_eq!(next_try(50, at(0), at(432_000), &settings, 0.0), Next::GiveUp);
        let never = Delivery {
            expire_after: Duration::MAX,
            ..settings
        };
        assert_eq!(next_try(0, at(0), at(0), &never, 0.0), Next::At(at(300)));
    }

    #[test]
    fn back_off_doubles_up_to_the_maximum() {
        let settings = settings();
        let waits: Vec<u64> = (1..8)
            .map(|failures| backoff(failures, &settings, 0.0).as_secs())
            .collect();
        assert_eq!(waits, [30, 60, 120, 240, 300, 300, 300]);
        assert_eq!(backoff(u32::MAX, &settings, 0.0).as_secs(), 300);
        assert_eq!(backoff(0, &settings, 0.0).as_secs(), 30);
    }

    #[test]
    fn a_delay_notice_is_sent_once_when_late_and_wanted() {
        let settings = settings();
        assert!(!notice_due(false, None, at(0), at(14_399), &settings));
        assert!(notice_due(false, None, at(0), at(14_400), &settings));
        assert!(!notice_due(true, None, at(0), at(14_400), &settings));
        assert!(!notice_due(
            false,
            Some(Notify::NEVER),
            at(0),
            at(14_400),
            &settings
        ));
        assert!(!notice_due(
            false,
            Some(Notify::FAILURE),
            at(0),
            at(14_400),
            &settings
        ));
        assert!(notice_due(
            false,
            Some(Notify::FAILURE.with(Notify::DELAY)),
            at(0),
            at(14_400),
            &settings
        ));
        let off = Delivery {
            delay_notice_after: Duration::ZERO,
            ..settings
        };
        assert!(!notice_due(false, None, at(0), at(432_000), &off));
    }
}
