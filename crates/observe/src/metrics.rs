//! The metrics, and how each event changes them.

mod busiest;
mod definitions;
mod expose;
mod process;
mod record;
mod series;

pub use expose::MetricsFormat;
pub(crate) use series::Counts;
pub use series::{MetricInfo, MetricKind};

use crate::labels::{AuthMechanism, AuthResult, CallEnd, LockScope};
use crate::labels::{
    ConnectionRefusal, DeliveryStatus, DnsResult, DsnKind, ErrorClass, Handshake, Listener, ProxyHeader,
    RejectReason, ReloadResult, ReplyClass, TlsFailure, TlsVersion, Verb, Violation,
};
use busiest::Busiest;
use process::Process;
use prometheus_client::metrics::histogram::Histogram;
use series::Table;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Figures that rooms keep themselves, read when metrics are asked for.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Messages with at least one recipient not done: `smtp_queue_depth`.
    pub queue_depth: u64,
    /// Recipients by state: `smtp_queue_recipients{state}`; states without recipients are 0.
    pub recipients: Vec<(&'static str, u64)>,
    /// Age in seconds of the oldest recipient that is due and unclaimed: `smtp_queue_oldest_due_seconds`.
    pub oldest_due_seconds: f64,
    /// Recipients that are due and unclaimed, up to 50,000: `smtp_queue_due_recipients`.
    pub due: u64,
    /// Connections to next hops: `smtp_delivery_connections`.
    pub delivery_connections: u64,
    /// Recipients handed to delivery and not finished: `smtp_delivery_in_progress`.
    pub delivery_in_progress: u64,
    /// Destinations given up for a while: `smtp_delivery_destinations_down`.
    pub destinations_down: u64,
    /// Destinations whose mail waits for `delivery.max_rate_per_destination`: `smtp_delivery_destinations_paced`.
    pub destinations_paced: u64,
    /// Generation of the configuration in force, from 1: `smtp_config_generation`.
    pub config_generation: u64,
    /// Whether the last reload was taken: `smtp_config_last_reload_success`.
    pub config_last_reload_success: bool,
    /// Whether `/health/ready` would answer 200: `smtp_ready`.
    pub ready: bool,
    /// 1 while the server drains: `smtp_draining`.
    pub draining: bool,
    /// For how long it has, without its handover; 0 while it does not: `smtp_drain_seconds`.
    pub drain_seconds: f64,
    /// Messages that wait in a pod that does not come back: `smtp_messages_left_behind`.
    pub left_behind: u64,
    /// When each certificate expires, in seconds since 1970, that of `[tls]` first:
    /// `smtp_tls_certificate_expiry_timestamp_seconds{certificate}`.
    pub certificate_expiry: Vec<i64>,
    /// Calls of webhooks that wait: `smtp_webhook_calls_waiting`.
    pub webhook_calls: u64,
    /// Age in seconds of the oldest of them: `smtp_webhook_oldest_call_seconds`.
    pub webhook_oldest_seconds: f64,
    /// Free octets on the spool's disk: `smtp_storage_free_bytes`.
    pub storage_free_bytes: u64,
    /// Octets of that disk, free or not: `smtp_storage_size_bytes`.
    pub storage_size_bytes: u64,
    /// Octets that large messages take in files while they are only passing: `smtp_scratch_used_bytes`.
    pub scratch_used_bytes: u64,
    /// Octets that they may take, 0 for any: `smtp_scratch_limit_bytes`.
    pub scratch_limit_bytes: u64,
    /// For how many seconds the queue's database has been away; 0 while it is there: `smtp_storage_away_seconds`.
    pub storage_away_seconds: f64,
    /// Servers that share the queue, this one included: `smtp_servers`.
    pub servers: u64,
}

/// What a scrape shows beside what events counted.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    gauges: Gauges,
    active_connections: u64,
    /// By listener.
    busiest: [f64; Listener::ALL.len()],
    started: f64,
    uptime: Duration,
    process: Process,
}

/// What the process has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages received.
    pub received: u64,
    /// Octets of them.
    pub received_bytes: u64,
    /// Recipients delivered.
    pub delivered: u64,
    /// Attempts that ended in another one later.
    pub deferred: u64,
    /// Recipients refused for good.
    pub bounced: u64,
    /// Recipients given up for their age.
    pub expired: u64,
    /// Commands and messages refused.
    pub rejected: u64,
}

