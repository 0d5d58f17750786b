//! One next hop: the jobs that wait for it, how many lanes (connections) it gets, and when it is left alone.
//!
//! How many lanes it gets is the business of [`lanes`]. A connection that fails while others live lowers the number to those; one that
//! fails while none lives takes the next hop down: its jobs are deferred together, and nobody
//! tries it until the back-off ends. Then a single lane probes it. A job begins only when its rate has a message left ([`rate`]).
//!
//! No sockets, clocks or tasks in here: the caller brings the time and starts the lanes.

mod answers;
mod lanes;
mod rate;

pub use answers::Standing;
pub(crate) use answers::{Apart, Failed, Pushed, Succeeded, Turn};
use lanes::Lanes;
use rate::Rate;
use smtp::Reply;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Lanes a next hop gets before it has proved itself.
pub(crate) const START: usize = 2;
/// Messages in a row that a next hop breaks off, before it counts as failed.
const STUMBLES: u32 = 3;

/// For how long no message is begun ahead after one got no answer, or waited for long.
const NONE_AHEAD: Duration = Duration::from_secs(300);

/// Something that waits for a next hop.
pub(crate) trait Load {
    /// How many recipients it stands for.
    fn recipients(&self) -> usize;
}

#[derive(Debug)]
enum Health {
    Up,
    Down { until: Instant, reason: Arc<Reply> },
    Probing,
}

/// One next hop.
#[derive(Debug)]
pub(crate) struct Destination<J> {
    waiting: VecDeque<J>,
    recipients: usize,
    /// Recipients of the jobs that lanes have.
    working: usize,
    /// Since when lanes have worked for it and ended nothing.
    since: Option<Instant>,
    /// It answered, and was not down since.
    proven: bool,
    pub(crate) lanes: Lanes,
    rate: Rate,
    failures: u32,
    stumbles: u32,
    health: Health,
    /// No job is begun with the end of the one before until then.
    none_ahead_until: Option<Instant>,
    /// When and why it could not be talked to the last time.
    last_failure: Option<(Instant, Arc<Reply>)>,
}

impl<J: Load> Destination<J> {
    /// A next hop that nobody has tried, with at most `cap` lanes.
    pub(crate) fn new(cap: usize) -> Self {
        Destination {
            waiting: VecDeque::new(),
            recipients: 0,
            working: 0,
            since: None,
            proven: false,
            lanes: Lanes::new(cap),
            rate: Rate::default(),
            failures: 0,
            stumbles: 0,
            health: Health::Up,
            none_ahead_until: None,
            last_failure: None,
        }
    }

    /// One that needs no slow start: it is on this machine.
    pub(crate) fn without_slow_start(cap: usize) -> Self {
        let mut destination = Destination::new(cap);
        destination.lanes.allow_all();
        destination
    }

