//! Spans on their way to the collector: gathered, sent in batches, tried again for a while.
//!
//! While a batch is tried again the next spans wait in the tracer's bounded queue; what does not fit there is dropped and counted.

mod otlp;

use arc_swap::ArcSwapOption;
use prost::Message;
use smtp_config::{Config, header_pairs};
use smtp_https::reqwest::Client;
use smtp_https::reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use smtp_observe::{Event, FinishedSpan, Observer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};

/// Most spans in one request.
const BATCH: usize = 512;
/// How long a span waits for company.
const LINGER: Duration = Duration::from_secs(1);
/// How long nothing is waited for; any time would do.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a batch is tried again.
const PATIENCE: Duration = Duration::from_secs(30);
/// First and longest pause between the tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// How often drops are said.
const SAY: Duration = Duration::from_secs(10);

/// Where spans go, made of a configuration.
#[derive(Debug)]
pub struct Target {
    url: String,
    headers: HeaderMap,
    client: Client,
    hostname: String,
    sampling: f64,
}

impl Target {
    /// `None` when nothing is to be traced. Reads `tracing.ca_file`: blocking.
    ///
    /// # Errors
    /// What is wrong, with the setting's name.
    pub fn new(config: &Config) -> Result<Option<Target>, String> {
        let tracing = &config.tracing;
        let Some(endpoint) = &tracing.endpoint else {
            return Ok(None);
        };
        let url = match endpoint.is_bare() {
            true => format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')),
            false => endpoint.as_str().to_owned(),
        };
        let client = smtp_https::client_with(tracing.ca_file.as_deref(), REQUEST);
        let headers = tracing.headers.as_ref().map(|headers| headers.expose());
        Ok(Some(Target {
            url,
            headers: header_map(headers.unwrap_or_default()).map_err(|e| format!("tracing.headers: {e}"))?,
            client: client.map_err(|reason| format!("tracing.ca_file: {reason}"))?,
            hostname: config.server.hostname.clone(),
            sampling: tracing.sampling.get(),
        }))
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), Refused> {
        let request = self.client.post(&self.url).headers(self.headers.clone());
        let request = request.header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let answer = request.send().await.map_err(|error| Refused {
            reason: smtp_https::in_words(&error),
            again: true,
        })?;
        let status = answer.status();
        match status.is_success() {
            true => Ok(()),
            false => Err(Refused {
                reason: format!("the collector answered {status}"),
                // What OTLP says of HTTP's codes.
                again: matches!(status.as_u16(), 429 | 502 | 503 | 504),
            }),
        }
    }
}

struct Refused {
    reason: String,
    again: bool,
}

fn header_map(text: &str) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in header_pairs(text)? {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        let mut value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        map.append(name, value);
    }
    Ok(map)
}