/// Every metric. Moved by [`Metrics::record`] only.
#[derive(Debug)]
pub(crate) struct Metrics {
    table: Table,
    started: SystemTime,
    since: Instant,
    active_connections: AtomicU64,
    busiest: Busiest,
    errors: Counts<(ErrorClass,)>,
    connections: Counts<(Listener,)>,
    refused: Counts<(Listener, ConnectionRefusal)>,
    accept_failures: Counts<(Listener,)>,
    proxy_headers: Counts<(Listener, ProxyHeader)>,
    commands: Counts<(Listener, Verb, ReplyClass)>,
    received: Counts<(Listener,)>,
    received_bytes: Counts<()>,
    unsigned: Counts<()>,
    message_size: Histogram,
    acknowledge: Histogram,
    rejected: Counts<(RejectReason,)>,
    auth: Counts<(AuthMechanism, AuthResult)>,
    auth_lockouts: Counts<(LockScope,)>,
    violations: Counts<(Violation,)>,
    handshakes: Counts<(Listener, TlsVersion, Handshake)>,
    handshake_failures: Counts<(Listener, TlsFailure)>,
    certificate_loads: Counts<(ReloadResult,)>,
    commit: Histogram,
    commits: Counts<()>,
    committed_messages: Counts<()>,
    committed_results: Counts<()>,
    store_failures: Counts<()>,
    leases_lost: Counts<()>,
    leases_taken_over: Counts<()>,
    quarantined: Counts<()>,
    deliveries: Counts<(DeliveryStatus,)>,
    delivery: Histogram,
    attempt: Histogram,
    dsn_queued: Counts<(DsnKind,)>,
    double_bounces: Counts<()>,
    destinations_down: Counts<()>,
    dns_lookups: Counts<(DnsResult,)>,
    tls_fallbacks: Counts<()>,
    reloads: Counts<(ReloadResult,)>,
    pod_fate_unknown: Counts<()>,
    admin_actions: Counts<()>,
    admin_denied: Counts<()>,
    webhook_calls: Counts<(CallEnd,)>,
    webhook_call: Histogram,
    spans_exported: Counts<()>,
    spans_dropped: Counts<()>,
    history_dropped: Counts<()>,
    pub(crate) log_dropped: Counts<()>,
}

impl Metrics {
    /// All metrics as text.
    pub(crate) fn expose(self: &Arc<Self>, gauges: &Gauges, format: MetricsFormat) -> String {
        let snapshot = Snapshot {
            gauges: gauges.clone(),
            active_connections: self.active_connections(),
            busiest: self.busiest.ratios(),
            started: self
                .started
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
            uptime: self.since.elapsed(),
            process: Process::read(),
        };
        expose::expose(self, snapshot, format)
    }

    /// Every metric, for the reference.
    pub(crate) fn list(&self) -> Vec<MetricInfo> {
        self.table
            .entries
            .iter()
            .map(|entry| entry.info.clone())
            .collect()
    }

    /// What the process has done since it started.
    pub(crate) fn totals(&self) -> Totals {
        let received = Listener::ALL
            .iter()
            .map(|listener| self.received.get((*listener,)));
        let rejected = RejectReason::ALL
            .iter()
            .map(|reason| self.rejected.get((*reason,)));
        let ended = |status| self.deliveries.get((status,));
        Totals {
            received: received.sum(),
            received_bytes: self.received_bytes.get(()),
            delivered: ended(DeliveryStatus::Sent),
            deferred: ended(DeliveryStatus::Deferred),
            bounced: ended(DeliveryStatus::Bounced),
            expired: ended(DeliveryStatus::Expired),
            rejected: rejected.sum(),
        }
    }

    /// Commands and messages refused, by reason.
    pub(crate) fn rejections(&self) -> Vec<(&'static str, u64)> {
        let reasons = RejectReason::ALL.iter();
        reasons
            .map(|reason| (reason.name(), self.rejected.get((*reason,))))
            .collect()
    }

    /// Sessions open now.
    pub(crate) fn active_connections(&self) -> u64 {
        self.active_connections.load(Ordering::Relaxed)
    }
}