    /// How it stands now, for people.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        Standing {
            down_until: match self.health {
                Health::Down { until, .. } => Some(until).filter(|until| now < *until),
                _ => None,
            },
            // A back-off that is over is a probe that has not come yet.
            probing: !matches!(self.health, Health::Up) && !self.is_down(now),
            waiting: self.recipients,
            sending: self.working,
            connections: self.lanes.connections(),
            allowed: self.lanes.allowed,
            cap: self.lanes.cap(),
            rate: self.rate.per_second(),
            waits_for_rate: self.waits_for_rate(now),
            failures: self.failures,
            last_failure: self.last_failure.clone(),
        }
    }

    /// Recipients that wait.
    pub(crate) fn waiting_recipients(&self) -> usize {
        self.recipients
    }

    /// Recipients that wait, and those of the jobs that lanes have.
    pub(crate) fn in_hand(&self) -> usize {
        self.recipients + self.working
    }

    /// Whether it answered, and was not down since.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether others are not to wait for it: lanes work for it but have ended no transaction for as long as `after`; or it has mail, and has not
    /// answered since it was down; or it waits for its rate. Who only waits for a place does not hang.
    pub(crate) fn apart(&self, now: Instant, after: Duration) -> Option<Apart> {
        let silent = |since| now.saturating_duration_since(since) >= after;
        if self.working > 0 && self.since.is_some_and(silent) {
            return Some(Apart::Hangs);
        }
        if self.in_hand() > 0 && matches!(self.health, Health::Probing) {
            return Some(Apart::Probed);
        }
        self.waits_for_rate(now).then_some(Apart::Paced)
    }

    /// Whether mail waits because no message may go now.
    pub(crate) fn waits_for_rate(&self, now: Instant) -> bool {
        !self.waiting.is_empty() && self.rate.wait(now).is_some()
    }

    /// Whether as many messages wait as its rate lets go in a while: more had better wait in the store.
    pub(crate) fn is_ahead_of_rate(&self) -> bool {
        self.waiting.len() >= self.rate.ahead()
    }

    /// For how long a job goes back to the store that its rate leaves no room for.
    pub(crate) fn turn_in_store(&mut self, now: Instant) -> Duration {
        self.rate.turn(now)
    }

    /// Gives back what waits beyond `share` recipients or is more than its rate lets go in a while, the newest first. One job stays, or
    /// nothing would end its hanging.
    pub(crate) fn shed(&mut self, share: usize) -> Vec<J> {
        let mut beyond = Vec::new();
        let ahead = self.rate.ahead();
        while (self.in_hand() > share || self.waiting.len() > ahead)
            && (self.waiting.len() > 1 || self.working > 0)
        {
            let Some(job) = self.waiting.pop_back() else { break };
            self.recipients = self.recipients.saturating_sub(job.recipients());
            beyond.push(job);
        }
        beyond
    }

    /// Why it is left alone now, if it is.
    pub(crate) fn down(&self, now: Instant) -> Option<&Arc<Reply>> {
        match &self.health {
            Health::Down { until, reason } if now < *until => Some(reason),
            _ => None,
        }
    }

    /// Whether it is left alone now.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.down(now).is_some()
    }

    /// Lets the next job be the probe, now rather than when the back-off is over.
    pub(crate) fn end_back_off(&mut self, now: Instant) {
        if let Health::Down { until, .. } = &mut self.health {
            *until = now.min(*until);
        }
    }

    /// Whether nothing is lost by forgetting it.
    pub(crate) fn is_forgettable(&self, now: Instant) -> bool {
        let idle = self.lanes.count == 0 && self.waiting.is_empty();
        idle && !self.is_down(now) && self.failures == 0 && self.rate.is_full(now)
    }

    /// Forgets failures whose back-off ended `ago` or longer ago: nobody sent anything there since.
    pub(crate) fn forgive(&mut self, now: Instant, ago: Duration) {
        if let Health::Down { until, .. } = self.health
            && now.saturating_duration_since(until) > ago
        {
            self.health = Health::Probing;
            self.failures = 0;
        }
    }

    /// A new job.
    pub(crate) fn push(&mut self, job: J, now: Instant) -> Pushed<J> {
        if let Health::Down { until, reason } = &self.health {
            if now < *until {
                return Pushed::Down(job, reason.clone());
            }
            self.health = Health::Probing;
            self.lanes.only_one();
        }
        self.recipients += job.recipients();
        self.waiting.push_back(job);
        match self.turn(now) {
            Turn::Wake(lane) => Pushed::Wake(lane),
            Turn::Spawn => Pushed::Spawn,
            Turn::Wait(_) => Pushed::Paced,
            Turn::Nothing => Pushed::Waits,
        }
    }

    /// What is to be done for what waits.
    pub(crate) fn turn(&mut self, now: Instant) -> Turn {
        if self.waiting.is_empty() {
            return Turn::Nothing;
        }
        if let Some(wait) = self.rate.wait(now) {
            return Turn::Wait(wait);
        }
        if let Some(lane) = self.lanes.wake() {
            return Turn::Wake(lane);
        }
        match self.lanes.start() {
            true => Turn::Spawn,
            false => Turn::Nothing,
        }
    }

    /// Whether its rate is limited.
    pub(crate) fn is_paced(&self) -> bool {
        self.rate.per_second().is_some()
    }

    /// A job that its lane cannot do goes back to the front; a lane to wake for it.
    pub(crate) fn give_back(&mut self, job: J) -> Option<Arc<Notify>> {
        self.recipients += job.recipients();
        self.waiting.push_front(job);
        self.lanes.wake()
    }

    /// The next job for a lane, if a message may go; the lane says [`Destination::rest`] when it is done with it.
    pub(crate) fn take(&mut self, now: Instant) -> Option<J> {
        if self.waiting.is_empty() || !self.rate.take(now) {
            return None;
        }
        let job = self.waiting.pop_front()?;
        if self.working == 0 {
            self.since = Some(now);
        }
        self.recipients = self.recipients.saturating_sub(job.recipients());
        self.working += job.recipients();
        Some(job)
    }

    /// The next job for a lane that still waits for the reply to the one before; only if no other lane could have it now, and it fits.
    pub(crate) fn take_ahead(&mut self, now: Instant, fits: impl FnOnce(&J) -> bool) -> Option<J> {
        let may = self.none_ahead_until.is_none_or(|until| until <= now)
            && self.lanes.all_are_busy()
            && self.waiting.front().is_some_and(fits);
        if may { self.take(now) } else { None }
    }

    /// A job that was begun ahead got no answer, or waited for long: for a while none is.
    pub(crate) fn begin_none_ahead(&mut self, now: Instant) {
        self.none_ahead_until = Some(now + NONE_AHEAD);
    }

    /// A lane is done with a job of so many recipients, whatever became of them.
    pub(crate) fn rest(&mut self, recipients: usize) {
        self.working = self.working.saturating_sub(recipients);
    }

    /// The job that was taken last was not sent to anybody: another may go in its place.
    pub(crate) fn not_sent(&mut self) {
        self.rate.give_back();
    }

    /// The next job; if there is none, the lane is parked and woken by `lane` when there is.
    pub(crate) fn take_or_park(&mut self, lane: &Arc<Notify>, now: Instant) -> Option<J> {
        let job = self.take(now);
        if job.is_none() {
            self.lanes.park(lane);
        }
        job
    }

    /// Everything that waits.
    pub(crate) fn take_all(&mut self) -> Vec<J> {
        self.recipients = 0;
        self.waiting.drain(..).collect()
    }

    /// A job was done, with whatever replies.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.since = Some(now);
        self.proven = true;
    }

    /// The next hop answered a transaction, with whatever replies.
    pub(crate) fn succeeded(&mut self, now: Instant) -> Succeeded {
        self.answered(now);
        let recovered = self.failures > 0;
        if !matches!(self.health, Health::Up) {
            self.health = Health::Up;
            self.lanes.start_anew();
        }
        self.failures = 0;
        self.stumbles = 0;
        self.lanes.succeeded(!self.waiting.is_empty());
        let spawn = self.lanes.none_parked() && self.wants_lane(now);
        Succeeded { recovered, spawn }
    }

    /// No server of the next hop could be talked to. `backoff` says for how long it is
    /// left alone after so many failures in a row. The lane that says so has no connection.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        reason: Arc<Reply>,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> Failed<J> {
        self.stumbles = 0;
        self.last_failure = Some((now, reason.clone()));
        if self.lanes.fewer() {
            return Failed::Fewer;
        }
        // Lanes that were connecting at the same time tell of the same failure: it counts once.
        if let Health::Down { until, .. } = self.health
            && now < until
        {
            return Failed::Down {
                first: false,
                retry_in: until.duration_since(now),
                waiting: self.take_all(),
            };
        }
        self.proven = false;
        self.failures = self.failures.saturating_add(1);
        let retry_in = backoff(self.failures);
        self.health = Health::Down {
            until: now + retry_in,
            reason,
        };
        self.lanes.only_one();
        Failed::Down {
            first: true,
            retry_in,
            waiting: self.take_all(),
        }
    }

    /// A server was there but broke off in the middle of a message. Whether that happened so often in a
    /// row that the message is not to blame: the next hop has failed.
    pub(crate) fn stumbled(&mut self) -> bool {
        self.lanes.broke_off();
        self.stumbles = self.stumbles.saturating_add(1);
        self.stumbles >= STUMBLES
    }

    /// Changes the time from one message to the next; `None`: there is no limit.
    pub(crate) fn set_interval(&mut self, interval: Option<Duration>) {
        self.rate.set(interval);
    }

    /// A lane ended. Whether another is to be started in its place (it is counted already).
    pub(crate) fn lane_ended(&mut self, now: Instant) -> bool {
        self.lanes.ended();
        self.wants_lane(now)
    }

    /// A lane that was to be started was not; whether it is to be tried again later.
    pub(crate) fn lane_refused(&mut self) -> bool {
        self.lanes.ended();
        !self.waiting.is_empty()
    }

    /// Whether jobs wait that a new lane could do now; it is counted then.
    pub(crate) fn wants_lane(&mut self, now: Instant) -> bool {
        !self.waiting.is_empty() && self.rate.wait(now).is_none() && self.lanes.start()
    }

    /// Whether a lane may give up its place for another next hop's.
    pub(crate) fn can_spare_lane(&self) -> bool {
        self.lanes.count > 1 || self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
