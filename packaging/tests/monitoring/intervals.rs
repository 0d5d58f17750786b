//! How often the monitors have servers read, and over how long rules look back.

use super::files::expressions;
use super::installed::{release, with_pod_monitor, with_service_monitor};
use packaging::scraping;
use serde_json::{Value, json};

/// Seconds of `15s`, `5m`, `1h`, `3d`.
fn seconds(time: &str) -> u64 {
    let (number, unit) = time.split_at(time.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{time} is no time"));
    number
        * match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => panic!("{time} is no time"),
        }
}

/// The ranges of an expression: what is in brackets outside of texts, without a subquery's step.
fn ranges(expr: &str) -> Vec<u64> {
    let outside: String = expr.split('"').step_by(2).collect();
    let behind = outside.split('[').skip(1);
    let inside = behind.map(|rest| rest.split([']', ':']).next().expect("a range"));
    inside.map(seconds).collect()
}

/// A rate needs two scrapes in its range; with four, one may fail, and one more be late.
#[test]
fn every_range_holds_four_scrapes() {
    let chart = |monitor| release("smtp-server", "mail", monitor, json!({}), &json!({}));
    let objects = [
        with_pod_monitor("embedded"),
        with_service_monitor("embedded"),
        chart("podMonitor"),
        chart("serviceMonitor"),
    ]
    .concat();
    let monitors = objects.iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind.ends_with("Monitor")
    });
    let intervals: Vec<u64> = monitors
        .flat_map(scraping::configs)
        .map(|scrape: Value| seconds(scrape["scrape_interval"].as_str().expect("an interval")))
        .collect();
    assert_eq!(intervals.len(), 4, "{intervals:?}");
    let longest = intervals.into_iter().max().expect("an interval");
    let mut seen = 0;
    for (place, expr) in expressions() {
        for range in ranges(&expr) {
            seen += 1;
            assert!(
                range >= 4 * longest,
                "{place}: {range} s, read every {longest} s: {expr}"
            );
        }
    }
    assert!(seen > 50, "{seen} ranges");
}
