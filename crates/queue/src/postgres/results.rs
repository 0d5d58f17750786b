//! The lane of results. A batch that was left in doubt comes again: what turns out to be written then is not written twice.

use super::finish::{Finish, Written};
use super::insert::Insert;
use super::lane::{Fate, Lane, Ticket};
use crate::id::QueueId;
use crate::message::{Attempt, RecipientResult};
use crate::store::StoreError;
use jiff::Timestamp;
use std::collections::HashSet;

/// What a batch has in it.
#[derive(Debug, Default)]
struct Batch {
    attempts: HashSet<Attempt>,
    reports: HashSet<QueueId>,
}

/// The lane, and what is not clear about it.
#[derive(Debug)]
pub(super) struct Results {
    lane: Lane,
    doubtful: Option<(Ticket, Batch)>,
    /// What was written although its caller was told that it was not.
    written: Batch,
}

impl Results {
    pub(super) fn new(lane: Lane) -> Results {
        Results {
            lane,
            doubtful: None,
            written: Batch::default(),
        }
    }

    /// Writes results and reports about them, at `now` by the database's clock.
    pub(super) async fn write(
        &mut self,
        mut results: Vec<RecipientResult>,
        mut reports: Vec<Insert>,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        self.settle_doubt().await?;
        results.retain(|result| !self.written.attempts.contains(&result.attempt));
        reports.retain(|report| !self.written.reports.contains(&report.message.id));
        if results.is_empty() && reports.is_empty() {
            return Ok(Written::default());
        }
        let finish = Finish {
            results: &results,
            reports: &reports,
            now,
        };
        match self.lane.change(&finish).await? {
            Fate::Done(written) => {
                // Whoever comes with others has heard of those before.
                self.written = Batch::default();
                Ok(written)
            }
            Fate::Committed => Ok(Written::default()),
            Fate::InDoubt(ticket, error) => {
                let batch = Batch {
                    attempts: results.iter().map(|result| result.attempt).collect(),
                    reports: reports.iter().map(|report| report.message.id).collect(),
                };
                self.doubtful = Some((ticket, batch));
                Err(error.into())
            }
        }
    }

    async fn settle_doubt(&mut self) -> Result<(), StoreError> {
        let Some((ticket, batch)) = self.doubtful.take() else {
            return Ok(());
        };
        match self.lane.find_out(ticket).await {
            Some(true) => self.written = batch,
            Some(false) => {}
            None => {
                self.doubtful = Some((ticket, batch));
                let text = "it cannot be found out yet what became of the results before".to_owned();
                return Err(StoreError::Unavailable(text));
            }
        }
        Ok(())
    }
}
