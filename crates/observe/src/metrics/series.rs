//! Counters with labels as plain arrays of atomics, and the table of all metrics.
//!
//! A metric is defined once, in [`super::Metrics::new`]; what is counted, what a scrape
//! shows and what the reference says all come from the entry made there.

use super::Snapshot;
use crate::labels::Label;
use prometheus_client::metrics::histogram::Histogram;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// A figure of now.
    Gauge,
    /// Observations by size.
    Histogram,
}

impl MetricKind {
    /// The word used by Prometheus.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// What the reference says about one metric.
#[derive(Clone, Debug)]
pub struct MetricInfo {
    /// Its name, `_total` included.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Its labels, each with all values it can have.
    pub labels: Vec<(&'static str, Vec<&'static str>)>,
    /// What it tells.
    pub help: &'static str,
}

/// One metric and where its figures come from.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) info: MetricInfo,
    pub(super) source: Source,
}

/// Where a metric's figures come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Counted by events.
    Cells(Arc<[AtomicU64]>),
    /// Observed by events.
    Histogram(Histogram),
    /// Read at the scrape; the number is the place in the first label's values.
    Read(fn(&Snapshot, usize) -> f64),
}

impl Entry {
    /// Every combination of label values, in the order of the cells.
    pub(super) fn label_sets(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        let mut sets = vec![Vec::new()];
        for (label, values) in &self.info.labels {
            let longer = |set: &Vec<_>| {
                let set = set.clone();
                values
                    .iter()
                    .map(move |value| [set.as_slice(), &[(*label, *value)]].concat())
            };
            sets = sets.iter().flat_map(longer).collect();
        }
        sets
    }
}

/// A tuple of labels: a place in an array.
pub(crate) trait Labels: Copy {
    /// How many combinations there are.
    const SIZE: usize;
    /// The place of this one.
    fn index(self) -> usize;
    /// The labels and their values, outermost first.
    fn values() -> Vec<(&'static str, Vec<&'static str>)>;
}

fn values_of<L: Label>() -> (&'static str, Vec<&'static str>) {
    (L::LABEL, L::NAMES.to_vec())
}

impl Labels for () {
    const SIZE: usize = 1;
    fn index(self) -> usize {
        0
    }
    fn values() -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }
}

impl<A: Label> Labels for (A,) {
    const SIZE: usize = A::NAMES.len();
    fn index(self) -> usize {
        self.0.index()
    }
    fn values() -> Vec<(&'static str, Vec<&'static str>)> {
        vec![values_of::<A>()]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const SIZE: usize = A::NAMES.len() * B::NAMES.len();
    fn index(self) -> usize {
        self.0.index() * B::NAMES.len() + self.1.index()
    }
    fn values() -> Vec<(&'static str, Vec<&'static str>)> {
        vec![values_of::<A>(), values_of::<B>()]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const SIZE: usize = A::NAMES.len() * B::NAMES.len() * C::NAMES.len();
    fn index(self) -> usize {
        (self.0.index() * B::NAMES.len() + self.1.index()) * C::NAMES.len() + self.2.index()
    }
    fn values() -> Vec<(&'static str, Vec<&'static str>)> {
        vec![values_of::<A>(), values_of::<B>(), values_of::<C>()]
    }
}

/// A counter for each combination of labels. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Counts<L> {
    cells: Arc<[AtomicU64]>,
    labels: PhantomData<fn(L)>,
}

impl<L> Clone for Counts<L> {
    fn clone(&self) -> Self {
        Counts {
            cells: self.cells.clone(),
            labels: PhantomData,
        }
    }
}

impl<L: Labels> Counts<L> {
    /// Adds to the counter of `labels`.
    pub(crate) fn add(&self, labels: L, amount: u64) {
        if let Some(cell) = self.cells.get(labels.index()) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, labels: L) -> u64 {
        self.cells
            .get(labels.index())
            .map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// The table of all metrics, while it is made.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

impl Table {
    /// A counter that events move.
    pub(super) fn counter<L: Labels>(&mut self, name: &'static str, help: &'static str) -> Counts<L> {
        let cells: Arc<[AtomicU64]> = (0..L::SIZE).map(|_| AtomicU64::new(0)).collect();
        let info = MetricInfo {
            name,
            kind: MetricKind::Counter,
            labels: L::values(),
            help,
        };
        self.entries.push(Entry {
            info,
            source: Source::Cells(cells.clone()),
        });
        Counts {
            cells,
            labels: PhantomData,
        }
    }

    /// A histogram that events move.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str, buckets: &[f64]) -> Histogram {
        let histogram = Histogram::new(buckets.iter().copied());
        let info = MetricInfo {
            name,
            kind: MetricKind::Histogram,
            labels: Vec::new(),
            help,
        };
        self.entries.push(Entry {
            info,
            source: Source::Histogram(histogram.clone()),
        });
        histogram
    }

    /// A figure that is read at the scrape.
    pub(super) fn read(
        &mut self,
        kind: MetricKind,
        name: &'static str,
        help: &'static str,
        read: fn(&Snapshot, usize) -> f64,
    ) {
        let info = MetricInfo {
            name,
            kind,
            labels: Vec::new(),
            help,
        };
        self.entries.push(Entry {
            info,
            source: Source::Read(read),
        });
    }

    /// Figures that are read at the scrape, one for each value of a label.
    pub(super) fn read_by(
        &mut self,
        label: (&'static str, &[&'static str]),
        name: &'static str,
        help: &'static str,
        read: fn(&Snapshot, usize) -> f64,
    ) {
        let labels = vec![(label.0, label.1.to_vec())];
        let info = MetricInfo {
            name,
            kind: MetricKind::Gauge,
            labels,
            help,
        };
        self.entries.push(Entry {
            info,
            source: Source::Read(read),
        });
    }
}
