//! A real Prometheus with every rule reads real servers, and things happen to them. Only `for` is shortened: nobody waits for a quarter of an hour.

use super::files::{alerts, recording, rules, write_rules};
use blackbox::api_server::ApiServer;
use blackbox::disk::Tmpfs;
use blackbox::server::{Server, Setup, http};
use blackbox::sink::{Act, Sink};
use blackbox::tools::{certificate, certificate_config, program, run};
use blackbox::wait_for_secs;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ended when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Reads each of the servers every second, under the namespace and the pod's name that are given.
    fn start(targets: &[(&str, &str, SocketAddr)]) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, mut file) in alerts().into_iter().chain(recording()) {
            for rule in file["groups"].as_array_mut().expect("groups") {
                for rule in rule["rules"].as_array_mut().expect("rules") {
                    rule.as_object_mut().expect("a rule").remove("for");
                }
            }
            write_rules(&folder.path().join(format!("{name}.rules")), &file);
        }
        let targets: Vec<Value> = targets
            .iter()
            .map(|(namespace, pod, address)| {
                json!({"targets": [address.to_string()], "labels": {"namespace": namespace, "pod": pod}})
            })
            .collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [folder.path().join("*.rules")],
            "scrape_configs": [{"job_name": "mail/smtp-server", "static_configs": targets}],
        });
        let file = folder.path().join("prometheus.yml");
        write_rules(&file, &config);
        run(Command::new("/usr/bin/promtool")
            .args(["check", "config"])
            .arg(&file));
        let address = free_address();
        // A path, so that a test that finds it missing says so.
        drop(program("/usr/bin/prometheus"));
        let log = std::fs::File::create(folder.path().join("log")).expect("log");
        let child = Command::new("/usr/bin/prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start Prometheus");
        let mut prometheus = Prometheus {
            child,
            address,
            folder,
        };
        wait_for_secs("Prometheus to be ready", 60, || {
            let ended = prometheus.child.try_wait().expect("wait");
            assert!(ended.is_none(), "Prometheus ended: {}", prometheus.log());
            std::net::TcpStream::connect(address).is_ok() && prometheus.get("/-/ready").0 == 200
        });
        prometheus
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// HTTP 1.0, so that the answer comes in one piece.
    fn get(&self, path: &str) -> (u16, String) {
        http(
            self.address,
            &format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"),
        )
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = self.get(&format!("/api/v1/{path}"));
        let answer: Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {error}: {body}"));
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The alerts that fire: name, severity, namespace.
    fn firing(&self) -> BTreeSet<(String, String, String)> {
        let alerts = self.api("alerts")["alerts"].clone();
        let alerts = alerts.as_array().expect("alerts").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        firing
            .map(|alert| {
                (
                    label(alert, "alertname"),
                    label(alert, "severity"),
                    label(alert, "namespace"),
                )
            })
            .collect()
    }

    /// Waits until all of these fire.
    fn wait_firing(&self, wanted: &[(&str, &str, &str)]) {
        let wanted: BTreeSet<_> = wanted
            .iter()
            .map(|(name, severity, namespace)| {
                (
                    (*name).to_owned(),
                    (*severity).to_owned(),
                    (*namespace).to_owned(),
                )
            })
            .collect();
        wait_for_secs(&format!("{wanted:?}"), 60, || wanted.is_subset(&self.firing()));
    }

    /// Waits until every rule has been evaluated, by now with series to be evaluated over.
    fn wait_evaluated(&self, how_many: usize) {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock");
        wait_for_secs("every rule to be evaluated again", 60, || {
            let groups = self.api("rules")["groups"].clone();
            let rules = groups.as_array().expect("groups").iter();
            let rules: Vec<&Value> = rules
                .flat_map(|group| group["rules"].as_array().expect("rules"))
                .collect();
            assert_eq!(rules.len(), how_many, "rules that Prometheus knows");
            for rule in &rules {
                assert!(rule["lastError"].is_null(), "{rule:#}");
            }
            rules.iter().all(|rule| {
                rule["health"] == "ok"
                    && seconds_of(rule["lastEvaluation"].as_str().unwrap_or_default()) > since.as_secs()
            })
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- Prometheus\n{}", self.log());
        }
    }
}

/// Seconds since 1970 of `2026-01-31T12:00:00.123Z` or one with an offset; 0 of what is no time.
fn seconds_of(time: &str) -> u64 {
    let mut date = Command::new("/usr/bin/date");
    let said = date.args(["-d", time, "+%s"]).output().expect("date").stdout;
    String::from_utf8_lossy(&said).trim().parse().unwrap_or(0)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A certificate that is good for so many days, as configuration.
fn certified(folder: &Path, days: u32) -> String {
    certificate(folder, &["mx.test"], days);
    certificate_config(folder)
}

/// A pod that is one too many, with a message that its next hop says nothing to: it has it for five seconds more when it is told to go.
fn leaver(setup: impl Fn(&str) -> Server, api: &ApiServer, silent: &Sink) -> Server {
    let relay = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n",
        silent.address
    );
    let server = setup(&format!("{relay}{}handover = 5\n", api.config(1)));
    let reply = Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "text\r\n");
    assert_eq!(reply.code, 250, "{reply:?}");
    server
}

