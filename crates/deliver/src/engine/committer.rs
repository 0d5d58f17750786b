//! The committer: gathers what the lanes report and writes it in batches.
//!
//! When the store fails, the results are kept and written again until it takes them, and meanwhile nothing new
//! is begun: what is delivered without being written down may be delivered twice.
//!
//! Unless the store is well and one result is to blame. A batch that fails again and again, while the store still
//! writes something else, is written in parts. A part of one job that fails alone is a suspect. It is guilty when
//! the store took another job's results, then not its own, and then a longer lease for it. Then it is set aside:
//! reported, and its recipients left leased for [`ASIDE`]; after that they are tried again, and may arrive twice.
//! As long as nothing proves that the store takes any results, few suspects are kept waiting; more than that, and
//! it is the store.

use super::Engine;
use super::results::{Input, Report, Resolved};
use super::returns::Returns;
use super::scheduler::TICK;
use super::window::LEASE;
use crate::schedule::later;
use jiff::Timestamp;
use smtp_observe::{Event, Observer};
use smtp_queue::{Attempt, NewMessage, Outcome, QueueId, RecipientResult, Store, StoreError, Term};
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Most jobs written in one change.
const BATCH: usize = 500;
/// How often it is looked what else came meanwhile.
const LOOK: Duration = Duration::from_millis(4);
/// First and longest pause after the store failed; a store that was away and is back ends it.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A batch that failed so often may have a result in it that is to blame.
const FAILURES: u32 = 3;
/// Most messages with suspects.
const SUSPECTS: usize = 16;
/// When recipients are tried again whose result was set aside.
const ASIDE: Duration = Duration::from_secs(3600);

/// Writes results until nobody can report any.
pub(super) struct Committer {
    store: Arc<dyn Store>,
    observer: Observer,
    /// Whether the store takes results; lanes wait while it does not.
    storing: watch::Sender<bool>,
    engine: Weak<Engine>,
    returns: Returns,
    /// Results that failed alone, while nothing told whether that is their own fault.
    suspects: Vec<Resolved>,
}

/// Waits so long for what else is to be written, unless the batch is full or somebody waits for it: fewer changes, each with more in it.
async fn gather<T>(
    inputs: &mut UnboundedReceiver<T>,
    inbox: &mut Vec<T>,
    company: Duration,
    is_waited_for: impl Fn(&T) -> bool,
) {
    let end = Instant::now() + company;
    while inbox.len() < BATCH && Instant::now() < end && !inbox.iter().any(&is_waited_for) {
        sleep(LOOK).await;
        while inbox.len() < BATCH
            && let Ok(input) = inputs.try_recv()
        {
            inbox.push(input);
        }
    }
}

