//! Spans: made, told about, and sent when they are dropped.

use super::{TraceContext, Tracer};
use std::time::{Instant, SystemTime};

/// Longest text in a span, in characters.
const TEXT: usize = 500;

/// Which side of a conversation a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Within the server.
    Internal,
    /// It serves a client.
    Server,
    /// It asks another server.
    Client,
}

/// What is told of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        SpanValue::Text(text.chars().take(TEXT).collect())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        SpanValue::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct FinishedSpan {
    /// Its ids.
    pub context: TraceContext,
    /// The span that it is a part of.
    pub parent: Option<[u8; 8]>,
    /// What was done.
    pub name: &'static str,
    /// On which side.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is told of it.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Why it failed.
    pub error: Option<String>,
    /// A span of another trace that it belongs with.
    pub link: Option<TraceContext>,
}

/// A span in progress; it ends when it is dropped. One that is not recorded is nothing, and all that is done with it does nothing.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Recording>>);

#[derive(Debug)]
struct Recording {
    span: FinishedSpan,
    tracer: Tracer,
}

impl Span {
    pub(super) fn new(
        tracer: Tracer,
        context: TraceContext,
        parent: Option<[u8; 8]>,
        name: &'static str,
        kind: SpanKind,
    ) -> Self {
        let now = SystemTime::now();
        let span = FinishedSpan {
            context,
            parent,
            name,
            kind,
            start: now,
            end: now,
            attributes: Vec::new(),
            error: None,
            link: None,
        };
        Span(Some(Box::new(Recording { span, tracer })))
    }

    /// A span within this one.
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Span {
        self.0.as_ref().map_or_else(Span::default, |parent| {
            let context = parent.span.context;
            let within = Some(context.span);
            Span::new(parent.tracer.clone(), context.child(), within, name, kind)
        })
    }

    /// Whether anything is recorded: what is costly to find out need not be.
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Its ids, if it will be sent.
    pub fn context(&self) -> Option<TraceContext> {
        let recording = self.0.as_ref()?;
        Some(recording.span.context).filter(|context| context.sampled)
    }

    /// Tells something of it.
    pub fn set(&mut self, name: &'static str, value: impl Into<SpanValue>) {
        if let Some(recording) = &mut self.0 {
            recording.span.attributes.push((name, value.into()));
        }
    }

    /// It failed, for this reason.
    pub fn fail(&mut self, reason: &str) {
        if let Some(recording) = &mut self.0 {
            recording.span.error = Some(reason.chars().take(TEXT).collect());
        }
    }

    /// It began then.
    pub fn began(&mut self, at: Instant) {
        if let Some(recording) = &mut self.0 {
            let start = SystemTime::now().checked_sub(at.elapsed());
            recording.span.start = start.unwrap_or(SystemTime::UNIX_EPOCH);
        }
    }

    /// It turned out to be the transaction of the message with this id: from now on it is the span that the message's others hang
    /// from, with a link to where it was. `given` is what the message's application said.
    pub fn becomes_message(&mut self, id: [u8; 16], given: Option<TraceContext>) {
        if let Some(recording) = &mut self.0 {
            let message = recording.tracer.message(id, given);
            let span = &mut recording.span;
            span.link = Some(TraceContext {
                span: span.parent.unwrap_or(span.context.span),
                ..span.context
            });
            span.parent = given.map(|given| given.span);
            span.context = message;
        }
    }

    /// Sends this one too if `other` is sent: its link leads here.
    pub fn goes_with(&mut self, other: &Span) {
        if let Some(recording) = &mut self.0 {
            recording.span.context.sampled |= other.context().is_some();
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.span.context.sampled {
            self.span.end = SystemTime::now().max(self.span.start);
            let ended = FinishedSpan {
                attributes: std::mem::take(&mut self.span.attributes),
                error: self.span.error.take(),
                ..self.span
            };
            self.tracer.send(ended);
        }
    }
}

/// A span's id, by chance and never all zero.
pub(super) fn new_id() -> [u8; 8] {
    rand::random::<u64>().max(1).to_be_bytes()
}
