//! Results on their way to the store: one committer gathers what the lanes report and writes it in batches.
//!
//! When the store fails, the results are kept and written again until it takes them, and meanwhile
//! nothing new is begun: what is delivered without being written down may be delivered twice.

use super::Engine;
use super::scheduler::TICK;
use super::window::Lease;
use crate::schedule::later;
use jiff::Timestamp;
use smtp_observe::{DsnKind, Event, Observer};
use smtp_queue::{NewMessage, Outcome, QueueId, RecipientResult, Store, StoreError};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// Most jobs written in one change.
const BATCH: usize = 500;
/// First and longest pause after the store failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What the committer is told.
#[derive(Debug)]
pub(super) enum Input {
    /// Write this.
    Resolved(Resolved),
    /// Say when everything before this is written.
    Flush(oneshot::Sender<()>),
}

/// The results of one job.
#[derive(Debug)]
pub(super) struct Resolved {
    /// One for each recipient.
    pub(super) results: Vec<RecipientResult>,
    /// Notifications about them.
    pub(super) reports: Vec<Report>,
    /// Keeps the lease in force until the results are written.
    pub(super) lease: Arc<Lease>,
}

/// A notification, and what the log says of it.
#[derive(Debug)]
pub(super) struct Report {
    /// The notification.
    pub(super) message: NewMessage,
    /// The message it is about.
    pub(super) about: QueueId,
    /// What it says.
    pub(super) kind: DsnKind,
}

/// Writes results until nobody can report any.
pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) observer: Observer,
    /// Whether the store takes results; lanes wait while it does not.
    pub(super) storing: watch::Sender<bool>,
    pub(super) engine: Weak<Engine>,
}

impl Committer {
    pub(super) async fn run(self, mut inputs: UnboundedReceiver<Input>) {
        let mut batch = Vec::with_capacity(BATCH);
        while inputs.recv_many(&mut batch, BATCH).await > 0 {
            let mut results = Vec::with_capacity(batch.len());
            let mut reports = Vec::new();
            let mut leases = Vec::with_capacity(batch.len());
            let mut waiters = Vec::new();
            for input in batch.drain(..) {
                match input {
                    Input::Resolved(resolved) => {
                        results.extend(resolved.results);
                        reports.extend(resolved.reports);
                        leases.push(resolved.lease);
                    }
                    Input::Flush(waiter) => waiters.push(waiter),
                }
            }
            if !results.is_empty() || !reports.is_empty() {
                self.commit(results, reports).await;
            }
            drop(leases);
            for waiter in waiters {
                // Nobody waits any longer: fine.
                let _ = waiter.send(());
            }
        }
    }

    async fn commit(&self, results: Vec<RecipientResult>, reports: Vec<Report>) {
        let mut pause = RETRY.0;
        let finished = loop {
            let messages = reports.iter().map(|report| copy(&report.message)).collect();
            match self.store.finish(results.clone(), messages).await {
                Ok(finished) => break finished,
                Err(error) => {
                    self.failed(&error.to_string());
                    if matches!(error, StoreError::Closed) {
                        return;
                    }
                    self.storing
                        .send_if_modified(|storing| std::mem::replace(storing, false));
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        };
        let recovered = self
            .storing
            .send_if_modified(|storing| !std::mem::replace(storing, true));
        for id in finished.removed {
            self.observer.emit(Event::Removed { id: &id.to_string() });
        }
        if !finished.fenced.is_empty() {
            let count = finished.fenced.len();
            self.failed(&format!(
                "{count} results came after their leases had ended, or their messages were deleted"
            ));
        }
        self.announce(&reports);
        if (recovered || !reports.is_empty() || results.iter().any(is_due_soon))
            && let Some(engine) = self.engine.upgrade()
        {
            engine.wake_scheduler();
        }
    }

    /// Logs the notifications.
    fn announce(&self, reports: &[Report]) {
        for report in reports {
            let to = report
                .message
                .recipients
                .first()
                .map_or("", |recipient| recipient.address.as_str());
            self.observer.emit(Event::DsnQueued {
                id: &report.message.id.to_string(),
                about: &report.about.to_string(),
                kind: report.kind,
                to,
            });
        }
    }

    fn failed(&self, error: &str) {
        self.observer.emit(Event::StoreFailed {
            operation: "finish",
            error,
        });
    }
}

/// Whether the scheduler may not know yet when to look for it.
fn is_due_soon(result: &RecipientResult) -> bool {
    match result.outcome {
        Outcome::Released { due } | Outcome::Deferred { due, .. } => due < later(Timestamp::now(), TICK),
        _ => false,
    }
}

fn copy(message: &NewMessage) -> NewMessage {
    NewMessage {
        id: message.id,
        received_at: message.received_at,
        sender: message.sender.clone(),
        options: message.options.clone(),
        recipients: message.recipients.clone(),
        body: message.body.clone(),
    }
}