#[test]
fn the_right_alerts_fire() {
    let certificates = tempfile::tempdir().expect("a folder");
    let good = certified(&certificates.path().join("good"), 90);
    let old = certified(&certificates.path().join("old"), 2);
    let disk = Tmpfs::new("64m");
    // The others have room: what else this machine does with its disk is none of theirs.
    let roomy = Tmpfs::new("256m");
    let start = |name: &str, config: &str| Setup::new(config).data(roomy.join(name)).start();
    let mut first = start("first", &good);
    let mut second = start("second", &good);
    let fine = start("fine", &good);
    let aged = start("aged", &old);
    let mut changed = start("changed", &good);
    let full = Setup::new(format!("{good}[storage]\nmin_free = {}\n", 8 << 20))
        .data(disk.join("data"))
        .start();
    let (api, silent) = (ApiServer::start(1), Sink::scripted(|_, _| Act::Hang));
    let mut left = leaver(|more| start("left", &format!("{good}{more}")), &api, &silent);
    let prometheus = Prometheus::start(&[
        ("killed", "smtp-server-0", first.http),
        ("killed", "smtp-server-1", second.http),
        ("fine", "smtp-server-0", fine.http),
        ("aged", "smtp-server-0", aged.http),
        ("changed", "smtp-server-0", changed.http),
        ("full", "smtp-server-0", full.http),
        ("left", "smtp-server-1", left.http),
    ]);
    let all = alerts().into_values().chain(recording().into_values());
    let how_many = all.map(|file| rules(&file).len()).sum();
    wait_for_secs("every server to be read", 60, || {
        let up = prometheus.api("query?query=count(up==1)");
        up["result"][0]["value"][1] == "7"
    });
    prometheus.wait_evaluated(how_many);

    // Before anything happens, the certificate that expires in two days is all that is wrong.
    let certificate = [
        ("SMTPCertificateExpiry", "critical", "aged"),
        ("SMTPCertificateExpiry", "warning", "aged"),
    ];
    prometheus.wait_firing(&certificate);
    let firing = prometheus.firing();
    assert_eq!(firing.len(), certificate.len(), "{firing:?}");

    // One of two is killed.
    first.kill();
    prometheus.wait_firing(&[("SMTPPodDown", "warning", "killed")]);
    // A pod is scaled away.
    left.signal(Signal::SIGTERM);
    assert!(left.exited(60).success());
    prometheus.wait_firing(&[("SMTPMailLeftBehind", "warning", "left")]);
    // A configuration is refused.
    changed.write_config("[nonsense]\n");
    prometheus.wait_firing(&[("SMTPConfigRefused", "warning", "changed")]);
    // The disk is filled, and clients come.
    std::fs::write(disk.path().join("filler"), vec![1; 61 << 20]).expect("filler");
    wait_for_secs("the server to see its disk", 30, || {
        full.get("/health/ready").0 == 503
    });
    let mut wire = Wire::hello(full.smtp);
    for _ in 0..20 {
        wire.expect("MAIL FROM:<a@x.test>", 452);
    }
    prometheus.wait_firing(&[
        ("SMTPSpoolLow", "critical", "full"),
        ("SMTPSpoolLow", "warning", "full"),
        ("SMTPNotReady", "critical", "full"),
        ("SMTPNotReady", "warning", "full"),
        ("SMTPTemporaryRefusals", "critical", "full"),
        ("SMTPTemporaryRefusals", "warning", "full"),
    ]);
    // The other is killed too.
    second.kill();
    prometheus.wait_firing(&[("SMTPServerDown", "critical", "killed")]);
    prometheus.wait_evaluated(how_many);

    // And nothing else: nobody is woken for a server that is well, or for what is not so.
    let expected: BTreeSet<(&str, &str)> = [
        ("SMTPCertificateExpiry", "aged"),
        ("SMTPServerDown", "killed"),
        ("SMTPServerDown", "left"),
        ("SMTPMailLeftBehind", "left"),
        ("SMTPConfigRefused", "changed"),
        ("SMTPSpoolLow", "full"),
        ("SMTPNotReady", "full"),
        ("SMTPTemporaryRefusals", "full"),
    ]
    .into();
    let firing = prometheus.firing();
    let strange: Vec<_> = firing
        .iter()
        .filter(|(name, _, namespace)| !expected.contains(&(name.as_str(), namespace.as_str())))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(
        !firing.iter().any(|(name, ..)| name == "SMTPPodDown"),
        "none of them is up: {firing:?}"
    );
}
