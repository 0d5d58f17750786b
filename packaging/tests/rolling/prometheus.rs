//! A real Prometheus with the rules that ship.

use packaging::net::cluster::Host;
use packaging::net::probe;
use packaging::tools::root;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many times shorter alerts have to hold before they fire: minutes become seconds.
const FACTOR: u64 = 60;

/// A running Prometheus. Dropped, it is ended.
pub(crate) struct Prometheus<'h> {
    host: &'h Host,
    child: Child,
    folder: tempfile::TempDir,
    /// Names of the alerts that ship.
    pub alerts: BTreeSet<String>,
    /// When it had found the pods, and no alert fired.
    calm: Instant,
}

impl Prometheus<'_> {
    /// Starts one that looks at the targets in a file every second.
    pub(crate) fn start<'h>(host: &'h Host, targets: &Path) -> Prometheus<'h> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut alerts = BTreeSet::new();
        for kind in ["alerts", "rules"] {
            for file in std::fs::read_dir(root().join("monitoring").join(kind)).expect("monitoring") {
                let path = file.expect("a file").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).expect("rules");
                let mut objects = packaging::render::objects(&text);
                let [rules] = &mut objects[..] else {
                    panic!("{name}: one document")
                };
                shorten(rules, &mut alerts);
                std::fs::write(folder.path().join(format!("{kind}-{name}")), rules.to_string())
                    .expect("rules");
            }
        }
        assert!(alerts.len() > 10, "{alerts:?}");
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [format!("{}/*.yaml", folder.path().display())],
            "scrape_configs": [{
                // As a PodMonitor's jobs are called.
                "job_name": "mail/smtp-server",
                "file_sd_configs": [{"files": [targets], "refresh_interval": "1s"}],
            }],
        });
        let path = folder.path().join("prometheus.json");
        std::fs::write(&path, config.to_string()).expect("configuration");
        let log = std::fs::File::create(folder.path().join("log")).expect("log");
        let spawn = || {
            let mut prometheus = Command::new("/usr/bin/prometheus");
            prometheus.arg("--config.file").arg(&path);
            prometheus
                .arg("--storage.tsdb.path")
                .arg(folder.path().join("data"));
            prometheus.args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"]);
            prometheus.stdin(Stdio::null()).stderr(log);
            prometheus
                .spawn()
                .expect("Prometheus is missing: `cargo xtask peers` installs it")
        };
        let child = host.space.inside(spawn);
        let mut prometheus = Prometheus {
            host,
            child,
            folder,
            alerts,
            calm: Instant::now(),
        };
        blackbox::wait_for_secs("Prometheus to scrape three pods", 60, || {
            prometheus
                .query("count(up == 1)")
                .first()
                .is_some_and(|series| series["value"][1] == "3")
        });
        // Before it found the pods there were none.
        blackbox::wait_for_secs("no alert", 60, || prometheus.firing().is_empty());
        prometheus.calm = Instant::now();
        prometheus
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let address: SocketAddr = "127.0.0.1:9090".parse().expect("an address");
        let ask = || probe::get(address, path, Duration::from_secs(20));
        let (status, body) = self.host.space.inside(ask)?;
        if status == 503 {
            return None;
        }
        assert_eq!(status, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        Some(answer["data"].clone())
    }

    /// The series of a query; none while it starts.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"));
        answer
            .and_then(|data| data["result"].as_array().cloned())
            .unwrap_or_default()
    }

    /// Alerts that fire, or did since it found the pods.
    pub(crate) fn fired(&self) -> BTreeSet<String> {
        let since = self.calm.elapsed().as_secs();
        let series = self.query(&format!(
            "count_over_time(ALERTS{{alertstate=\"firing\"}}[{since}s])"
        ));
        series
            .iter()
            .map(|one| one["metric"]["alertname"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// Alerts that fire now, with the pods that they are about.
    pub(crate) fn firing(&self) -> BTreeSet<(String, String)> {
        let series = self.query("ALERTS{alertstate=\"firing\"}");
        let label = |one: &Value, name: &str| one["metric"][name].as_str().unwrap_or_default().to_owned();
        series
            .iter()
            .map(|one| (label(one, "alertname"), label(one, "pod")))
            .collect()
    }

    /// Every rule was evaluated, without an error; and those that ship are there.
    pub(crate) fn assert_rules_evaluate(&self) {
        let rules = self.ask("/api/v1/rules").expect("rules");
        let groups = rules["groups"].as_array().expect("groups");
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules"))
            .collect();
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

/// Makes alerts fire sooner, and rules be looked at as often as the rest.
fn shorten(rules: &mut Value, alerts: &mut BTreeSet<String>) {
    for group in rules["groups"].as_array_mut().expect("groups") {
        group.as_object_mut().expect("a group").remove("interval");
        for rule in group["rules"].as_array_mut().expect("rules") {
            if let Some(name) = rule["alert"].as_str() {
                alerts.insert(name.to_owned());
            }
            if let Some(time) = rule["for"].as_str() {
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
        }
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- Prometheus\n{log}");
        }
    }
}
