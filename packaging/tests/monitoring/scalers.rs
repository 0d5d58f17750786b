//! What scales the pods: the rules of prometheus-adapter and KEDA's triggers, each filled in and asked as these do it, over series of
//! running servers that the monitors have Prometheus read.

use super::files::promtool;
use super::installed::{Installed, release};
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use blackbox::tools::run;
use blackbox::wait_for_secs;
use blackbox::wire::Wire;
use packaging::prometheus::Prometheus;
use packaging::render::{customized, file, find, objects};
use packaging::semantic::{labels, list};
use packaging::tools::Release;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Pods of a Deployment, by the names that it gives.
const PODS: [&str; 2] = ["smtp-server-6f7c9d5b8-7xk2p", "smtp-server-6f7c9d5b8-q4zvm"];

/// The overlay with components, as objects.
fn overlay(components: &[&str]) -> Vec<Value> {
    objects(&customized(Release::Helm4, "postgresql", components))
}

/// The chart's, with an autoscaler of its own.
fn chart(name: &str, namespace: &str, values: &Value) -> Vec<Value> {
    release(name, namespace, "podMonitor", json!({}), values)
}

/// The queries of a ScaledObject's Prometheus triggers, with their thresholds: connections, backlog.
fn triggers(objects: &[Value]) -> Vec<(String, u64)> {
    let triggers = list(&find(objects, "ScaledObject", "smtp-server")["spec"]["triggers"]);
    let asked = triggers.iter().filter(|one| one["type"] == "prometheus");
    let asked = asked.map(|one| {
        let text = |key: &str| one["metadata"][key].as_str().expect("a text").to_owned();
        (text("query"), text("threshold").parse().expect("a number"))
    });
    asked.collect()
}

/// A rule of prometheus-adapter.
struct Rule(Value);

impl Rule {
    /// The rule of a kind (`custom`, `external`) that offers a metric, among series that `ask` finds.
    fn of(kind: &str, metric: &str, ask: impl Fn(&str) -> Vec<Value>) -> Rule {
        let [values]: [Value; 1] = file("k8s/components/hpa-metrics/prometheus-adapter.yaml")
            .try_into()
            .expect("one document");
        let resources = match kind {
            "custom" => vec!["namespace", "pod"],
            _ => vec!["namespace"],
        };
        let offers = |rule: &Value| {
            let overrides = &rule["resources"]["overrides"];
            let series = ask(rule["seriesQuery"].as_str().expect("a query"));
            // The adapter takes series that have a label for each resource, and names the metric after them.
            series.iter().any(|one| {
                let name = rule["name"]["as"].as_str().or(one["metric"]["__name__"].as_str());
                let labelled = resources.iter().all(|resource| {
                    let label = overrides.as_object().expect("overrides").iter();
                    let mut label = label.filter(|(_, is)| is["resource"] == **resource);
                    label.any(|(label, _)| one["metric"][label].is_string())
                });
                name == Some(metric) && labelled
            })
        };
        let rules = list(&values["rules"][kind]).iter();
        let mut rules: Vec<&Value> = rules.filter(|rule| offers(rule)).collect();
        assert_eq!(rules.len(), 1, "rules that offer {metric}");
        Rule(rules.remove(0).clone())
    }

    /// The query with its templates filled in: for series with these labels.
    fn query(&self, series: &str, matchers: &[String]) -> String {
        let query = self.0["metricsQuery"].as_str().expect("a query");
        let query = query.replace("<<.Series>>", series);
        let query = query
            .replace("<<.LabelMatchers>>", &matchers.join(","))
            .replace("<<.GroupBy>>", "pod");
        assert!(!query.contains("<<"), "a template that is not known: {query}");
        query
    }
}

/// The labels by which the HPA asks for the backlog, beside its namespace.
fn backlog_labels(objects: &[Value]) -> Vec<String> {
    let metrics = list(&find(objects, "HorizontalPodAutoscaler", "smtp-server-hpa")["spec"]["metrics"]);
    let external = metrics
        .iter()
        .find(|metric| metric["type"] == "External")
        .expect("a backlog");
    let selected = labels(&external["external"]["metric"]["selector"]["matchLabels"]).into_iter();
    selected
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect()
}

/// The HPA's metrics that are not the kubelet's: type, name, and the average that it wants.
fn wanted(objects: &[Value]) -> Vec<(String, String, u64)> {
    let metrics = list(&find(objects, "HorizontalPodAutoscaler", "smtp-server-hpa")["spec"]["metrics"]);
    let metrics = metrics.iter().filter(|metric| metric["type"] != "Resource");
    metrics
        .map(|metric| {
            let kind = metric["type"].as_str().expect("a type");
            let of = &metric[kind.to_lowercase()];
            assert_eq!(of["target"]["type"], "AverageValue");
            let average = of["target"]["averageValue"].as_str().expect("a number");
            let name = of["metric"]["name"].as_str().expect("a name");
            (
                kind.to_owned(),
                name.to_owned(),
                average.parse().expect("a number"),
            )
        })
        .collect()
}

