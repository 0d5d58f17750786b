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
    /// What was written although its caller was told that it was not, until he comes again: perhaps in parts, and with others between.
    written: Batch,
}

impl Batch {
    fn of(results: &[RecipientResult], reports: &[Insert]) -> Batch {
        Batch {
            attempts: results.iter().map(|result| result.attempt).collect(),
            reports: reports.iter().map(|report| report.message.id).collect(),
        }
    }

    fn add(&mut self, other: Batch) {
        self.attempts.extend(other.attempts);
        self.reports.extend(other.reports);
    }

    /// Takes out of it, and out of what comes again, what is in both; gives that.
    fn told(&mut self, results: &mut Vec<RecipientResult>, reports: &mut Vec<Insert>) -> Batch {
        let mut told = Batch::default();
        results.retain(|result| {
            let known = self.attempts.take(&result.attempt);
            told.attempts.extend(known);
            known.is_none()
        });
        reports.retain(|report| {
            let known = self.reports.take(&report.message.id);
            told.reports.extend(known);
            known.is_none()
        });
        told
    }
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
        let told = self.written.told(&mut results, &mut reports);
        if results.is_empty() && reports.is_empty() {
            return Ok(Written::default());
        }
        let finish = Finish {
            results: &results,
            reports: &reports,
            now,
        };
        let error = match self.lane.change(&finish).await {
            Ok(Fate::Done(written)) => return Ok(written),
            Ok(Fate::Committed) => return Ok(Written::default()),
            Ok(Fate::InDoubt(ticket, error)) => {
                self.doubtful = Some((ticket, Batch::of(&results, &reports)));
                error
            }
            Err(error) => error,
        };
        self.written.add(told);
        Err(error.into())
    }

    async fn settle_doubt(&mut self) -> Result<(), StoreError> {
        let Some((ticket, batch)) = self.doubtful.take() else {
            return Ok(());
        };
        match self.lane.find_out(ticket).await {
            Some(true) => self.written.add(batch),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Outcome;
    use crate::postgres::client::{Client, query};
    use crate::postgres::error::Error;
    use crate::postgres::lane::{Change, GUARD, unless_late};
    use crate::postgres::tests::cluster::Cluster;
    use async_trait::async_trait;

    /// A change that changes nothing, and is committed.
    struct Nothing;

    #[async_trait]
    impl Change for Nothing {
        type Output = Ticket;
        async fn make(&self, db: &Client, ticket: Ticket) -> Result<Option<Ticket>, Error> {
            let done = unless_late(query(db, GUARD, &ticket.values()).await)?;
            Ok(done.map(|_| ticket))
        }
    }

    /// A result of a recipient that is not there: written, it would be fenced.
    fn result(message: i64) -> RecipientResult {
        let attempt = Attempt {
            message,
            recipient: 0,
            epoch: 1,
        };
        RecipientResult {
            attempt,
            outcome: Outcome::Delivered,
            text: String::new(),
            calls: Vec::new(),
        }
    }

    impl Results {
        /// The answer about these was lost, and they were written.
        async fn lose_answer(&mut self, message: i64) {
            let Ok(Fate::Done(ticket)) = self.lane.change(&Nothing).await else {
                panic!("nothing could not be changed");
            };
            self.doubtful = Some((ticket, Batch::of(&[result(message)], &[])));
        }

        /// Writes them, and gives those that were fenced.
        async fn fenced(&mut self, messages: &[i64]) -> Vec<i64> {
            let results = messages.iter().map(|message| result(*message)).collect();
            let written = self.write(results, Vec::new(), Timestamp::now()).await.unwrap();
            let fenced = written.finished.fenced.iter();
            fenced.map(|attempt| attempt.message).collect()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_in_doubt_is_not_written_twice_whatever_comes_between() {
        let cluster = Cluster::start().await;
        let store = cluster.new_store().await;
        let (link, me) = (store.shop.link.clone(), store.shop.me.clone());
        let mut results = Results::new(Lane::new(link, me, 99));
        results.lose_answer(1).await;
        assert_eq!(results.fenced(&[2]).await, [2], "others come first");
        results.lose_answer(3).await;
        assert_eq!(results.fenced(&[4]).await, [4], "and are lost in their turn");
        assert_eq!(results.fenced(&[1, 3, 5]).await, [5]);
        // That was told: nothing of it is kept.
        assert_eq!(results.fenced(&[1]).await, [1]);
    }
}
