//! Prometheus beside the pods, and what it was alarmed by.

use packaging::net::cluster::Host;
use packaging::{prometheus, scraping};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// How many times shorter alerts have to hold before they fire: minutes become seconds.
const FACTOR: u64 = 60;

/// A running Prometheus. Dropped, it is ended.
pub(crate) struct Prometheus<'h> {
    server: prometheus::Prometheus<'h>,
    /// Names of the alerts that ship.
    alerts: BTreeSet<String>,
    /// When it had found the pods, and no alert fired.
    calm: Instant,
}

impl Prometheus<'_> {
    /// Starts one that looks at what a monitor says, among the targets in a file.
    pub(crate) fn start<'h>(host: &'h Host, monitor: &Value, targets: &Path) -> Prometheus<'h> {
        let mut alerts = BTreeSet::new();
        let rules = prometheus::rules(|rule| {
            if let Some(name) = rule["alert"].as_str() {
                alerts.insert(name.to_owned());
            }
            shorten(rule);
        });
        assert!(alerts.len() > 10, "{alerts:?}");
        let mut scrapes = scraping::configs(monitor);
        for scrape in &mut scrapes {
            scrape["file_sd_configs"] = json!([{"files": [targets], "refresh_interval": "1s"}]);
        }
        let server = prometheus::Prometheus::start(&rules, scrapes, Some(&host.space));
        blackbox::wait_for_secs("Prometheus to scrape three pods", 60, || server.up() == 3);
        // Before it found the pods there were none.
        blackbox::wait_for_secs("no alert", 60, || server.firing().is_empty());
        Prometheus {
            server,
            alerts,
            calm: Instant::now(),
        }
    }

    /// Alerts that fire, or did since it found the pods.
    pub(crate) fn fired(&self) -> BTreeSet<String> {
        let since = self.calm.elapsed().as_secs();
        let series = self.server.query(&format!(
            "count_over_time(ALERTS{{alertstate=\"firing\"}}[{since}s])"
        ));
        series
            .iter()
            .map(|one| one["metric"]["alertname"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// Alerts that fire now, with the pods that they are about.
    pub(crate) fn firing(&self) -> BTreeSet<(String, String)> {
        let label = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let firing = self.server.firing();
        firing
            .iter()
            .map(|one| (label(one, "alertname"), label(one, "pod")))
            .collect()
    }

    /// Every rule was evaluated, without an error; and those that ship are there.
    pub(crate) fn assert_rules_evaluate(&self) {
        let rules = self.server.rules();
        for rule in &rules {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
        let alerting = rules.iter().filter(|rule| rule["type"] == "alerting");
        let names: BTreeSet<String> = alerting
            .map(|rule| rule["name"].as_str().expect("a name").to_owned())
            .collect();
        assert_eq!(names, self.alerts);
    }
}

/// Makes an alert fire sooner.
fn shorten(rule: &mut Value) {
    let Some(time) = rule["for"].as_str() else { return };
    let (number, unit) = time.split_at(time.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("for: {time}"),
    };
    let seconds = number.parse::<u64>().expect("a number") * unit;
    rule["for"] = format!("{}ms", seconds * 1000 / FACTOR).into();
}