/// The two queries of the adapter for an HPA: connections of each of these pods, backlog.
fn adapter(hpa: &[Value], pods: &[&str], ask: impl Fn(&str) -> Vec<Value>) -> [String; 2] {
    let wanted = wanted(hpa);
    let [(pods_type, connections, 1000), (external, backlog, 2000)] = &wanted[..] else {
        panic!("{wanted:?}");
    };
    assert_eq!((pods_type.as_str(), external.as_str()), ("Pods", "External"));
    let namespace = "namespace=\"mail\"".to_owned();
    let of_pods = [namespace.clone(), format!("pod=~\"{}\"", pods.join("|"))];
    let each = Rule::of("custom", connections, &ask).query(connections, &of_pods);
    let of_all = [vec![namespace], backlog_labels(hpa)].concat();
    [each, Rule::of("external", backlog, &ask).query(backlog, &of_all)]
}

/// The one figure of a query.
fn figure(prometheus: &Prometheus, query: &str) -> Option<f64> {
    let series = prometheus.query(query);
    assert!(series.len() <= 1, "{query}: {series:?}");
    series.first()?["value"][1].as_str()?.parse().ok()
}

/// Sessions that have a transaction, which a drain waits for.
fn sessions(server: &Server, count: usize) -> Vec<Wire> {
    let open = || {
        let mut wire = Wire::hello(server.smtp);
        wire.expect("MAIL FROM:<a@x.test>", 250);
        wire
    };
    (0..count).map(|_| open()).collect()
}

/// Mail in one of the sessions, for so many. While the server drains it is due, and nobody's.
fn hand_in(sessions: &mut [Wire], recipients: usize) {
    let wire = &mut sessions[0];
    for number in 0..recipients {
        wire.expect(&format!("RCPT TO:<{number}@y.test>"), 250);
    }
    wire.expect("DATA", 354);
    wire.expect("text\r\n.", 250);
}

/// Two pods share a queue; of the third, of another release, no figure may be among theirs.
#[test]
fn scalers_see_the_figures_of_their_pods() {
    let database = Postgres::start();
    let sink = Sink::start();
    let setup = || Setup::new(sink.relay_config());
    let shared = || setup().env("SMTP_DATABASE_URL", database.url()).start();
    let (one, two, other) = (shared(), shared(), setup().start());
    let pods = [(PODS[0], &one), (PODS[1], &two)];
    let mut there = Installed::default();
    there.add("mail", &overlay(&["monitoring"]), &pods);
    // The same pods once more, as a release beside another one.
    let keda = json!({"mode": "postgresql", "keda": {"enabled": true}});
    let ours = chart("smtp-server", "post", &keda);
    there.add("post", &ours, &pods);
    let theirs = chart("relay", "post", &json!({}));
    there.add("post", &theirs, &[("relay-smtp-server-0", &other)]);
    let prometheus = Prometheus::start(&BTreeMap::new(), there.scrapes(), None);
    wait_for_secs("every pod to be read", 60, || prometheus.up() == there.pods());

    let mut open = [sessions(&one, 3), sessions(&two, 2), sessions(&other, 4)];
    let [each, backlog] = adapter(&overlay(&["components/hpa-metrics"]), &PODS, |query| {
        prometheus.query(query)
    });
    let by_pod = || -> BTreeMap<String, String> {
        let series = prometheus.query(&each);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let series = series
            .iter()
            .map(|one| (text(&one["metric"]["pod"]), text(&one["value"][1])));
        series.collect()
    };
    let expected = BTreeMap::from([
        (PODS[0].to_owned(), "3".to_owned()),
        (PODS[1].to_owned(), "2".to_owned()),
    ]);
    wait_for_secs("connections of each pod", 30, || by_pod() == expected);
    let (files, release) = (triggers(&overlay(&["components/keda"])), triggers(&ours));
    for (triggers, of) in [(&files, "the files"), (&release, "the release")] {
        assert_eq!(triggers.len(), 2, "{triggers:?}");
        // Each is read at its own time.
        let connections = || figure(&prometheus, &triggers[0].0);
        wait_for_secs(&format!("5 connections, {of}"), 30, || connections() == Some(5.0));
        assert_eq!(figure(&prometheus, &triggers[1].0), Some(0.0), "backlog, {of}");
    }
    assert_eq!(figure(&prometheus, &backlog), Some(0.0));

    for server in [&one, &two, &other] {
        server.done(&["drain", "--no-wait"]);
        wait_for_secs("the drain", 30, || server.get("/health/ready").0 == 503);
    }
    hand_in(&mut open[0], 3);
    hand_in(&mut open[2], 8);
    // Both pods tell of the three, which are three.
    wait_for_secs("what is due", 30, || {
        let due = prometheus.query("smtp_queue_due_recipients{namespace=\"mail\"} == 3");
        due.len() == 2 && figure(&prometheus, &backlog) == Some(3.0)
    });
    for (query, _) in [&files[1], &release[1]] {
        wait_for_secs("what is due", 30, || figure(&prometheus, query) == Some(3.0));
    }
}

