//! Taking messages on: from reception right after their commit, from the store when they are due.
//!
//! Every recipient goes on the queue of its destination, with the others of its message that go the same way. A
//! destination gets at most as much of the window as is left free, so that there is room for the others.

use super::job::{Job, Work};
use super::{Engine, Entry, Key};
use crate::destination::Pushed;
use crate::route::{Hop, Target};
use smtp::{Enhanced, Reply};
use smtp_queue::{Claim, ClaimedRecipient, Handoff, NewMessage};
use std::sync::Arc;
use std::time::Instant;

/// Most recipients of one job.
const JOB: usize = 100;
/// Recipients that may always wait for one destination that has proved itself…
const FLOOR: usize = 64;
/// … and for one that has not.
const UNPROVEN_FLOOR: usize = 8;

/// Whether there is room for more mail for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There is.
    Room,
    /// It has as much as is left for others.
    Full,
    /// It hangs, and has its share.
    Hangs,
}

/// Where a claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From reception: there was room for it a moment ago.
    Reception,
    /// From the store: it can go back there.
    Store,
}

impl Engine {
    /// Takes a claim on: every recipient goes on the queue of its destination. Gives how many went back to the store.
    pub(super) fn take_on(&self, mut claim: Claim, source: Source) -> usize {
        let mut back = 0;
        let lease = self.window.lease(&claim);
        let body = claim.body.take().and_then(|body| self.window.hold(body));
        let message = claim.message.clone();
        for (route, recipients) in self.routed(claim) {
            let (key, work) = match route {
                Ok(Target::Maildir(template)) => (Key::Local, Work::Maildir(template)),
                Ok(Target::Capture) => (Key::Local, Work::Capture),
                Ok(Target::Hop(hop)) => (Key::Hop(hop), Work::Relay),
                Err(reply) => (Key::Known, Work::Known(Arc::new(reply))),
            };
            let mut job = Job {
                message: message.clone(),
                body: body.clone(),
                recipients,
                work,
                lease: lease.clone(),
                results: self.results.clone(),
                dot: None,
                stopping: self.stopping.clone(),
            };
            if self.is_stopping() {
                continue;
            }
            let entry = self.entry(&key);
            let fill = match source {
                Source::Store => self.fill(&entry),
                Source::Reception => Fill::Room,
            };
            if fill != Fill::Room {
                back += job.recipients.len();
                self.send_back(job, fill);
                continue;
            }
            while job.recipients.len() > JOB {
                let rest = job.split_off(JOB);
                self.push(&entry, std::mem::replace(&mut job, rest));
            }
            self.push(&entry, job);
        }
        back
    }

    /// The recipients of a claim by where they go.
    fn routed(&self, claim: Claim) -> Vec<(Result<Target, Reply>, Vec<ClaimedRecipient>)> {
        let parts = self.parts.load();
        let mut groups: Vec<(Result<Target, Reply>, Vec<ClaimedRecipient>)> = Vec::new();
        for claimed in claim.recipients {
            let route = parts.router.target(&claimed.recipient.address);
            match groups.iter_mut().find(|(known, _)| *known == route) {
                Some((_, recipients)) => recipients.push(claimed),
                None => groups.push((route, vec![claimed])),
            }
        }
        groups
    }

    fn push(&self, entry: &Arc<Entry>, job: Job) {
        let pushed = entry.state.lock().push(job, Instant::now());
        match pushed {
            Pushed::Wake(lane) => lane.notify_one(),
            Pushed::Spawn => self.start_lane(entry),
            Pushed::Waits => {}
            Pushed::Down(mut job, reason) => {
                job.work = Work::Known(Arc::new(suspended(&reason)));
                let known = self.entry(&Key::Known);
                self.push(&known, job);
            }
        }
    }

    /// A destination gets at most as much of the window as is left free, a quarter of that until it has answered, and
    /// its share when it hangs.
    pub(super) fn fill(&self, entry: &Entry) -> Fill {
        let free = self.window.free();
        let hang_after = self.hang_after();
        let state = entry.state.lock();
        if state.hangs(Instant::now(), hang_after) {
            return match state.in_hand() < self.hanging.share() {
                true => Fill::Room,
                false => Fill::Hangs,
            };
        }
        let most = match state.is_proven() {
            true => free.max(FLOOR),
            false => (free / 4).max(UNPROVEN_FLOOR),
        };
        match state.waiting_recipients() < most {
            true => Fill::Room,
            false => Fill::Full,
        }
    }
}

impl Handoff for Engine {
    fn has_room(&self, message: &NewMessage) -> bool {
        let free = self.window.free();
        if self.is_stopping() || !*self.storing.borrow() || free < message.recipients.len() {
            return false;
        }
        let parts = self.parts.load();
        let now = Instant::now();
        let mut last: Option<Arc<Hop>> = None;
        message.recipients.iter().all(|recipient| {
            let key = match parts.router.target(&recipient.address) {
                Ok(Target::Hop(hop)) if last.as_ref() == Some(&hop) => return true,
                Ok(Target::Hop(hop)) => {
                    last = Some(hop.clone());
                    Key::Hop(hop)
                }
                Ok(Target::Maildir(_) | Target::Capture) => Key::Local,
                Err(_) => return true,
            };
            let entry = self.destinations.lock().get(&key).cloned();
            entry.is_none_or(|entry| {
                let state = entry.state.lock();
                let may_wait = !state.is_down(now) && state.waiting_recipients() < free;
                drop(state);
                may_wait && self.fill(&entry) == Fill::Room
            })
        })
    }

    fn offer(&self, claim: Claim) {
        self.take_on(claim, Source::Reception);
    }

    fn wake(&self) {
        self.wake_scheduler();
    }

    fn retry_now(&self) {
        let now = Instant::now();
        for entry in self.entries() {
            entry.state.lock().end_back_off(now);
        }
        self.wake_scheduler();
    }
}

/// What jobs are told that were not even tried.
pub(super) fn suspended(reason: &Reply) -> Reply {
    let text = format!("delivery temporarily suspended: {}", reason.text);
    Reply {
        code: 451,
        enhanced: reason.enhanced.or(Some(Enhanced(4, 4, 1))),
        text: text.into(),
    }
}
