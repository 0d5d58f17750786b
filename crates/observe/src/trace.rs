//! Traces: what a session, a mail and an attempt took, as spans of OpenTelemetry.
//!
//! Every message is a trace of its own, or a part of the trace that its application named in a `traceparent` field. Nothing is stored
//! for the first kind: the trace's id is the queue id, and the span that all others of the message hang from has the
//! id's last 8 octets, so that an attempt days and restarts later finds both again.
//!
//! Promises: while tracing is off a span costs one look at a flag; a span is never waited for: when its reader is slow it is dropped
//! and counted; no span holds an address of mail, content or a secret.

mod context;
mod span;

pub use context::TraceContext;
pub use span::{FinishedSpan, Span, SpanKind, SpanValue};

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Spans that wait for the exporter, at most; each is some 500 octets.
const WAITING: usize = 8192;

/// Makes spans. Cheap to clone; off until it is set.
#[derive(Clone, Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    on: AtomicBool,
    /// The part of messages that is traced, of `u64::MAX`.
    part: AtomicU64,
    lost: AtomicU64,
    spans: mpsc::Sender<FinishedSpan>,
    /// Until the exporter takes it.
    reader: Mutex<Option<mpsc::Receiver<FinishedSpan>>>,
}

impl Default for Tracer {
    fn default() -> Self {
        let (spans, reader) = mpsc::channel(WAITING);
        Tracer {
            shared: Arc::new(Shared {
                on: AtomicBool::new(false),
                part: AtomicU64::new(0),
                lost: AtomicU64::new(0),
                spans,
                reader: Mutex::new(Some(reader)),
            }),
        }
    }
}

impl Tracer {
    /// Traces this part of the messages and sessions that no application decided about, from 0 to 1; `None` turns tracing off.
    pub fn set(&self, sampling: Option<f64>) {
        // A cast of floating point saturates: 1.0 is every message.
        let part = (sampling.unwrap_or_default() * u64::MAX as f64) as u64;
        self.shared.part.store(part, Ordering::Relaxed);
        self.shared.on.store(sampling.is_some(), Ordering::Relaxed);
    }

    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed)
    }

    /// The end that spans come out of; `None` for all but the first caller.
    pub fn reader(&self) -> Option<mpsc::Receiver<FinishedSpan>> {
        self.shared.reader.lock().take()
    }

    /// Spans dropped for a slow reader since this was last asked.
    pub fn lost(&self) -> u64 {
        self.shared.lost.swap(0, Ordering::Relaxed)
    }

    /// A span that begins a trace, named by chance.
    pub fn begin(&self, name: &'static str, kind: SpanKind) -> Span {
        if !self.is_on() {
            return Span::default();
        }
        let trace: [u8; 16] = rand::random();
        let context = TraceContext {
            trace,
            span: span::new_id(),
            sampled: self.samples(trace),
        };
        Span::new(self.clone(), context, None, name, kind)
    }

    /// A span of a message that is in the queue already. `given` is what its application said.
    pub fn of_message(
        &self,
        id: [u8; 16],
        given: Option<TraceContext>,
        name: &'static str,
        kind: SpanKind,
    ) -> Span {
        if !self.is_on() {
            return Span::default();
        }
        let message = self.message(id, given);
        match message.sampled {
            true => Span::new(self.clone(), message.child(), Some(message.span), name, kind),
            false => Span::default(),
        }
    }

    /// Where the spans of a message hang: its trace, and the span of its transaction.
    fn message(&self, id: [u8; 16], given: Option<TraceContext>) -> TraceContext {
        TraceContext {
            trace: given.map_or(id, |given| given.trace),
            span: context::tail(id),
            sampled: given.map_or_else(|| self.samples(id), |given| given.sampled),
        }
    }

    /// Whether this trace is among the part that is kept; the same answer whenever it is asked.
    fn samples(&self, trace: [u8; 16]) -> bool {
        let part = self.shared.part.load(Ordering::Relaxed);
        part == u64::MAX || context::mixed(trace) < part
    }

    fn send(&self, span: FinishedSpan) {
        if self.shared.spans.try_send(span).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
