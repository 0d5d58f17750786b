//! The one place where a metric gets its name and its meaning.

use super::Metrics;
use super::busiest::Busiest;
use super::series::{MetricKind, Table};
use crate::labels::{Label, Listener};
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

/// States of recipients, as the queue names them.
const STATES: &[&str] = &[
    "queued",
    "leased",
    "deferred",
    "held",
    "delivered",
    "bounced",
    "expired",
    "quarantined",
];

/// Certificates by their places in the configuration; what comes behind is gathered in the last.
const CERTIFICATES: &[&str] = &["default", "1", "2", "3", "4", "5", "6", "7", "8", "others"];

/// Upper bounds of a message's size, in octets.
const SIZES: &[f64] = &[
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Upper bounds of what a disk takes, in seconds.
const COMMITS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Upper bounds of one attempt, in seconds.
const ATTEMPTS: &[f64] = &[
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];
/// Upper bounds of a webhook's call, in seconds.
const CALLS: &[f64] = &[0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Upper bounds of the time in the queue, in seconds: from a burst's to `delivery.expire_after`'s.
const QUEUED: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259_200.0,
    432_000.0,
];

impl Metrics {
    /// All metrics at 0.
    pub(crate) fn new() -> Metrics {
        let mut t = Table::default();
        read_at_scrape(&mut t);
        Metrics {
            errors: t.counter("smtp_errors_total", "Errors of every kind, by class."),
            connections: t.counter("smtp_connections_total", "Connections accepted."),
            refused: t.counter(
                "smtp_connections_refused_total",
                "Connections turned away, by reason.",
            ),
            accept_failures: t.counter(
                "smtp_accept_failures_total",
                "Connections that could not be accepted.",
            ),
            proxy_headers: t.counter(
                "smtp_proxy_headers_total",
                "Connections that have to begin with a PROXY header, by what became of it.",
            ),
            commands: t.counter(
                "smtp_commands_total",
                "Commands answered, by verb and class of the reply.",
            ),
            received: t.counter(
                "smtp_messages_received_total",
                "Messages stored durably and acknowledged.",
            ),
            received_bytes: t.counter("smtp_received_bytes_total", "Octets of the messages received."),
            unsigned: t.counter(
                "smtp_messages_unsigned_total",
                "Messages of accounts and trusted networks that no DKIM key was there for: the domain in `From:` has none that signs \
                 now, though the server has keys, and nobody had signed them before. Without any key nothing is counted.",
            ),
            message_size: t.histogram("smtp_message_size_bytes", "Size of messages received.", SIZES),
            acknowledge: t.histogram(
                "smtp_acknowledge_seconds",
                "From the end of a message's content until it is durable.",
                COMMITS,
            ),
            rejected: t.counter(
                "smtp_messages_rejected_total",
                "Commands and messages refused, by reason.",
            ),
            auth: t.counter(
                "smtp_auth_total",
                "Attempts to authenticate, by mechanism and result.",
            ),
            auth_lockouts: t.counter(
                "smtp_auth_lockouts_total",
                "Locks after too many failures to authenticate, by what they lock.",
            ),
            violations: t.counter(
                "smtp_protocol_violations_total",
                "Breaches of the protocol, by kind.",
            ),
            handshakes: t.counter(
                "smtp_tls_handshakes_total",
                "TLS handshakes with clients, by version and whether a session was resumed.",
            ),
            handshake_failures: t.counter(
                "smtp_tls_handshake_failures_total",
                "TLS handshakes with clients that failed, by reason.",
            ),
            certificate_loads: t.counter(
                "smtp_tls_certificate_loads_total",
                "Certificates taken, at the start and when they were replaced, and refused.",
            ),
            commit: t.histogram("smtp_commit_seconds", "Duration of the store's commits.", COMMITS),
            commits: t.counter("smtp_commits_total", "Commits of the store."),
            committed_messages: t.counter("smtp_committed_messages_total", "Messages in those commits."),
            committed_results: t.counter(
                "smtp_committed_results_total",
                "Delivery results in those commits.",
            ),
            store_failures: t.counter(
                "smtp_store_failures_total",
                "Operations of the store that failed.",
            ),
            leases_lost: t.counter(
                "smtp_leases_lost_total",
                "Recipients whose result or renewal was refused: their lease was another's by then, or their message was deleted.",
            ),
            leases_taken_over: t.counter(
                "smtp_leases_taken_over_total",
                "Recipients taken over from servers that were not heard of any more, or that this server had when it was killed.",
            ),
            quarantined: t.counter(
                "smtp_quarantined_total",
                "What could not be read and was set aside.",
            ),
            deliveries: t.counter(
                "smtp_deliveries_total",
                "Attempts that ended, one for each recipient.",
            ),
            delivery: t.histogram(
                "smtp_delivery_seconds",
                "From reception until delivery, of recipients that were sent.",
                QUEUED,
            ),
            attempt: t.histogram("smtp_attempt_seconds", "Duration of delivery attempts.", ATTEMPTS),
            dsn_queued: t.counter(
                "smtp_dsn_queued_total",
                "Delivery status notifications queued, by kind.",
            ),
            double_bounces: t.counter(
                "smtp_double_bounces_total",
                "Notifications that nobody can be sent.",
            ),
            destinations_down: t.counter(
                "smtp_destinations_down_total",
                "Destinations given up for a while.",
            ),
            dns_lookups: t.counter(
                "smtp_dns_lookups_total",
                "Questions to DNS, answered by servers or from memory: found, not_found (no such name, or nothing of that kind), \
                 failed (refused, an error, or no answer in time).",
            ),
            tls_fallbacks: t.counter(
                "smtp_tls_fallbacks_total",
                "TLS that failed, so that mail went in clear.",
            ),
            reloads: t.counter(
                "smtp_config_reloads_total",
                "New configurations, by what became of them.",
            ),
            pod_fate_unknown: t.counter(
                "smtp_pod_fate_unknown_total",
                "Questions to the API server, whether the pod comes back, without an answer that can be used.",
            ),
            admin_actions: t.counter("smtp_admin_actions_total", "Changes made by administrators."),
            admin_denied: t.counter(
                "smtp_admin_requests_denied_total",
                "Requests with wrong credentials.",
            ),
            webhook_calls: t.counter(
                "smtp_webhook_calls_total",
                "Calls of webhooks: taken by their receivers, refused and to be tried again, dropped for good.",
            ),
            webhook_call: t.histogram(
                "smtp_webhook_call_seconds",
                "How long a receiver took for a call that it took.",
                CALLS,
            ),
            spans_exported: t.counter("smtp_spans_exported_total", "Spans that the collector took."),
            spans_dropped: t.counter(
                "smtp_spans_dropped_total",
                "Spans dropped because the collector did not take them, or not fast enough.",
            ),
            history_dropped: t.counter(
                "smtp_history_steps_dropped_total",
                "Steps of messages' histories that were not kept.",
            ),
            log_dropped: t.counter(
                "smtp_log_lines_dropped_total",
                "Log lines dropped for a slow reader.",
            ),
            table: t,
            started: SystemTime::now(),
            since: Instant::now(),
            active_connections: AtomicU64::new(0),
            busiest: Busiest::new(),
        }
    }
}

/// The metrics that no event moves: they are read when they are asked for.
fn read_at_scrape(t: &mut Table) {
    use MetricKind::{Counter, Gauge};
    t.read(Gauge, "smtp_active_connections", "Sessions open now.", |s, _| {
        s.active_connections as f64
    });
    t.read_by(
        ("listener", Listener::NAMES),
        "smtp_busiest_private_client_ratio",
        "Share of the connections of the last ten minutes that came from one private address, not loopback: 0 below 100 connections. \
         Near 1 where clients come from outside, something hides their addresses.",
        |s, place| s.busiest.get(place).copied().unwrap_or(0.0),
    );
    t.read(
        Gauge,
        "smtp_queue_depth",
        "Messages with a recipient that is not done.",
        |s, _| s.gauges.queue_depth as f64,
    );
    t.read_by(
        ("state", STATES),
        "smtp_queue_recipients",
        "Recipients in the queue, by state.",
        |s, place| {
            let state = STATES.get(place);
            let found = s.gauges.recipients.iter().find(|(name, _)| Some(name) == state);
            found.map_or(0.0, |(_, count)| *count as f64)
        },
    );
    t.read(
        Gauge,
        "smtp_queue_oldest_due_seconds",
        "Age of the oldest recipient due and unclaimed.",
        |s, _| s.gauges.oldest_due_seconds,
    );
    t.read(
        Gauge,
        "smtp_queue_due_recipients",
        "Recipients due and unclaimed, counted up to 50,000: what a server more would take.",
        |s, _| s.gauges.due as f64,
    );
    t.read(
        Gauge,
        "smtp_delivery_connections",
        "Connections to next hops.",
        |s, _| s.gauges.delivery_connections as f64,
    );
    t.read(
        Gauge,
        "smtp_delivery_in_progress",
        "Recipients handed to delivery and not finished.",
        |s, _| s.gauges.delivery_in_progress as f64,
    );
    t.read(
        Gauge,
        "smtp_delivery_destinations_down",
        "Destinations given up for a while.",
        |s, _| s.gauges.destinations_down as f64,
    );
    t.read(
        Gauge,
        "smtp_delivery_destinations_paced",
        "Destinations whose mail waits because no more may go: `delivery.max_rate_per_destination`.",
        |s, _| s.gauges.destinations_paced as f64,
    );
    t.read(
        Gauge,
        "smtp_config_generation",
        "Generation of the configuration in force, from 1.",
        |s, _| s.gauges.config_generation as f64,
    );
    t.read(
        Gauge,
        "smtp_config_last_reload_success",
        "1 unless the last reload was refused.",
        |s, _| f64::from(s.gauges.config_last_reload_success),
    );
    t.read_by(
        ("certificate", CERTIFICATES),
        "smtp_tls_certificate_expiry_timestamp_seconds",
        "When the certificate expires, since 1970; 0 where there is none. `others` is the first of them to expire.",
        |s, place| {
            let expiry = &s.gauges.certificate_expiry;
            let found = match place + 1 == CERTIFICATES.len() {
                true => expiry.iter().skip(place).min(),
                false => expiry.get(place),
            };
            found.map_or(0.0, |seconds| *seconds as f64)
        },
    );
    t.read(
        Gauge,
        "smtp_ready",
        "1 while the server can take mail: what `/health/ready` says.",
        |s, _| f64::from(s.gauges.ready),
    );
    t.read(Gauge, "smtp_draining", "1 while the server drains.", |s, _| {
        f64::from(s.gauges.draining)
    });
    t.read(
        Gauge,
        "smtp_drain_seconds",
        "For how long the drain has run, without the time in which a pod that does not come back tries its mail; 0 while there is none.",
        |s, _| s.gauges.drain_seconds,
    );
    t.read(
        Gauge,
        "smtp_messages_left_behind",
        "Messages in the queue of a pod that drains and does not come back; 0 in any other, and before they could be counted.",
        |s, _| s.gauges.left_behind as f64,
    );
    t.read(
        Gauge,
        "smtp_webhook_calls_waiting",
        "Calls of webhooks that wait.",
        |s, _| s.gauges.webhook_calls as f64,
    );
    t.read(
        Gauge,
        "smtp_webhook_oldest_call_seconds",
        "Age of the oldest call of a webhook that waits.",
        |s, _| s.gauges.webhook_oldest_seconds,
    );
    t.read(
        Gauge,
        "smtp_storage_free_bytes",
        "Free octets on the spool's disk: the one with the folder of `storage.path`, with PostgreSQL too.",
        |s, _| s.gauges.storage_free_bytes as f64,
    );
    t.read(
        Gauge,
        "smtp_storage_size_bytes",
        "Octets of that disk, free or not.",
        |s, _| s.gauges.storage_size_bytes as f64,
    );
    t.read(
        Gauge,
        "smtp_scratch_used_bytes",
        "Octets that messages over 256 KiB take in files that are not the queue's: on their way in, and with PostgreSQL until they are stored and sent on.",
        |s, _| s.gauges.scratch_used_bytes as f64,
    );
    t.read(
        Gauge,
        "smtp_scratch_limit_bytes",
        "Octets that they may take: `storage.scratch_size`. 0: no limit but the disk's, and always with SQLite.",
        |s, _| s.gauges.scratch_limit_bytes as f64,
    );
    t.read(
        Gauge,
        "smtp_storage_away_seconds",
        "For how long the queue's database has been away; 0 while it answers.",
        |s, _| s.gauges.storage_away_seconds,
    );
    t.read(
        Gauge,
        "smtp_servers",
        "Servers that share the queue, this one included.",
        |s, _| s.gauges.servers as f64,
    );
    t.read(
        Gauge,
        "smtp_uptime_seconds",
        "Since the process started.",
        |s, _| s.uptime.as_secs_f64(),
    );
    t.read(
        Gauge,
        "smtp_start_time_seconds",
        "When the process started, since 1970.",
        |s, _| s.started,
    );
    t.read_by(
        ("version", &[env!("CARGO_PKG_VERSION")]),
        "smtp_build_info",
        "1; the version is the label.",
        |_, _| 1.0,
    );
    t.read(
        Gauge,
        "process_resident_memory_bytes",
        "Memory in use.",
        |s, _| s.process.resident_bytes,
    );
    t.read(Gauge, "process_open_fds", "Open file descriptors.", |s, _| {
        s.process.open_fds
    });
    t.read(
        Counter,
        "process_cpu_seconds_total",
        "User and system time used.",
        |s, _| s.process.cpu_seconds,
    );
}
