//! How often something may happen.

use crate::value::{Raw, Value, expected};
use serde_json::{Value as Json, json};
use std::fmt;
use std::time::Duration;

/// The highest amount.
const MOST: u32 = 1_000_000;
/// The periods by their names.
const PERIODS: [(&str, Duration); 3] = [
    ("second", Duration::from_secs(1)),
    ("minute", Duration::from_secs(60)),
    ("hour", Duration::from_secs(3600)),
];

/// So much in a period, or as much as there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(Option<(u32, Duration)>);

impl Rate {
    /// No limit.
    pub const NONE: Rate = Rate(None);

    /// The time from one to the next; `None` when there is no limit.
    pub fn interval(self) -> Option<Duration> {
        self.0.map(|(amount, period)| period / amount)
    }

    /// Reads the text form; `None` when it is none.
    pub fn parse(text: &str) -> Option<Rate> {
        if text == "none" {
            return Some(Rate::NONE);
        }
        let (amount, period) = text.split_once('/')?;
        let (_, period) = PERIODS.into_iter().find(|(name, _)| *name == period)?;
        // Neither a sign nor zeros before it.
        let plain = amount.starts_with(|first: char| ('1'..='9').contains(&first));
        let amount = amount.parse().ok().filter(|amount| plain && *amount <= MOST)?;
        Some(Rate(Some((amount, period))))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((amount, period)) = self.0 else {
            return f.write_str("none");
        };
        let name = PERIODS.iter().find(|(_, length)| *length == period);
        write!(f, "{amount}/{}", name.map_or("second", |(name, _)| name))
    }
}

impl Value for Rate {
    const KIND: &'static str = "`none`, `10/second`, `600/minute` or `5000/hour`";
    fn read(raw: &Raw) -> Result<Self, String> {
        raw.text()
            .and_then(|text| Rate::parse(text.trim()))
            .ok_or_else(|| {
                expected(
                    "none, or a number from 1 to 1000000 with /second, /minute or /hour",
                    raw,
                )
            })
    }
    fn show(&self) -> Json {
        Json::from(self.to_string())
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^(none|[1-9][0-9]{0,6}/(second|minute|hour))$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rate, String> {
        Rate::read(&Raw::String(text.into()))
    }

    #[test]
    fn rates_are_read_and_shown() {
        for (text, interval) in [
            ("none", None),
            ("10/second", Some(Duration::from_millis(100))),
            ("600/minute", Some(Duration::from_millis(100))),
            ("1/hour", Some(Duration::from_secs(3600))),
            ("1000000/second", Some(Duration::from_micros(1))),
        ] {
            let rate = read(text).unwrap();
            assert_eq!(rate.interval(), interval, "{text}");
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for bad in [
            "",
            "10",
            "0/second",
            "+1/second",
            "01/second",
            "1000001/second",
            "1.5/second",
            "10/day",
            "10/s",
            "/second",
            "-1/hour",
        ] {
            let reason = read(bad).unwrap_err();
            assert!(reason.contains("/second, /minute or /hour"), "{bad}: {reason}");
        }
        assert!(Rate::read(&Raw::Integer(10)).is_err());
    }
}
