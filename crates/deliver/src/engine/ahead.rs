//! The next job of a lane, begun with the end of the one before: its MAIL, RCPT and DATA leave in one packet with the final dot, so that a
//! message costs one round trip in place of two (RFC 2920 3.1).
//!
//! Only where nobody loses by it: more waits than the lanes can take, its content is at hand, and nobody waits for the lane's place. It is not
//! bound to the reply of the one before for longer than [`PATIENCE`]: then another lane may have it, the connection is closed after that
//! reply, and for a while nothing is begun so for this next hop.

use super::attempt::outgoing;
use super::job::Job;
use super::places::LaneGuard;
use super::{Engine, Stop};
use crate::connection::Following;
use crate::route::{Hop, HopKind};
use smtp::client::Outgoing;
use smtp_config::MessagePipelining;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a job waits for the reply to the one before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the next job of a lane comes from, and where it is kept.
pub(super) struct Ahead<'a> {
    /// The connection takes no more than so many recipients; 0: no other message.
    pub(super) limit: usize,
    pub(super) engine: &'a Arc<Engine>,
    pub(super) hop: &'a Hop,
    pub(super) guard: &'a mut LaneGuard,
    pub(super) stop: &'a mut watch::Receiver<Stop>,
    pub(super) job: &'a mut Option<Job>,
}

impl Ahead<'_> {
    fn is_allowed(&self) -> bool {
        match self.engine.parts.load().config.delivery.message_pipelining {
            MessagePipelining::Never => false,
            MessagePipelining::Named => matches!(self.hop.kind, HopKind::Host(_)),
            MessagePipelining::Always => true,
        }
    }
}

impl Following for Ahead<'_> {
    fn begin(&mut self) -> Option<Outgoing> {
        let may = self.limit > 0
            && self.is_allowed()
            && *self.stop.borrow() == Stop::Running
            && *self.engine.storing.borrow()
            && !self.engine.someone_starves()
            && !self.guard.must_leave();
        if !may {
            return None;
        }
        let entry = self.guard.entry.clone();
        let fits = |job: &Job| job.body().is_some() && job.recipients.len() <= self.limit;
        let mut job = entry.state.lock().take_ahead(Instant::now(), fits)?;
        self.engine.turn_if_paced(&entry);
        self.guard.works_ahead(job.recipients.len());
        job.drop_lost();
        self.engine.park(&mut job, &entry.name);
        if job.recipients.is_empty() {
            self.guard.rests_ahead();
            return None;
        }
        let next = outgoing(&job);
        *self.job = Some(job);
        Some(next)
    }

    async fn waits(&mut self) {
        tokio::select! {
            // A next hop whose replies take so long would cost a connection for each message.
            () = sleep(PATIENCE) => self.guard.entry.state.lock().begin_none_ahead(Instant::now()),
            _ = self.stop.changed() => {}
        }
    }

    fn let_go(&mut self) {
        match self.job.take() {
            // Dropped it goes to the store, where another server finds it.
            Some(_) if self.engine.is_stopping() => self.guard.rests_ahead(),
            Some(job) => {
                self.guard.gives_back_ahead(job);
                self.engine.turn(&self.guard.entry);
            }
            None => {}
        }
    }
}
