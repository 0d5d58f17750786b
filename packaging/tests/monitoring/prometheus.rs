//! A real Prometheus with every rule reads real servers, and things happen to them. Only `for` is shortened: nobody waits for a quarter of an hour.
//! It is long enough for a scrape that comes too late on a busy machine to alarm nobody, as it alarms nobody where it is minutes.

use super::installed::{Installed, release, with_pod_monitor, with_service_monitor};
use blackbox::api_server::ApiServer;
use blackbox::disk::Tmpfs;
use blackbox::ports::free_port;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Sink};
use blackbox::tools::{certificate, certificate_config};
use blackbox::wait_for_secs;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use packaging::prometheus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What stands for every rule's `for`: several scrapes.
const FOR: &str = "5s";

/// One beside the servers. Dropped, it is ended.
struct Prometheus {
    server: prometheus::Prometheus<'static>,
    /// How many rules it has to know.
    rules: usize,
}

impl Prometheus {
    /// Reads what the installations' monitors say.
    fn start(installed: &Installed) -> Prometheus {
        let mut rules = 0;
        let files: BTreeMap<String, Value> = prometheus::rules(|rule| {
            rules += 1;
            if let Some(time) = rule.get_mut("for") {
                *time = FOR.into();
            }
        });
        Prometheus {
            server: prometheus::Prometheus::start(&files, installed.scrapes(), None),
            rules,
        }
    }

    /// The alerts that fire: name, severity, namespace.
    fn firing(&self) -> BTreeSet<(String, String, String)> {
        let label = |alert: &Value, name: &str| alert[name].as_str().unwrap_or_default().to_owned();
        let firing = self.server.firing();
        firing
            .iter()
            .map(|alert| {
                (
                    label(alert, "alertname"),
                    label(alert, "severity"),
                    label(alert, "namespace"),
                )
            })
            .collect()
    }

