//! What the lanes report to the committer.

use super::job::Job;
use super::window::Lease;
use smtp_observe::DsnKind;
use smtp_queue::{Attempt, NewMessage, QueueId, RecipientResult};
use std::sync::Arc;
use tokio::sync::oneshot;

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
    /// Of this message.
    pub(super) message: QueueId,
    /// One for each recipient.
    pub(super) results: Vec<RecipientResult>,
    /// Notifications about them.
    pub(super) reports: Vec<Report>,
    /// Kept in force until the results are written.
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

impl Resolved {
    /// What came out for recipients of a job, and the notifications about it. From here on only the write tells whether they were still
    /// ours.
    pub(super) fn of(job: &Job, results: Vec<RecipientResult>, reports: Vec<Report>) -> Self {
        job.lease
            .settled(results.iter().map(|result| result.attempt.recipient));
        Resolved {
            message: job.message.id,
            results,
            reports,
            lease: job.lease.clone(),
        }
    }

    /// Names the leases that they are the results of.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.results.iter().map(|result| result.attempt).collect()
    }
}
