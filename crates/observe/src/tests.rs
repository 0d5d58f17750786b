//! The observer as the rooms use it.

use super::*;
use parking_lot::{Condvar, Mutex};
use std::time::Duration;

const INFO: LogSettings = LogSettings {
    level: Level::Info,
    json: false,
};

/// A reader that keeps what it gets, and can be stuck.
#[derive(Clone, Default)]
struct Sink {
    shared: Arc<(Mutex<SinkState>, Condvar)>,
}

#[derive(Default)]
struct SinkState {
    text: Vec<u8>,
    stuck: bool,
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.shared.0.lock().text.clone()).unwrap()
    }
    fn set_stuck(&self, stuck: bool) {
        self.shared.0.lock().stuck = stuck;
        self.shared.1.notify_all();
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.0.lock();
        while state.stuck {
            self.shared.1.wait(&mut state);
        }
        state.text.extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn observer(settings: LogSettings) -> (Observer, Sink) {
    let sink = Sink::default();
    (Observer::with_sink(settings, Box::new(sink.clone())), sink)
}

fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .parse()
        .unwrap()
}

#[test]
fn the_level_decides_what_is_written() {
    let (observer, sink) = observer(INFO);
    observer.emit(Event::Removed { id: "quiet" });
    observer.emit(Event::Ready { queued_messages: 1 });
    observer.set_log(LogSettings {
        level: Level::Debug,
        json: true,
    });
    observer.emit(Event::Removed { id: "loud" });
    observer.set_log(LogSettings {
        level: Level::Error,
        json: false,
    });
    observer.emit(Event::AdminDenied {
        peer: "192.0.2.1",
        path: "/",
    });
    observer.flush();
    let text = sink.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with(" INFO ready: queued_messages=1"), "{text}");
    assert!(
        lines[1].ends_with("\"level\":\"debug\",\"event\":\"removed\",\"id\":\"loud\"}"),
        "{text}"
    );
}

#[test]
fn a_stuck_reader_costs_lines_not_time() {
    let (observer, sink) = observer(INFO);
    sink.set_stuck(true);
    let error = "x".repeat(1000);
    let emitted = 2 * log::MAX_BUFFER / error.len() + 1000;
    for _ in 0..emitted {
        observer.emit(Event::StoreFailed {
            operation: "insert",
            error: &error,
        });
    }
    let metrics = observer.metrics(&Gauges::default());
    let dropped = value(&metrics, "smtp_log_lines_dropped_total");
    assert!(dropped > 0.0);
    assert_eq!(value(&metrics, "smtp_store_failures_total"), emitted as f64);
    sink.set_stuck(false);
    observer.flush();
    let text = sink.text();
    assert_eq!(
        text.matches("store_failed: ").count() as f64,
        emitted as f64 - dropped
    );
    let told: f64 = text
        .lines()
        .filter_map(|line| line.split_once("WARN log_dropped: lines=")?.1.parse::<f64>().ok())
        .sum();
    assert_eq!(told, dropped);
    observer.emit(Event::Ready { queued_messages: 7 });
    observer.flush();
    assert!(sink.text().ends_with("ready: queued_messages=7\n"));
}

#[test]
fn a_dropped_observer_writes_what_is_left() {
    let (observer, sink) = observer(INFO);
    observer.emit(Event::Ready { queued_messages: 1 });
    drop(observer);
    for _ in 0..1000 {
        if !sink.text().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sink.text().lines().count(), 1);
}

