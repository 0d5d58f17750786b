//! What the server did since it started, and how fast it is now.

use crate::router::Shared;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use smtp_observe::Totals;
use std::collections::BTreeMap;
use std::time::Instant;
use utoipa::ToSchema;

/// What the server did since it started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Statistics {
    /// Since the process started.
    uptime_seconds: u64,
    total: Counts,
    /// Octets of the messages received.
    received_bytes: u64,
    /// Commands and messages that were refused, by reason; every reason is there.
    rejected_by: BTreeMap<&'static str, u64>,
    /// The same as `total`, in a second, over the last minutes: of 1, 5 and 15, or since the start where that is less.
    per_second: PerSecond,
}

/// Counts of everything that happens to mail.
#[derive(Debug, Serialize, ToSchema)]
struct Counts {
    /// Messages taken.
    received: u64,
    /// Recipients delivered.
    delivered: u64,
    /// Attempts that are made again later.
    deferred: u64,
    /// Recipients refused for good.
    bounced: u64,
    /// Recipients given up for their age.
    expired: u64,
    /// Commands and messages refused.
    rejected: u64,
}

/// Rates over the last 1, 5 and 15 minutes.
#[derive(Debug, Serialize, ToSchema)]
struct PerSecond {
    received: [f64; 3],
    delivered: [f64; 3],
    deferred: [f64; 3],
    bounced: [f64; 3],
    expired: [f64; 3],
    rejected: [f64; 3],
}

/// What the server did since it started
///
/// For graphs over longer times take the metrics.
#[utoipa::path(get, path = "/statistics", tag = "server", responses((status = 200, body = Statistics)))]
pub(crate) async fn statistics(State(shared): State<Shared>) -> Json<Statistics> {
    let now = shared.observer.totals();
    let then = shared.rates.then(Instant::now());
    let rate = |count: fn(&Totals) -> u64| {
        then.map(|(totals, seconds)| match seconds {
            // Nothing can be said of so short a time.
            seconds if seconds < 1.0 => 0.0,
            seconds => count(&now).saturating_sub(count(&totals)) as f64 / seconds,
        })
    };
    Json(Statistics {
        uptime_seconds: shared.rooms.status().uptime_seconds,
        total: Counts {
            received: now.received,
            delivered: now.delivered,
            deferred: now.deferred,
            bounced: now.bounced,
            expired: now.expired,
            rejected: now.rejected,
        },
        received_bytes: now.received_bytes,
        rejected_by: shared.observer.rejections().into_iter().collect(),
        per_second: PerSecond {
            received: rate(|totals| totals.received),
            delivered: rate(|totals| totals.delivered),
            deferred: rate(|totals| totals.deferred),
            bounced: rate(|totals| totals.bounced),
            expired: rate(|totals| totals.expired),
            rejected: rate(|totals| totals.rejected),
        },
    })
}