impl Committer {
    pub(super) fn new(
        store: Arc<dyn Store>,
        observer: Observer,
        storing: watch::Sender<bool>,
        engine: Weak<Engine>,
    ) -> Self {
        Committer {
            returns: Returns::of(&*store),
            store,
            observer,
            storing,
            engine,
            suspects: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut inputs: UnboundedReceiver<Input>) {
        let mut inbox = Vec::with_capacity(BATCH);
        loop {
            let received = inputs.recv_many(&mut inbox, BATCH);
            let count = if self.suspects.is_empty() {
                received.await
            } else if let Ok(count) = timeout(RETRY.1, received).await {
                count
            } else {
                self.try_suspects().await;
                continue;
            };
            if count == 0 {
                return;
            }
            let company = self.engine.upgrade().map(|engine| engine.queue.company());
            let is_waited_for = |input: &Input| matches!(input, Input::Flush(_));
            gather(
                &mut inputs,
                &mut inbox,
                company.unwrap_or_default(),
                is_waited_for,
            )
            .await;
            let mut batch = Vec::with_capacity(inbox.len());
            let mut waiters = Vec::new();
            for input in inbox.drain(..) {
                match input {
                    Input::Resolved(resolved) => batch.push(resolved),
                    Input::Flush(waiter) => waiters.push(waiter),
                }
            }
            if !batch.is_empty() {
                self.commit(batch).await;
            }
            if !waiters.is_empty() {
                // The server stops: their last chance before the next start.
                self.try_suspects().await;
            }
            for waiter in waiters {
                // Nobody waits any longer: fine.
                let _ = waiter.send(());
            }
        }
    }

    /// Writes a batch; comes back when it is written, or what is left of it waits as suspects.
    async fn commit(&mut self, mut batch: Vec<Resolved>) {
        let mut pause = RETRY.0;
        let mut failures = 0u32;
        loop {
            let error = match self.write(&batch).await {
                Ok(()) => return self.judge().await,
                Err(error) => error,
            };
            self.failed(&error.to_string());
            match error {
                StoreError::Closed => return,
                // A full disk is nobody's fault.
                StoreError::Full(_) => failures = 0,
                _ => failures += 1,
            }
            self.takes_results(false);
            if failures >= FAILURES
                && let Some(first) = batch.first()
                && self.store_renews(first, LEASE).await
            {
                batch = self.write_in_parts(batch).await;
                if batch.is_empty() || messages(self.suspects.iter().chain(&batch)) <= SUSPECTS {
                    self.suspects.append(&mut batch);
                    return self.takes_results(true);
                }
            }
            self.returns.or(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Whether the store writes anything: here, a lease of this length for a job whose results it does not take.
    async fn store_renews(&self, job: &Resolved, lease: Duration) -> bool {
        self.store.renew(job.attempts(), Term::of(lease)).await.is_ok()
    }

    /// Writes what can be written of a batch that cannot be written whole. Gives what it is not clear about.
    async fn write_in_parts(&mut self, batch: Vec<Resolved>) -> Vec<Resolved> {
        let mut parts = vec![batch];
        let mut failed = Vec::new();
        let mut any_written = false;
        while let Some(mut part) = parts.pop() {
            // Nothing can be written, it seems: it is not worth while to try each.
            if !any_written && messages(&failed) > SUSPECTS {
                failed.append(&mut part);
                continue;
            }
            if self.write(&part).await.is_ok() {
                any_written = true;
            } else if part.len() <= 1 {
                failed.append(&mut part);
            } else {
                let rest = part.split_off(part.len() / 2);
                parts.push(rest);
                parts.push(part);
            }
        }
        if any_written {
            self.suspects.append(&mut failed);
            self.judge().await;
        }
        failed
    }

    /// The store has just taken other results: a suspect that it still does not take is guilty, unless the store
    /// has failed meanwhile.
    async fn judge(&mut self) {
        for suspect in std::mem::take(&mut self.suspects) {
            match self.write(std::slice::from_ref(&suspect)).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    let is_full = matches!(error, StoreError::Full(_));
                    if !is_full && self.store_renews(&suspect, ASIDE).await {
                        self.set_aside(&suspect, &error);
                    } else {
                        self.suspects.push(suspect);
                    }
                }
            }
        }
    }

    /// Nothing else came to be written: perhaps the store takes the suspects by now.
    async fn try_suspects(&mut self) {
        for suspect in std::mem::take(&mut self.suspects) {
            if self.write(std::slice::from_ref(&suspect)).await.is_err() {
                self.suspects.push(suspect);
            }
        }
    }

    fn set_aside(&self, guilty: &Resolved, error: &StoreError) {
        self.observer.emit(Event::ResultSetAside {
            id: &guilty.message.to_string(),
            recipients: guilty.results.len(),
            retry_in: ASIDE,
            error: &error.to_string(),
        });
    }

    /// Writes results and their notifications in one change.
    async fn write(&self, batch: &[Resolved]) -> Result<(), StoreError> {
        let results: Vec<RecipientResult> = batch.iter().flat_map(|job| &job.results).cloned().collect();
        let reports = || batch.iter().flat_map(|job| &job.reports);
        let messages: Vec<NewMessage> = reports().map(|report| copy(&report.message)).collect();
        let soon = later(self.store.now(), TICK);
        let due_soon = !messages.is_empty() || results.iter().any(|result| is_due_soon(result, soon));
        let released = results
            .iter()
            .any(|result| matches!(result.outcome, Outcome::Released { .. }));
        let finished = self.store.finish(results, messages).await?;
        self.say_lost(batch, &finished.fenced);
        self.takes_results(true);
        // Before the end of what they are about.
        reports().for_each(|report| self.announce(report));
        for id in finished.removed {
            self.observer.emit(Event::Removed { id: &id.to_string() });
        }
        if due_soon {
            self.wake_scheduler();
        }
        if released && self.is_stopping() {
            // Who is not told finds it within a second.
            let _ = self.store.announce_due().await;
        }
        Ok(())
    }

    /// Tells of results that came too late, unless their leases were known to be lost: that was said then.
    fn say_lost(&self, batch: &[Resolved], fenced: &[Attempt]) {
        if fenced.is_empty() {
            return;
        }
        let fenced: HashSet<&Attempt> = fenced.iter().collect();
        let is_new = |job: &Resolved, attempt: &Attempt| {
            fenced.contains(attempt) && !job.lease.has_lost(attempt.recipient)
        };
        let news = batch.iter().map(|job| {
            job.attempts()
                .iter()
                .filter(|attempt| is_new(job, attempt))
                .count()
        });
        let recipients = news.sum::<usize>() as u64;
        if recipients > 0 {
            self.observer.emit(Event::LeasesLost {
                recipients,
                what: "result",
            });
        }
    }

    /// Says whether the store takes results.
    fn takes_results(&self, now: bool) {
        let changed = self
            .storing
            .send_if_modified(|storing| std::mem::replace(storing, now) != now);
        if changed && now {
            self.wake_scheduler();
        }
    }

    /// Whether what is given back is for others.
    fn is_stopping(&self) -> bool {
        self.engine.upgrade().is_none_or(|engine| engine.is_stopping())
    }

    fn wake_scheduler(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.wake_scheduler();
        }
    }

    /// Logs a notification.
    fn announce(&self, report: &Report) {
        let first = report.message.recipients.first();
        self.observer.emit(Event::DsnQueued {
            id: &report.message.id.to_string(),
            about: &report.about.to_string(),
            kind: report.kind,
            to: first.map_or("", |recipient| recipient.address.as_str()),
        });
    }

    fn failed(&self, error: &str) {
        self.observer.emit(Event::StoreFailed {
            operation: "finish",
            error,
        });
    }
}

/// How many messages they are about.
fn messages<'a>(jobs: impl IntoIterator<Item = &'a Resolved>) -> usize {
    let ids: HashSet<QueueId> = jobs.into_iter().map(|job| job.message).collect();
    ids.len()
}

