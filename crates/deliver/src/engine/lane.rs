//! A lane: one task, at most one connection, one job after the other for one next hop.
//!
//! A job gets one attempt: on the connection that is open, or on new ones to the servers of the next hop in their
//! order until one has taken or refused the message. A connection that was open and turns out dead costs nothing.

use super::attempt::Tried;
use super::job::Job;
use super::{Engine, LaneGuard, Stop};
use crate::connection::Connection;
use crate::route::Hop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

/// Longest life of a connection.
pub(super) const LIFE: Duration = Duration::from_secs(300);
/// Jobs a lane may do while lanes of other next hops that answer wait for a place.
const JOBS_UNDER_PRESSURE: u32 = 20;

/// Works until nothing waits.
pub(super) async fn run(mut guard: LaneGuard, hop: Arc<Hop>) {
    guard.runs();
    let engine = guard.engine.clone();
    let entry = guard.entry.clone();
    let mut lane = Lane {
        stop: engine.stop.subscribe(),
        engine: engine.clone(),
        dot: guard.token.dot.clone(),
        guard,
        hop,
        connection: None,
        wake: Arc::new(Notify::new()),
        moves: Arc::default(),
        resolving: Duration::ZERO,
        ahead: None,
        in_transaction: false,
        ended: false,
    };
    let (mut jobs, began) = (0u32, Instant::now());
    while let Some(job) = lane.next_job().await {
        lane.guard.works(job.recipients.len());
        lane.serve(job).await;
        lane.guard.rests();
        jobs = jobs.saturating_add(1);
        if lane.ended
            || lane.ahead.is_none() && engine.place_is_wanted(&entry, jobs >= JOBS_UNDER_PRESSURE, began)
        {
            break;
        }
    }
    lane.close().await;
}

pub(super) struct Lane {
    pub(super) engine: Arc<Engine>,
    pub(super) guard: LaneGuard,
    pub(super) hop: Arc<Hop>,
    pub(super) connection: Option<Connection>,
    wake: Arc<Notify>,
    dot: Arc<AtomicBool>,
    /// Counts what moves on its connections.
    pub(super) moves: Arc<AtomicU64>,
    /// How long it took to find the servers of its connection.
    pub(super) resolving: Duration,
    /// The next job, begun with the end of the one before.
    pub(super) ahead: Option<Job>,
    pub(super) stop: watch::Receiver<Stop>,
    /// The connection is in the middle of something: it cannot say QUIT.
    in_transaction: bool,
    pub(super) ended: bool,
}

impl Lane {
    /// The next job; waits for one as long as an open connection is worth keeping. None when there are too many lanes.
    async fn next_job(&mut self) -> Option<Job> {
        if !self.engine.may_begin(&mut self.stop).await {
            return None;
        }
        if let Some(job) = self.ahead.take() {
            return Some(job);
        }
        let idle = self.engine.parts.load().config.delivery.idle_timeout;
        let deadline = tokio::time::Instant::now() + idle;
        loop {
            if self.guard.must_leave() {
                return None;
            }
            let worth_it = self
                .connection
                .as_ref()
                .is_some_and(|connection| connection.is_open(LIFE))
                && !self.engine.someone_starves();
            if !worth_it {
                return self.take();
            }
            let entry = &self.guard.entry;
            let job = entry.state.lock().take_or_park(&self.wake, Instant::now());
            self.engine.turn_if_paced(entry);
            if job.is_some() {
                return job;
            }
            let again = tokio::select! {
                () = self.wake.notified() => true,
                () = sleep_until(deadline) => false,
                _ = self.stop.changed() => false,
            };
            entry.state.lock().lanes.unpark(&self.wake);
            if *self.stop.borrow() != Stop::Running {
                return None;
            }
            if !again {
                return self.take();
            }
        }
    }

    fn take(&self) -> Option<Job> {
        let job = self.guard.entry.take();
        self.engine.turn_if_paced(&self.guard.entry);
        job
    }

    /// Does one job. What is before its final dot is given up at once when the server stops, and when nothing moves
    /// while others wait for a connection.
    async fn serve(&mut self, mut job: Job) {
        self.dot.store(false, Ordering::Release);
        job.dot = Some(self.dot.clone());
        let dot = self.dot.clone();
        let mut stop = self.stop.clone();
        let (engine, moves) = (self.engine.clone(), self.moves.clone());
        let recipients = job.recipients.len();
        self.in_transaction = true;
        tokio::select! {
            biased;
            () = self.deliver(job) => self.in_transaction = false,
            () = stopped(&mut stop, &dot) => self.ended = true,
            () = engine.must_make_room(recipients, &moves, &dot) => self.make_room().await,
        }
    }

    async fn deliver(&mut self, mut job: Job) {
        let started = Instant::now();
        job.drop_lost();
        self.engine.park(&mut job, &self.guard.entry.name);
        if job.recipients.is_empty() {
            self.leave_begun();
            return self.guard.entry.state.lock().not_sent();
        }
        let Some(body) = self.engine.content_of(&mut job).await else {
            self.leave_begun();
            return self.guard.entry.state.lock().not_sent();
        };
        if let Some(connection) = self.connection.take_if(|connection| !connection.is_open(LIFE)) {
            self.guard.disconnected();
            tokio::spawn(connection.quit());
        }
        if self.connection.is_some() {
            match self.attempt(job, &body, started).await {
                Tried::Done => return,
                Tried::NotYet(back, _) => job = back,
            }
        }
        self.on_new_connections(job, &body, started).await;
    }

    async fn close(mut self) {
        // Before the drain is told that this lane has ended: what is given back is written then.
        drop(self.ahead.take());
        if let Some(connection) = self.connection.take()
            && !self.in_transaction
        {
            self.guard.disconnected();
            connection.quit().await;
        }
    }
}

/// Ends when the job has to: at a drain before its final dot, or when the drain's time is over.
async fn stopped(stop: &mut watch::Receiver<Stop>, dot: &AtomicBool) {
    loop {
        match *stop.borrow_and_update() {
            Stop::Draining if !dot.load(Ordering::Acquire) => return,
            Stop::Abort => return,
            Stop::Running | Stop::Draining => {}
        }
        if stop.changed().await.is_err() {
            return;
        }
    }
}