#[test]
fn every_series_exists_at_the_start() {
    let text = Observer::silent().metrics(&Gauges::default());
    for info in catalogue().metrics {
        let suffix = if info.kind == MetricKind::Histogram {
            "_count"
        } else {
            ""
        };
        let series = info.labels.iter().fold(1, |n, (_, values)| n * values.len());
        let name = format!("{}{suffix}", info.name);
        let found = text
            .lines()
            .filter(|line| {
                line.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .count();
        assert_eq!(found, series, "{name}");
    }
    for series in [
        "smtp_active_connections",
        "smtp_queue_depth",
        "smtp_errors_total{class=\"protocol\"}",
        "smtp_commands_total{listener=\"smtp\",verb=\"other\",class=\"5xx\"}",
        "smtp_connections_refused_total{listener=\"smtp\",reason=\"too_many\"}",
        "smtp_deliveries_total{status=\"expired\"}",
        "smtp_queue_recipients{state=\"quarantined\"}",
        "smtp_delivery_seconds_count",
        "smtp_log_lines_dropped_total",
    ] {
        assert_eq!(value(&text, series), 0.0, "{series}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn events_move_their_metrics() {
    let observer = Observer::silent();
    let peer = "192.0.2.1:1".parse().unwrap();
    let listener = Listener::Smtp;
    observer.emit(Event::ConnectionOpened {
        listener,
        peer,
        proxy: None,
    });
    observer.emit(Event::ConnectionOpened {
        listener,
        peer,
        proxy: None,
    });
    let closed = Event::ConnectionClosed {
        listener,
        peer,
        helo: "",
        duration: Duration::ZERO,
        messages: 0,
        lost: None,
    };
    observer.emit(closed.clone());
    assert_eq!(observer.active_connections(), 1);
    observer.emit(closed.clone());
    observer.emit(closed);
    assert_eq!(observer.active_connections(), 0);
    observer.emit(Event::Command {
        listener,
        verb: "RCPT",
        code: 450,
    });
    observer.emit(Event::Command {
        listener,
        verb: "XYZZY",
        code: 500,
    });
    observer.emit(Event::Committed {
        messages: 9,
        results: 4,
        duration: Duration::from_millis(3),
    });
    observer.emit(Event::ConfigRefused { error: "no" });
    let gauges = Gauges {
        queue_depth: 5,
        recipients: vec![("deferred", 6)],
        ..Gauges::default()
    };
    let text = observer.metrics(&gauges);
    assert_eq!(value(&text, "smtp_connections_total{listener=\"smtp\"}"), 2.0);
    assert_eq!(
        value(
            &text,
            "smtp_commands_total{listener=\"smtp\",verb=\"rcpt\",class=\"4xx\"}"
        ),
        1.0
    );
    assert_eq!(
        value(
            &text,
            "smtp_commands_total{listener=\"smtp\",verb=\"other\",class=\"5xx\"}"
        ),
        1.0
    );
    assert_eq!(value(&text, "smtp_committed_messages_total"), 9.0);
    assert_eq!(value(&text, "smtp_commit_seconds_bucket{le=\"0.0025\"}"), 0.0);
    assert_eq!(value(&text, "smtp_commit_seconds_bucket{le=\"0.005\"}"), 1.0);
    assert_eq!(value(&text, "smtp_config_reloads_total{result=\"refused\"}"), 1.0);
    assert_eq!(value(&text, "smtp_errors_total{class=\"config\"}"), 1.0);
    assert_eq!(value(&text, "smtp_queue_depth"), 5.0);
    assert_eq!(value(&text, "smtp_queue_recipients{state=\"deferred\"}"), 6.0);
    assert!(value(&text, "process_resident_memory_bytes") > 0.0);
    assert!(value(&text, "process_open_fds") > 0.0);
}

#[test]
fn the_older_format_names_counters_in_full() {
    let text = Observer::silent().metrics_as(&Gauges::default(), MetricsFormat::Prometheus);
    assert!(text.contains("# TYPE smtp_errors_total counter\n"), "{text}");
    assert!(
        text.contains("# HELP smtp_errors_total Errors of every kind, by class.\n"),
        "{text}"
    );
    assert!(text.contains("# TYPE smtp_queue_depth gauge\n"), "{text}");
    assert!(!text.contains("EOF"), "{text}");
}

#[test]
fn the_catalogue_lists_everything() {
    let catalogue = catalogue();
    let received = catalogue
        .events
        .iter()
        .find(|event| event.name == "received")
        .unwrap();
    assert_eq!(received.level, Level::Info);
    assert_eq!(received.fields.first(), Some(&"id"));
    assert!(
        received.doc.starts_with("A message is durable"),
        "{}",
        received.doc
    );
    let mut names: Vec<&str> = catalogue.metrics.iter().map(|metric| metric.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn no_field_hides_what_every_line_has() {
    for event in crate::event::EVENTS {
        let hides = |field: &&str| ["event", "level", "ts"].contains(field);
        assert!(!event.fields.iter().any(hides), "{}", event.name);
    }
}

#[test]
fn what_servers_lost_and_took_over_is_counted_wherever_it_is_said() {
    let observer = Observer::silent();
    observer.emit(Event::LeasesLost {
        recipients: 3,
        what: "renewal",
    });
    observer.emit(Event::LeasesTakenOver { recipients: 4 });
    observer.emit(Event::Recovered {
        messages: 9,
        leases_released: 5,
        orphan_bodies: 0,
        duration: Duration::ZERO,
    });
    let text = observer.metrics(&Gauges::default());
    assert_eq!(value(&text, "smtp_leases_lost_total"), 3.0);
    assert_eq!(value(&text, "smtp_leases_taken_over_total"), 9.0);
}

#[test]
fn an_early_talker_came_once() {
    let observer = Observer::silent();
    let peer = "10.0.0.1:5".parse().unwrap();
    let listener = Listener::Smtp;
    for _ in 0..50 {
        observer.emit(Event::ConnectionOpened {
            listener,
            peer,
            proxy: None,
        });
        observer.emit(Event::ConnectionRefused {
            listener,
            peer,
            reason: ConnectionRefusal::EarlyTalker,
            text: None,
        });
    }
    let ratio = || {
        value(
            &observer.metrics(&Gauges::default()),
            "smtp_busiest_private_client_ratio{listener=\"smtp\"}",
        )
    };
    assert_eq!(ratio(), 0.0, "50 are too few");
    for _ in 0..50 {
        observer.emit(Event::ConnectionRefused {
            listener,
            peer,
            reason: ConnectionRefusal::RateLimited,
            text: None,
        });
    }
    assert_eq!(ratio(), 1.0);
    // A proxy that looks whether the server is there is no client, and neither is who is refused before it said who is.
    let proxy = "10.0.0.9:5".parse().unwrap();
    for _ in 0..900 {
        observer.emit(Event::ConnectionOpened {
            listener,
            peer: proxy,
            proxy: Some(proxy),
        });
        observer.emit(Event::ConnectionRefused {
            listener,
            peer: proxy,
            reason: ConnectionRefusal::ProxyMissing,
            text: None,
        });
    }
    let client = "10.0.0.2:5".parse().unwrap();
    for _ in 0..100 {
        observer.emit(Event::ConnectionOpened {
            listener,
            peer: client,
            proxy: Some(proxy),
        });
    }
    assert_eq!(ratio(), 0.5, "two clients, half each");
}
