//! Writes the table as text: OpenMetrics, or the older format of Prometheus.

use super::series::{Entry, MetricKind, Source};
use super::{Metrics, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The text format of an answer to a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus 0.0.4, which every tool reads.
    Prometheus,
}

impl MetricsFormat {
    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            MetricsFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics as text.
pub(super) fn expose(metrics: &Arc<Metrics>, snapshot: Snapshot, format: MetricsFormat) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        metrics: metrics.clone(),
        snapshot,
    }));
    let mut out = String::with_capacity(32 << 10);
    // Writing to a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    match format {
        MetricsFormat::OpenMetrics => out,
        MetricsFormat::Prometheus => older_format(&out),
    }
}

/// One scrape.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    snapshot: Snapshot,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for entry in &self.metrics.table.entries {
            let info = &entry.info;
            let (name, kind) = match info.kind {
                MetricKind::Counter => (
                    info.name.strip_suffix("_total").unwrap_or(info.name),
                    MetricType::Counter,
                ),
                MetricKind::Gauge => (info.name, MetricType::Gauge),
                MetricKind::Histogram => (info.name, MetricType::Histogram),
            };
            let encoder = encoder.encode_descriptor(name, info.help, None, kind)?;
            encode_entry(entry, &self.snapshot, encoder)?;
        }
        Ok(())
    }
}

fn encode_entry(entry: &Entry, snapshot: &Snapshot, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    if let Source::Histogram(histogram) = &entry.source {
        return histogram.encode(encoder);
    }
    for (place, labels) in entry.label_sets().iter().enumerate() {
        if labels.is_empty() {
            encode_value(entry, snapshot, place, &mut encoder)?;
        } else {
            encode_value(entry, snapshot, place, &mut encoder.encode_family(labels)?)?;
        }
    }
    Ok(())
}

fn encode_value(
    entry: &Entry,
    snapshot: &Snapshot,
    place: usize,
    encoder: &mut MetricEncoder<'_>,
) -> fmt::Result {
    const NONE: Option<&Exemplar<NoLabelSet, f64>> = None;
    match &entry.source {
        Source::Cells(cells) => {
            let value = cells.get(place).map_or(0, |cell| cell.load(Ordering::Relaxed));
            encoder.encode_counter(&value, NONE)
        }
        Source::Read(read) if entry.info.kind == MetricKind::Counter => {
            encoder.encode_counter(&read(snapshot, place), NONE)
        }
        Source::Read(read) => {
            let value = read(snapshot, place);
            if value.fract() == 0.0 && value.abs() < 1e15 {
                encoder.encode_gauge(&(value as i64))
            } else {
                encoder.encode_gauge(&value)
            }
        }
        Source::Histogram(_) => Ok(()),
    }
}

/// The older format has no `# EOF`, and its counters bear `_total` in their descriptions too.
fn older_format(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 512);
    let mut help = "";
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = line;
        } else if line.starts_with("# TYPE ") {
            describe(&mut out, help, line);
        } else if line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn describe(out: &mut String, help: &str, kind: &str) {
    let suffix = if kind.ends_with(" counter") { "_total" } else { "" };
    for line in [help, kind] {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (hash, what, name, rest) = (next(), next(), next(), next());
        out.push_str(&format!("{hash} {what} {name}{suffix} {rest}\n"));
    }
}
