//! Taking messages on: from reception right after their commit, from the store when they are due.
//!
//! Every recipient goes on the queue of its destination, with the others of its message that go the same way. A
//! destination gets at most as much of the window as is left free, so that there is room for the others.

use super::job::{Job, Work};
use super::{Engine, Entry, Key};
use crate::destination::{Apart, Pushed};
use crate::route::Target;
use smtp::{Enhanced, Reply};
use smtp_queue::{Claim, ClaimedRecipient, Deferred, Handoff, Intake, NewMessage, NewRecipient};
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
    /// It has its share, or as much as its rate lets go soon.
    Apart(Apart),
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
            let key = Key::of(&route);
            let work = match route {
                Ok(Target::Maildir(template)) => Work::Maildir(template),
                Ok(Target::Capture) => Work::Capture,
                Ok(Target::Hop(_)) => Work::Relay,
                Err(reply) => Work::Known(Arc::new(reply)),
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
            self.park(&mut job, &entry.name);
            if job.recipients.is_empty() {
                continue;
            }
            let fill = match source {
                Source::Store => self.fill(&entry),
                Source::Reception => Fill::Room,
            };
            if fill != Fill::Room {
                back += job.recipients.len();
                self.send_back(job, fill, &entry);
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
            Pushed::Paced => self.turn(entry),
            Pushed::Down(mut job, reason) => {
                job.work = Work::Known(Arc::new(suspended(&reason)));
                let known = self.entry(&Key::Known);
                self.push(&known, job);
            }
        }
    }

    /// A destination gets at most as much of the window as is left free, a quarter of that until it has answered, its share when others are
    /// not to wait for it, and no more than its rate lets go soon.
    pub(super) fn fill(&self, entry: &Entry) -> Fill {
        let free = self.window.free();
        let (now, hang_after) = (Instant::now(), self.hang_after());
        let state = entry.state.lock();
        let apart = state.apart(now, hang_after);
        if let Some(apart) = apart
            && state.in_hand() >= self.hanging.share()
        {
            return Fill::Apart(apart);
        }
        // Its share is its own: it is not measured by what is free.
        if matches!(apart, Some(Apart::Hangs | Apart::Probed)) {
            return Fill::Room;
        }
        if state.is_ahead_of_rate() {
            return Fill::Apart(Apart::Paced);
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

/// What there is for one recipient of a new message.
#[derive(Clone)]
enum Place {
    Room,
    NoRoom,
    /// Its next hop is left alone, for this reason.
    Down(Arc<Reply>),
}

impl Engine {
    fn place(&self, entry: Option<&Entry>, free: usize, now: Instant) -> Place {
        let Some(entry) = entry else {
            return Place::Room;
        };
        let state = entry.state.lock();
        if let Some(reason) = state.down(now) {
            return Place::Down(reason.clone());
        }
        let may_wait = state.waiting_recipients() < free;
        drop(state);
        match may_wait && self.fill(entry) == Fill::Room {
            true => Place::Room,
            false => Place::NoRoom,
        }
    }

    /// Where each recipient of a new message would find its place, in their order; a next hop is asked once.
    fn places_for(&self, message: &NewMessage, free: usize) -> Vec<Place> {
        let parts = self.parts.load();
        let now = Instant::now();
        let mut asked: Vec<(Key, Place)> = Vec::new();
        let place = |recipient: &NewRecipient| {
            let key = Key::of(&parts.router.target(&recipient.address));
            if let Some((_, place)) = asked.iter().find(|(known, _)| *known == key) {
                return place.clone();
            }
            let entry = match key {
                Key::Known => None,
                _ => self.destinations.lock().get(&key).cloned(),
            };
            let place = self.place(entry.as_deref(), free, now);
            asked.push((key, place.clone()));
            place
        };
        message.recipients.iter().map(place).collect()
    }
}

impl Handoff for Engine {
    fn intake(&self, message: &NewMessage) -> Intake {
        if self.is_stopping() || !*self.storing.borrow() || !self.knows_suspensions() {
            return Intake::NoRoom;
        }
        if let Some(until) = self.all_suspended(message) {
            return Intake::Park(until);
        }
        let free = self.window.free();
        let places = self.places_for(message, free);
        let down = places.iter().map_while(|place| match place {
            Place::Down(reason) => Some(&**reason),
            Place::Room | Place::NoRoom => None,
        });
        let mut deferrals = self.deferrals(message.received_at, down);
        if deferrals.len() == places.len() {
            self.tell_webhooks(message, &mut deferrals);
            return Intake::Defer(deferrals);
        }
        let room = places.iter().all(|place| matches!(place, Place::Room));
        match room && free >= message.recipients.len() {
            true => Intake::Room,
            false => Intake::NoRoom,
        }
    }

    fn deferred(&self, message: &Deferred) {
        self.log_deferred(message);
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