    /// Each pod is read once, and its series have the labels that rules, dashboards and the adapter's queries go by.
    fn assert_labelled(&self, pods: usize) {
        let series = self.server.query("up");
        assert_eq!(series.len(), pods, "{series:#?}");
        for one in &series {
            let (labels, namespace) = (&one["metric"], one["metric"]["namespace"].as_str());
            let pod = labels["pod"].as_str().expect("a pod");
            let job = match namespace {
                Some("two") => pod.trim_end_matches("-0"),
                _ => "smtp-server",
            };
            assert_eq!(
                (&labels["job"], &labels["container"]),
                (&json!(job), &json!("smtp-server")),
                "{one}"
            );
        }
        // What a monitor says of metrics is followed too.
        assert!(
            !self
                .server
                .query("smtp_ready{namespace=\"aged\"} == 1")
                .is_empty()
        );
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

    /// Waits until nothing fires, or would, but alerts of these names in these namespaces.
    fn wait_nothing_but(&self, expected: &[(&str, &str)]) {
        let mut strange = Vec::new();
        for _ in 0..60 {
            strange = self.server.coming();
            strange.retain(|alert| {
                !expected
                    .iter()
                    .any(|(name, namespace)| alert["alertname"] == *name && alert["namespace"] == *namespace)
            });
            if strange.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("{strange:#?}");
    }

    /// Waits until every rule has been evaluated, by now with series to be evaluated over.
    fn wait_evaluated(&self) {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock");
        wait_for_secs("every rule to be evaluated again", 60, || {
            let rules = self.server.rules();
            assert_eq!(rules.len(), self.rules, "rules that Prometheus knows");
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

/// Seconds since 1970 of `2026-01-31T12:00:00.123Z` or one with an offset; 0 of what is no time.
fn seconds_of(time: &str) -> u64 {
    let mut date = Command::new("/usr/bin/date");
    let said = date.args(["-d", time, "+%s"]).output().expect("date").stdout;
    String::from_utf8_lossy(&said).trim().parse().unwrap_or(0)
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

/// One of two releases in a namespace: its job is told apart as docs/monitoring.md says.
fn one_of_two(name: &str) -> Vec<Value> {
    let job = json!({"targetLabel": "job", "replacement": format!("{name}-smtp-server")});
    release(
        name,
        "two",
        "podMonitor",
        json!({"relabelings": [job]}),
        &json!({}),
    )
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
    let metrics = format!("[metrics]\nport = {}\n", free_port().port());
    let aged = start("aged", &format!("{old}{metrics}"));
    let mut changed = start("changed", &good);
    let full = Setup::new(format!("{good}[storage]\nmin_free = {}\n", 8 << 20))
        .data(disk.join("data"))
        .start();
    let (api, silent) = (ApiServer::start(1), Sink::scripted(|_, _| Act::Hang));
    let mut left = leaver(|more| start("left", &format!("{good}{more}")), &api, &silent);
    let relay = start("relay", &good);
    let mut mx = start("mx", &good);
    // By each of the monitors, of the files and of the chart; and two releases in one namespace.
    let (pod, service) = (with_pod_monitor("embedded"), with_service_monitor("embedded"));
    let mut there = Installed::default();
    there.add(
        "killed",
        &pod,
        &[("smtp-server-0", &first), ("smtp-server-1", &second)],
    );
    there.add("left", &pod, &[("smtp-server-1", &left)]);
    there.add("fine", &service, &[("smtp-server-0", &fine)]);
    there.add("full", &service, &[("smtp-server-0", &full)]);
    let apart = json!({"config": {"metrics": {"port": 9090}}});
    let chart = |namespace, monitor, more| release("smtp-server", namespace, monitor, json!({}), more);
    there.add(
        "aged",
        &chart("aged", "podMonitor", &apart),
        &[("smtp-server-0", &aged)],
    );
    let by_service = chart("changed", "serviceMonitor", &json!({}));
    there.add("changed", &by_service, &[("smtp-server-0", &changed)]);
    for (name, server) in [("mx", &mx), ("relay", &relay)] {
        let pod = format!("{name}-smtp-server-0");
        there.add("two", &one_of_two(name), &[(pod.as_str(), server)]);
    }
    let prometheus = Prometheus::start(&there);
    wait_for_secs("every server to be read", 60, || {
        prometheus.server.up() == there.pods()
    });
    prometheus.assert_labelled(there.pods());
    prometheus.wait_evaluated();

    // Before anything happens, the certificate that expires in two days is all that is wrong.
    let certificate = [
        ("SMTPCertificateExpiry", "critical", "aged"),
        ("SMTPCertificateExpiry", "warning", "aged"),
    ];
    prometheus.wait_firing(&certificate);
    prometheus.wait_nothing_but(&[("SMTPCertificateExpiry", "aged")]);

    // One of two is killed.
    first.kill();
    // A pod is scaled away.
    left.signal(Signal::SIGTERM);
    // A configuration is refused.
    changed.write_config("[nonsense]\n");
    // The disk is filled, and clients come.
    std::fs::write(disk.path().join("filler"), vec![1; 61 << 20]).expect("filler");
    wait_for_secs("the server to see its disk", 30, || {
        full.get("/health/ready").0 == 503
    });
    let mut wire = Wire::hello(full.smtp);
    for _ in 0..20 {
        wire.expect("MAIL FROM:<a@x.test>", 452);
    }
    assert!(left.exited(60).success());
    prometheus.wait_firing(&[
        ("SMTPPodDown", "warning", "killed"),
        ("SMTPMailLeftBehind", "warning", "left"),
        ("SMTPConfigRefused", "warning", "changed"),
        ("SMTPSpoolLow", "critical", "full"),
        ("SMTPSpoolLow", "warning", "full"),
        ("SMTPNotReady", "critical", "full"),
        ("SMTPNotReady", "warning", "full"),
        ("SMTPTemporaryRefusals", "critical", "full"),
        ("SMTPTemporaryRefusals", "warning", "full"),
    ]);
    // The other is killed too. So is one of two releases in a namespace: the other, which has another job, keeps nobody from hearing of it.
    second.kill();
    mx.kill();
    prometheus.wait_firing(&[
        ("SMTPServerDown", "critical", "killed"),
        ("SMTPServerDown", "critical", "two"),
    ]);
    prometheus.wait_evaluated();

    // And nothing else: nobody is woken for a server that is well, or for what is not so. Nor does `SMTPPodDown` fire where none is up.
    prometheus.wait_nothing_but(&[
        ("SMTPCertificateExpiry", "aged"),
        ("SMTPServerDown", "killed"),
        ("SMTPServerDown", "left"),
        ("SMTPServerDown", "two"),
        ("SMTPMailLeftBehind", "left"),
        ("SMTPConfigRefused", "changed"),
        ("SMTPSpoolLow", "full"),
        ("SMTPNotReady", "full"),
        ("SMTPTemporaryRefusals", "full"),
    ]);
    let coming = prometheus.server.coming();
    let of_the_two = coming.iter().filter(|alert| alert["namespace"] == "two");
    assert_eq!(
        of_the_two.map(|alert| &alert["job"]).collect::<Vec<_>>(),
        ["mx-smtp-server"]
    );
}