/// Whether the scheduler may not know yet when to look for it.
fn is_due_soon(result: &RecipientResult, soon: Timestamp) -> bool {
    match result.outcome {
        Outcome::Released { due } | Outcome::Deferred { due, .. } => due < soon,
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    /// Longer than a test may take.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn results_wait_for_company_until_there_are_many_or_somebody_waits_for_them() {
        let is_waited_for = |number: &usize| *number == usize::MAX;
        let (sender, mut inputs) = unbounded_channel();
        let others = tokio::spawn(async move {
            for number in 0..BATCH {
                sender.send(number).unwrap();
                tokio::task::yield_now().await;
            }
            sender
        });
        let mut inbox = vec![0];
        gather(&mut inputs, &mut inbox, FOR_EVER, is_waited_for).await;
        assert_eq!(inbox.len(), BATCH, "it is full");
        let sender = others.await.unwrap();

        // One was left over.
        let mut inbox = vec![0];
        sender.send(usize::MAX).unwrap();
        gather(&mut inputs, &mut inbox, FOR_EVER, is_waited_for).await;
        assert_eq!(inbox, [0, BATCH - 1, usize::MAX]);

        let mut inbox = vec![0];
        sender.send(1).unwrap();
        gather(&mut inputs, &mut inbox, Duration::ZERO, is_waited_for).await;
        assert_eq!(inbox, [0], "a store of our own is not kept waiting");
        gather(&mut inputs, &mut inbox, LOOK, is_waited_for).await;
        assert_eq!(inbox, [0, 1], "and nobody waits for ever");
    }
}
