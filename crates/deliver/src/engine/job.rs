//! A job: some recipients of one message that go the same way.
//!
//! Whoever has a job settles it; a job that is dropped with recipients in it (a drain, a panic) gives
//! them back to the store, so that none is forgotten.

use super::results::{Input, Resolved};
use super::window::{HeldBody, Lease};
use crate::connection::Gate;
use crate::destination::Load;
use crate::schedule::later;
use smtp::Reply;
use smtp_queue::{Attempt, Body, ClaimedRecipient, Message, Outcome, RecipientResult, Steady};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// When a job comes back that was dropped for no good reason.
const AFTER_A_FAULT: Duration = Duration::from_secs(60);
/// When a message is tried again that its server may have.
pub(super) const AFTER_A_DOT: Duration = Duration::from_secs(300);

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Into a Maildir, by this template.
    Maildir(Arc<str>),
    /// Into the capture folder.
    Capture,
    /// Over the network.
    Relay,
    /// The outcome is known.
    Known(Arc<Reply>),
}

/// Some recipients of one message that go the same way.
#[derive(Debug)]
pub(super) struct Job {
    /// The message.
    pub(super) message: Arc<Message>,
    /// Its content, when it is at hand.
    pub(super) body: Option<Arc<HeldBody>>,
    /// The recipients.
    pub(super) recipients: Vec<ClaimedRecipient>,
    /// What is to be done.
    pub(super) work: Work,
    /// The lease on the recipients, and maybe on others.
    pub(super) lease: Arc<Lease>,
    /// Where results go.
    pub(super) results: UnboundedSender<Input>,
    /// Set by the gate: the final dot is on its way.
    pub(super) dot: Option<Arc<AtomicBool>>,
    /// Whether a dropped job is due at once: the server stops.
    pub(super) stopping: Arc<AtomicBool>,
}

impl Job {
    /// Forgets recipients whose lease was lost: somebody else has them, or an operator deleted them.
    pub(super) fn drop_lost(&mut self) {
        let now = Steady::now();
        let lease = &self.lease;
        self.recipients
            .retain(|claimed| lease.holds(claimed.recipient.index, now));
    }

    /// The content if it is at hand.
    pub(super) fn body(&self) -> Option<&Body> {
        self.body.as_ref().map(|held| &held.body)
    }

    /// Splits off the recipients from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Job {
        Job {
            message: self.message.clone(),
            body: self.body.clone(),
            recipients: self.recipients.split_off(at),
            work: self.work.clone(),
            lease: self.lease.clone(),
            results: self.results.clone(),
            dot: None,
            stopping: self.stopping.clone(),
        }
    }

    /// Takes back what was split off.
    pub(super) fn join(&mut self, mut other: Job) {
        self.recipients.append(&mut other.recipients);
    }

    /// Names the lease on one of its recipients.
    pub(super) fn attempt(&self, claimed: &ClaimedRecipient) -> Attempt {
        Attempt {
            message: self.message.key,
            recipient: claimed.recipient.index,
            epoch: claimed.epoch,
        }
    }

    /// Gives all recipients the same result, without a word to anybody.
    pub(super) fn end_all(&mut self, outcome: &Outcome, text: &str) {
        let recipients = std::mem::take(&mut self.recipients);
        if recipients.is_empty() {
            return;
        }
        let results = recipients
            .iter()
            .map(|claimed| RecipientResult {
                attempt: self.attempt(claimed),
                outcome: outcome.clone(),
                text: text.to_owned(),
                calls: Vec::new(),
            })
            .collect();
        let resolved = Resolved::of(self, results, Vec::new());
        // Without a committer the leases end by themselves.
        let _ = self.results.send(Input::Resolved(resolved));
    }

    /// Gives the recipients back, to be tried after `wait`; no attempt is counted.
    pub(super) fn release(&mut self, wait: Duration) {
        self.end_all(
            &Outcome::Released {
                due: later(self.lease.store_now(), wait),
            },
            "given back",
        );
    }
}

impl Load for Job {
    fn recipients(&self) -> usize {
        self.recipients.len()
    }
}

impl Gate for Job {
    fn may_commit(&self) -> bool {
        let now = Steady::now();
        let ours = self
            .recipients
            .iter()
            .all(|claimed| self.lease.holds(claimed.recipient.index, now));
        if ours && let Some(dot) = &self.dot {
            dot.store(true, Ordering::Release);
        }
        ours
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.recipients.is_empty() {
            return;
        }
        if self.dot.as_ref().is_some_and(|dot| dot.load(Ordering::Acquire)) {
            let due = later(self.lease.store_now(), AFTER_A_DOT);
            let outcome = Outcome::Deferred {
                due,
                delay_notified: false,
            };
            let text = "stopped while waiting for the reply after the final dot -- the message may be delivered more than once";
            self.end_all(&outcome, text);
        } else if self.stopping.load(Ordering::Acquire) {
            self.release(Duration::ZERO);
        } else {
            self.release(AFTER_A_FAULT);
        }
    }
}