/// The pods that an average of so much of a figure asks for.
fn pods_for(figure: u64, average: u64) -> u64 {
    figure.div_ceil(average)
}

/// Pods of a busy day, and their sessions.
const BUSY: [(&str, u64); 3] = [
    ("smtp-server-6f7c9d5b8-7xk2p", 1400),
    ("smtp-server-6f7c9d5b8-q4zvm", 2900),
    ("smtp-server-6f7c9d5b8-w8s5d", 300),
];

/// The series of that day, for promtool: theirs, and those of others in the namespace.
fn busy_day() -> Vec<Value> {
    let series = |metric: &str, pod: &str, value: u64| {
        // docs/monitoring.md: of two installations in a namespace each has a job of its own.
        let job = if pod.contains("relay") {
            "relay-smtp-server"
        } else {
            "mx-smtp-server"
        };
        let labels = format!("namespace=\"mail\",job=\"{job}\",pod=\"{pod}\"");
        json!({"series": format!("{metric}{{{labels}}}"), "values": format!("{value} {value}")})
    };
    // A StatefulSet called `smtp-server-relay` has the second.
    let others = ["relay-smtp-server-0", "smtp-server-relay-0"].map(|pod| (pod, 40_000, 50_000));
    let ours = BUSY.map(|(pod, connections)| (pod, connections, 11_000));
    let all = ours.into_iter().chain(others);
    all.flat_map(|(pod, connections, due)| {
        [
            series("smtp_active_connections", pod, connections),
            series("smtp_queue_due_recipients", pod, due),
        ]
    })
    .collect()
}

/// Evaluated by promtool: how many pods come of these figures, by the HPA as by KEDA.
#[test]
fn a_busy_day_gets_as_many_pods_as_it_needs() {
    let names = BUSY.map(|(pod, _)| pod);
    // What the adapter would find for its discovery.
    let found = |query: &str| {
        let name = query.split('{').next().expect("a name");
        vec![json!({"metric": {"__name__": name, "namespace": "mail", "pod": names[0]}})]
    };
    let keda = json!({"mode": "postgresql", "keda": {"enabled": true}});
    let keda = triggers(&chart("smtp-server", "mail", &keda));
    let scaled = json!({"enabled": true, "targetActiveConnections": 1000, "targetBacklog": 2000,
        "backlogLabels": {"job": "mx-smtp-server"}});
    let values = json!({"mode": "postgresql", "autoscaling": scaled});
    let hpa = chart("smtp-server", "mail", &values);
    let [each, backlog] = adapter(&hpa, &names, found);
    let one = |labels: &str, value: u64| json!({"labels": labels, "value": value});
    let each_of = BUSY.map(|(pod, value)| one(&format!("{{pod=\"{pod}\"}}"), value));
    let checks = json!([
        {"expr": each, "eval_time": "1m", "exp_samples": each_of},
        {"expr": backlog, "eval_time": "1m", "exp_samples": [one("{}", 11_000)]},
        {"expr": keda[0].0, "eval_time": "1m", "exp_samples": [one("{}", 4600)]},
        {"expr": keda[1].0, "eval_time": "1m", "exp_samples": [one("{}", 11_000)]},
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("day.yaml");
    let test = json!({"tests": [{"interval": "1m", "input_series": busy_day(), "promql_expr_test": checks}]});
    std::fs::write(&file, test.to_string()).expect("a test");
    run(promtool().args(["test", "rules"]).arg(&file));
    // 4,600 sessions at 1,000 each are 5 pods; 11,000 that are due at 2,000 each are 6, and the larger number counts.
    let of_the_files = wanted(&overlay(&["components/hpa-metrics"]));
    let pods = |connections: u64, due: u64| (pods_for(4600, connections), pods_for(11_000, due));
    assert_eq!(pods(keda[0].1, keda[1].1), (5, 6));
    assert_eq!(pods(of_the_files[0].2, of_the_files[1].2), (5, 6));
    // The chart's HPA asks for the same.
    assert_eq!(wanted(&hpa), of_the_files);
}
