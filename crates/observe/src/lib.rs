//! Every event that the server can report, and what becomes of it.
//!
//! Code raises an [`Event`] once, by [`Observer::emit`]; the log line and the metrics
//! follow from it, so that they cannot disagree. Nobody bumps a counter or
//! writes a line by hand.
//!
//! Promises: `emit` never blocks on the log's reader and never fails; lines that cannot be
//! written in time are dropped and counted. Every metric series exists at 0 from the
//! start; no label holds an address, a domain, an IP or an id.

mod event;
mod labels;
mod log;
mod metrics;
mod trace;

pub use event::{Event, EventInfo, Phases};
pub use labels::{AuthMechanism, AuthResult, LockScope};
pub use labels::{
    ConnectionRefusal, DeliveryStatus, DnsResult, DsnKind, Handshake, Level, Listener, ProxyHeader,
    RejectReason, TlsFailure, TlsVersion, Violation,
};
pub use log::{JsonLines, LogSettings, MAX_FIELD};
pub use metrics::{Gauges, MetricInfo, MetricKind, MetricsFormat, Totals};
pub use trace::{FinishedSpan, Span, SpanKind, SpanValue, TraceContext, Tracer};

use log::Log;
use metrics::Metrics;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock, Weak};

/// Where events go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    metrics: Arc<Metrics>,
    log: Option<Log>,
    tracer: Tracer,
    tap: OnceLock<Weak<dyn Tap>>,
}

/// Sees every event besides log and metrics. It must not block.
pub trait Tap: fmt::Debug + Send + Sync {
    /// An event was raised.
    fn saw(&self, event: &Event<'_>);
}

impl Observer {
    /// An observer that writes its log to standard output.
    pub fn new(settings: LogSettings) -> Self {
        Self::with_sink(settings, standard_output())
    }

    /// An observer that writes its log to `sink`, from a thread of its own.
    pub fn with_sink(settings: LogSettings, sink: Box<dyn Write + Send>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let log = Some(Log::start(settings, sink, metrics.log_dropped.clone()));
        Observer {
            inner: Arc::new(Inner {
                metrics,
                log,
                tracer: Tracer::default(),
                tap: OnceLock::new(),
            }),
        }
    }

    /// An observer without a log, for tests.
    pub fn silent() -> Self {
        Observer {
            inner: Arc::new(Inner {
                metrics: Arc::new(Metrics::new()),
                log: None,
                tracer: Tracer::default(),
                tap: OnceLock::new(),
            }),
        }
    }

    /// Reports an event: moves its metrics and writes its line. Never blocks on the log's reader.
    pub fn emit(&self, event: Event<'_>) {
        self.inner.metrics.record(&event);
        if let Some(log) = &self.inner.log {
            log.write(&event);
        }
        if let Some(tap) = self.inner.tap.get().and_then(Weak::upgrade) {
            tap.saw(&event);
        }
    }

    /// From now on this sees every event, as long as somebody else holds it. There is one at most: `false` when there is another already.
    pub fn tap(&self, tap: &Arc<dyn Tap>) -> bool {
        self.inner.tap.set(Arc::downgrade(tap)).is_ok()
    }

    /// Makes spans for those who trace mail.
    pub fn tracer(&self) -> &Tracer {
        &self.inner.tracer
    }

    /// Changes level and format from now on.
    pub fn set_log(&self, settings: LogSettings) {
        if let Some(log) = &self.inner.log {
            log.set(settings);
        }
    }

    /// All metrics in the OpenMetrics text format. `gauges` are the figures that
    /// the rooms keep themselves, read now.
    pub fn metrics(&self, gauges: &Gauges) -> String {
        self.metrics_as(gauges, MetricsFormat::OpenMetrics)
    }

    /// All metrics in the format that the scraper asked for.
    pub fn metrics_as(&self, gauges: &Gauges, format: MetricsFormat) -> String {
        self.inner.metrics.expose(gauges, format)
    }

    /// What the process has done since it started.
    pub fn totals(&self) -> Totals {
        self.inner.metrics.totals()
    }

    /// Commands and messages refused since the process started, by reason; every reason is there.
    pub fn rejections(&self) -> Vec<(&'static str, u64)> {
        self.inner.metrics.rejections()
    }

    /// Sessions open now.
    pub fn active_connections(&self) -> u64 {
        self.inner.metrics.active_connections()
    }

    /// Writes out what is still buffered; for the end of the process. Waits at most 2 seconds.
    pub fn flush(&self) {
        if let Some(log) = &self.inner.log {
            log.flush();
        }
    }
}

/// Everything that can be seen from outside, for the reference pages.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Every metric, in the order of a scrape.
    pub metrics: Vec<MetricInfo>,
    /// Every event.
    pub events: &'static [EventInfo],
}

/// Every metric and every event, from the definitions that the server runs on.
pub fn catalogue() -> Catalogue {
    Catalogue {
        metrics: Metrics::new().list(),
        events: event::EVENTS,
    }
}

/// Standard output without the line buffer of `std`: a batch is one write.
fn standard_output() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(fd) => Box::new(File::from(fd)),
        Err(_) => Box::new(io::stdout()),
    }
}

#[cfg(test)]
mod tests;
