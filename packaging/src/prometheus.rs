//! A real Prometheus with the rules that ship.

use crate::net::probe;
use crate::net::space::Space;
use crate::tools::root;
use blackbox::ports::free_port;
use blackbox::tools::run;
use blackbox::wait_for_secs;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many times as often as a monitor says it is looked: every second instead of every 15.
pub const PACE: u64 = 15;

/// A running Prometheus. Dropped, it is ended; its log is shown if the test has failed.
pub struct Prometheus<'s> {
    /// Where it listens, in its network namespace.
    address: SocketAddr,
    space: Option<&'s Space>,
    child: Child,
    folder: tempfile::TempDir,
}

/// The files of alerts and recording rules, each rule as `change` leaves it.
pub fn rules(mut change: impl FnMut(&mut Value)) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for kind in ["alerts", "rules"] {
        let folder = root().join("monitoring").join(kind);
        for entry in std::fs::read_dir(folder).expect("monitoring") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("rules");
            let [mut file]: [Value; 1] = crate::render::objects(&text)
                .try_into()
                .unwrap_or_else(|_| panic!("{name}: one document"));
            for group in file["groups"].as_array_mut().expect("groups") {
                group["rules"]
                    .as_array_mut()
                    .expect("rules")
                    .iter_mut()
                    .for_each(&mut change);
            }
            files.insert(format!("{kind}-{name}"), file);
        }
    }
    files
}

/// Makes a scrape come sooner. An answer may take as long as until the next one, since the machine is not faster.
fn hasten(scrape: &mut Value) {
    let seconds = |field: &str| -> u64 {
        let time = scrape[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field}: {scrape:#}"));
        let number = time.strip_suffix('s').and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{field} of {time}"))
    };
    let (interval, timeout) = (seconds("scrape_interval"), seconds("scrape_timeout"));
    assert!(
        timeout <= interval,
        "Prometheus refuses a timeout of {timeout} s every {interval} s"
    );
    let interval = format!("{}ms", interval * 1000 / PACE);
    scrape["scrape_timeout"] = interval.as_str().into();
    scrape["scrape_interval"] = interval.into();
}

impl<'s> Prometheus<'s> {
    /// Starts one that reads the targets of `scrapes` (entries of `scrape_configs`), [`PACE`] times as often as they say, and
    /// evaluates the rules every second: in a network namespace, or here.
    pub fn start(
        rules: &BTreeMap<String, Value>,
        mut scrapes: Vec<Value>,
        space: Option<&'s Space>,
    ) -> Prometheus<'s> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, file) in rules {
            std::fs::write(folder.path().join(name), file.to_string()).expect("rules");
        }
        scrapes.iter_mut().for_each(hasten);
        let names = rules.keys().map(|name| folder.path().join(name));
        let config = json!({
            "global": {"evaluation_interval": "1s"},
            "rule_files": names.collect::<Vec<_>>(),
            "scrape_configs": scrapes,
        });
        let file = folder.path().join("prometheus.json");
        std::fs::write(&file, config.to_string()).expect("configuration");
        run(Command::new("/usr/bin/promtool")
            .args(["check", "config"])
            .arg(&file));
        let log = std::fs::File::create(folder.path().join("log")).expect("log");
        let (child, address) = within(space, || {
            let address = free_port();
            let mut prometheus = Command::new("/usr/bin/prometheus");
            prometheus.arg("--config.file").arg(&file);
            prometheus
                .arg("--storage.tsdb.path")
                .arg(folder.path().join("data"));
            prometheus.arg(format!("--web.listen-address={address}"));
            prometheus.arg("--log.level=warn");
            prometheus.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let child = prometheus
                .spawn()
                .expect("Prometheus is missing: `cargo xtask peers` installs it");
            (child, address)
        });
        let mut prometheus = Prometheus {
            address,
            space,
            child,
            folder,
        };
        wait_for_secs("Prometheus to be ready", 60, || {
            let ended = prometheus.child.try_wait().expect("wait");
            assert!(ended.is_none(), "Prometheus ended: {}", prometheus.log());
            prometheus
                .get("/-/ready")
                .is_some_and(|(status, _)| status == 200)
        });
        prometheus
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        within(self.space, || probe::get(self.address, path, PATIENCE))
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = self.get(&format!("/api/v1/{path}")).expect("an answer");
        let answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {error}: {body}"));
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The series that a query has now.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let answer = self.api(&format!("query?query={encoded}"));
        answer["result"].as_array().expect("series").clone()
    }

    /// How many targets are read without a failure.
    pub fn up(&self) -> usize {
        self.query("up == 1").len()
    }

    /// The labels of alerts that fire now.
    pub fn firing(&self) -> Vec<Value> {
        self.labels("ALERTS{alertstate=\"firing\"}")
    }

    /// The labels of alerts that fire now, or will if what they are about goes on.
    pub fn coming(&self) -> Vec<Value> {
        self.labels("ALERTS")
    }

    fn labels(&self, query: &str) -> Vec<Value> {
        let mut series = self.query(query);
        series.iter_mut().map(|one| one["metric"].take()).collect()
    }

    /// Every rule that it knows, with how its last evaluation went.
    pub fn rules(&self) -> Vec<Value> {
        let mut groups = self.api("rules")["groups"].take();
        let groups = groups.as_array_mut().expect("groups").iter_mut();
        groups
            .flat_map(|group| std::mem::take(group["rules"].as_array_mut().expect("rules")))
            .collect()
    }
}

/// Does something in a network namespace, or here.
fn within<T: Send>(space: Option<&Space>, what: impl FnOnce() -> T + Send) -> T {
    match space {
        Some(space) => space.inside(what),
        None => what(),
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- Prometheus\n{}", self.log());
        }
    }
}
