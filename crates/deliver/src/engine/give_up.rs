//! Mail that an operator gives up: it bounces now, and its senders are told by the ordinary rules.

use super::job::{Job, Work};
use super::settle::{Attempted, Replies};
use super::window::LEASE;
use super::{Engine, results::Input};
use smtp::{Enhanced, Reply};
use smtp_queue::{Claim, ClaimRequest, Filter, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Messages given up in one go.
const BATCH: usize = 200;
/// How long it goes on at a time.
const PATIENCE: Duration = Duration::from_secs(10);
/// What senders read when the operator said nothing.
const SAID: &str = "returned to its sender by an administrator";

impl Engine {
    /// Bounces what waits and is meant: queued, deferred and held recipients. Gives how many messages, and whether there are more:
    /// it ends after [`PATIENCE`].
    ///
    /// # Errors
    /// The store's; what was bounced before stays bounced.
    pub(crate) async fn bounce(
        &self,
        filter: &Filter,
        text: Option<&str>,
    ) -> Result<(u64, bool), StoreError> {
        let began = Instant::now();
        // RFC 3463 3.8: the refusal is a decision of ours, and will not change by trying again.
        let reply = Reply::with(550, Enhanced(5, 7, 1), text.unwrap_or(SAID).to_owned());
        let (mut touched, mut after) = (0, None);
        loop {
            let request = ClaimRequest {
                lease: self.queue.lease(LEASE, self.queue.now()),
                limit: BATCH,
                exclude_domains: Vec::new(),
            };
            let store = self.queue.store();
            let (claims, next) = store.claim_selected(filter.clone(), after, request).await?;
            touched += claims.len() as u64;
            for claim in claims {
                let job = self.known_job(claim, &reply);
                self.settle(job, Attempted::nowhere(Instant::now()), Replies::Same(&reply))
                    .await;
            }
            // One batch in hand at a time.
            let (written, flushed) = oneshot::channel();
            if self.results.send(Input::Flush(written)).is_ok() {
                let _ = flushed.await;
            }
            match next {
                Some(_) if began.elapsed() < PATIENCE => after = next,
                _ => return Ok((touched, next.is_some())),
            }
        }
    }

    /// All of a claim as one job, whose outcome is known.
    fn known_job(&self, claim: Claim, reply: &Reply) -> Job {
        Job {
            lease: self.window.lease(&claim),
            message: claim.message,
            body: None,
            recipients: claim.recipients,
            work: Work::Known(Arc::new(reply.clone())),
            results: self.results.clone(),
            dot: None,
            stopping: self.stopping.clone(),
        }
    }
}
