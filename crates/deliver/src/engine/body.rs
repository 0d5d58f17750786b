//! The content of a job's message, at hand or read back; and what becomes of a job without it.

use super::Engine;
use super::job::Job;
use smtp_observe::Event;
use smtp_queue::{Body, Outcome, StoreError};
use std::io::ErrorKind;
use std::time::Duration;

/// When a job comes back that the store could not give the content of.
const STORE_PAUSE: Duration = Duration::from_secs(60);
/// The same where there was no room for its copy here: others are being sent, and then there is.
const ROOM_PAUSE: Duration = Duration::from_secs(5);

impl Engine {
    /// The content of a job's message. Without it the job is ended here.
    pub(super) async fn content_of(&self, job: &mut Job) -> Option<Body> {
        if job.recipients.is_empty() {
            return None;
        }
        if let Some(body) = job.body() {
            return Some(body.clone());
        }
        match self.queue.store().body(&job.message).await {
            Ok(body) => Some(body),
            Err(StoreError::Damaged(_)) => {
                // The store has quarantined it, and reported that; our leases on it are gone.
                job.recipients.clear();
                None
            }
            Err(error) => {
                self.observer.emit(Event::StoreFailed {
                    operation: "body",
                    error: &error.to_string(),
                });
                job.release(match error {
                    StoreError::Full(_) => ROOM_PAUSE,
                    _ => STORE_PAUSE,
                });
                None
            }
        }
    }

    /// The content's file could not be read.
    pub(super) fn unreadable(&self, mut job: Job, error: &std::io::Error) {
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) {
            self.quarantine(&mut job, &format!("its content cannot be read: {error}"));
        } else {
            self.observer.emit(Event::StoreFailed {
                operation: "body",
                error: &error.to_string(),
            });
            job.dot = None;
            job.release(STORE_PAUSE);
        }
    }

    fn quarantine(&self, job: &mut Job, reason: &str) {
        job.drop_lost();
        if !job.recipients.is_empty() {
            // The store reports it when that is written.
            job.end_all(&Outcome::Quarantined, reason);
        }
    }
}