/// The way of spans to the collector. Runs from [`Traces::start`] to [`Traces::stop`], and does nothing while tracing is off.
#[derive(Debug)]
pub struct Traces {
    observer: Observer,
    target: Arc<ArcSwapOption<Target>>,
    ending: watch::Sender<bool>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl Traces {
    /// Starts on the current runtime.
    pub fn start(target: Option<Target>, observer: Observer, version: &'static str) -> Self {
        let traces = Traces {
            target: Arc::default(),
            ending: watch::Sender::new(false),
            task: parking_lot::Mutex::new(None),
            observer,
        };
        traces.take(target);
        if let Some(spans) = traces.observer.tracer().reader() {
            let exporter = Exporter {
                spans,
                target: traces.target.clone(),
                observer: traces.observer.clone(),
                ending: traces.ending.subscribe(),
                version,
                in_flight: 0,
                unsaid: None,
                said: None,
            };
            *traces.task.lock() = Some(tokio::spawn(exporter.run()));
        }
        traces
    }

    /// From now on spans go there.
    pub fn take(&self, target: Option<Target>) {
        let sampling = target.as_ref().map(|target| target.sampling);
        self.target.store(target.map(Arc::new));
        self.observer.tracer().set(sampling);
    }

    /// Sends what waits, for at most so long; what is left then is dropped and counted.
    pub async fn stop(&self, limit: Duration) {
        self.observer.tracer().set(None);
        self.ending.send_replace(true);
        let task = self.task.lock().take();
        if let Some(mut task) = task
            && timeout(limit, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

struct Exporter {
    spans: mpsc::Receiver<FinishedSpan>,
    target: Arc<ArcSwapOption<Target>>,
    observer: Observer,
    ending: watch::Receiver<bool>,
    version: &'static str,
    /// Spans that are being sent.
    in_flight: u64,
    /// Drops that were not said yet, and why the last were.
    unsaid: Option<(u64, String)>,
    said: Option<Instant>,
}

impl Exporter {
    async fn run(mut self) {
        loop {
            let batch = self.gather().await;
            let ended = *self.ending.borrow() && batch.is_empty();
            if !batch.is_empty() {
                self.export(batch).await;
            }
            let lost = self.observer.tracer().lost();
            self.dropped(lost, "they came faster than they were taken");
            self.say(ended);
            if ended {
                return;
            }
        }
    }

    /// The next spans: as many as there are, or come within a second of the first. None when there are drops to be said, and at the end.
    async fn gather(&mut self) -> Vec<FinishedSpan> {
        let mut batch = Vec::new();
        let mut ending = self.ending.clone();
        // With nothing to say, the first span is what wakes it.
        let idle = if self.unsaid.is_none() { IDLE } else { LINGER };
        let mut deadline = tokio::time::Instant::now() + idle;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let first = batch.is_empty();
            if *ending.borrow() {
                // Nothing more comes of a server that has stopped.
                while batch.len() < BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                break;
            }
            tokio::select! {
                received = timeout_at(deadline, self.spans.recv_many(&mut batch, room)) => {
                    if received.is_err() {
                        break;
                    }
                    if first {
                        deadline = tokio::time::Instant::now() + LINGER;
                    }
                }
                _ = ending.changed() => {}
            }
        }
        batch
    }

    async fn export(&mut self, batch: Vec<FinishedSpan>) {
        let count = batch.len() as u64;
        self.in_flight = count;
        let result = self.try_to_send(batch).await;
        self.in_flight = 0;
        match result {
            Ok(duration) => self.observer.emit(Event::SpansExported {
                spans: count,
                duration,
            }),
            Err(reason) => self.dropped(count, &reason),
        }
    }

    /// Sends a batch, again and again for a while; gives how long it took, or why it was not taken.
    async fn try_to_send(&mut self, batch: Vec<FinishedSpan>) -> Result<Duration, String> {
        let Some(target) = self.target.load_full() else {
            return Err("tracing was turned off".to_owned());
        };
        let body = otlp::request(batch, &target.hostname, self.version).encode_to_vec();
        let (started, mut pause) = (Instant::now(), PAUSE.0);
        loop {
            let refused = match target.send(body.clone()).await {
                Ok(()) => return Ok(started.elapsed()),
                Err(refused) => refused,
            };
            if !refused.again || started.elapsed() + pause > PATIENCE || *self.ending.borrow() {
                return Err(refused.reason);
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.ending.changed() => {}
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn dropped(&mut self, spans: u64, reason: &str) {
        if spans > 0 {
            let before = self.unsaid.take().map_or(0, |(spans, _)| spans);
            self.unsaid = Some((before + spans, reason.to_owned()));
        }
    }

    /// Says what was dropped, now or when it is time again.
    fn say(&mut self, now: bool) {
        if !now && self.said.is_some_and(|said| said.elapsed() < SAY) {
            return;
        }
        if let Some((spans, reason)) = self.unsaid.take() {
            self.said = Some(Instant::now());
            self.observer.emit(Event::SpansDropped {
                spans,
                reason: &reason,
            });
        }
    }
}

/// What was not sent when the time to stop is over.
impl Drop for Exporter {
    fn drop(&mut self) {
        self.spans.close();
        let mut left = self.observer.tracer().lost() + self.in_flight;
        while self.spans.try_recv().is_ok() {
            left += 1;
        }
        self.dropped(left, "the server stopped");
        self.say(true);
    }
}
