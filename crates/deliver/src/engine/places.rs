//! Places for connections: `delivery.max_connections` in all, shared by all next hops.
//!
//! A next hop whose lane found no place waits in line; whoever ends a lane starts one for the first
//! in line, and while there is a line, idle lanes end and long busy ones make room. There are two lines, one for
//! next hops that have answered before: places go to both in turn, so that next hops that hang keep each other
//! waiting, and not those that answer.

use super::held::{Holder, Token};
use super::job::Job;
use super::{Engine, Entry, Key, lane, local_lane};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Who has a place, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: AtomicUsize,
    lines: Mutex<Lines<Arc<Entry>>>,
    in_line: AtomicUsize,
    /// Those of them that have answered before.
    proven_in_line: AtomicUsize,
}

impl Places {
    /// Connections, those being opened included.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, most: usize) -> bool {
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .is_ok()
    }

    fn wait_in_line(&self, entry: &Arc<Entry>, proven: bool) {
        let mut lines = self.lines.lock();
        if !lines.all().any(|other| Arc::ptr_eq(other, entry)) {
            lines.push(entry.clone(), proven);
        }
        self.count(&lines);
    }

    fn first_in_line(&self) -> Option<Arc<Entry>> {
        let mut lines = self.lines.lock();
        let first = lines.pop();
        self.count(&lines);
        first
    }

    fn count(&self, lines: &Lines<Arc<Entry>>) {
        self.in_line.store(lines.all().count(), Ordering::Release);
        self.proven_in_line.store(lines.proven.len(), Ordering::Release);
    }
}

/// Who waits for a place.
#[derive(Debug)]
struct Lines<T> {
    proven: VecDeque<T>,
    others: VecDeque<T>,
    /// Whose turn it is, when both lines have somebody.
    proven_next: bool,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Lines {
            proven: VecDeque::new(),
            others: VecDeque::new(),
            proven_next: true,
        }
    }
}

impl<T> Lines<T> {
    fn all(&self) -> impl Iterator<Item = &T> {
        self.proven.iter().chain(&self.others)
    }

    fn push(&mut self, item: T, proven: bool) {
        match proven {
            true => self.proven.push_back(item),
            false => self.others.push_back(item),
        }
    }

    /// From both lines in turn, so that neither starves.
    fn pop(&mut self) -> Option<T> {
        let proven_next = self.proven_next;
        self.proven_next = !proven_next;
        let (next, after) = match proven_next {
            true => (&mut self.proven, &mut self.others),
            false => (&mut self.others, &mut self.proven),
        };
        next.pop_front().or_else(|| after.pop_front())
    }
}

impl Engine {
    /// Takes a place for a connection, if one is free.
    pub(super) fn take_place(&self) -> bool {
        self.places
            .take(self.parts.load().config.delivery.max_connections.max(1))
    }

    /// Gives one back, to whoever waits for it.
    pub(super) fn give_place_back(&self) {
        self.places.taken.fetch_sub(1, Ordering::AcqRel);
        self.start_first_in_line();
    }

    /// Starts a lane that its destination has counted already.
    pub(super) fn start_lane(&self, entry: &Arc<Entry>) {
        let Some(engine) = self.me.upgrade() else { return };
        match &entry.key {
            Key::Hop(hop) => {
                if !self.take_place() {
                    let mut state = entry.state.lock();
                    if state.lane_refused() {
                        self.places.wait_in_line(entry, state.is_proven());
                    }
                    return;
                }
                let guard = LaneGuard::new(engine, entry.clone());
                self.runtime.spawn(lane::run(guard, hop.clone()));
            }
            Key::Local | Key::Known => {
                let guard = LaneGuard::new(engine, entry.clone());
                self.runtime.spawn(local_lane::run(guard));
            }
        }
    }

    /// Whether a next hop waits for a place.
    pub(super) fn someone_starves(&self) -> bool {
        self.places.in_line.load(Ordering::Acquire) > 0
    }

    /// Whether a lane that works since `began` is to make room. For a next hop that answers: when it has had its share, or others of
    /// its kind go on. For one that may hang on the place: after as long as that takes to show, or a few of those would
    /// get all places from those that answer, and keep them.
    pub(super) fn place_is_wanted(&self, entry: &Entry, had_its_share: bool, began: Instant) -> bool {
        if !self.someone_starves() {
            return false;
        }
        if self.places.proven_in_line.load(Ordering::Acquire) > 0 {
            return had_its_share || entry.state.lock().can_spare_lane();
        }
        began.elapsed() >= self.hang_after()
    }

    fn start_first_in_line(&self) {
        while let Some(entry) = self.places.first_in_line() {
            // One that waits for its rate comes again when a message may go.
            if entry.state.lock().wants_lane(Instant::now()) {
                return self.start_lane(&entry);
            }
        }
    }
}

/// A running lane on the books; however it ends, they are right and its jobs find another.
#[derive(Debug)]
pub(super) struct LaneGuard {
    /// Whose lane it is.
    pub(super) engine: Arc<Engine>,
    /// Its destination.
    pub(super) entry: Arc<Entry>,
    connected: bool,
    ran: bool,
    /// It ends because there are too many.
    leaves: bool,
    /// Recipients of its job.
    working: usize,
    /// Those of the next one, which was taken already.
    ahead: usize,
    /// What a drain sees of it.
    pub(super) token: Arc<Token>,
}

impl LaneGuard {
    fn new(engine: Arc<Engine>, entry: Arc<Entry>) -> Self {
        LaneGuard {
            token: engine.holders.begin(Holder::Lane(entry.clone())),
            engine,
            entry,
            connected: false,
            ran: false,
            leaves: false,
            working: 0,
            ahead: 0,
        }
    }

    /// The lane runs. One that never does, because the runtime ends, is not replaced.
    pub(super) fn runs(&mut self) {
        self.ran = true;
    }

    /// Whether the lane, which has no job, has to end because there are too many.
    pub(super) fn must_leave(&mut self) -> bool {
        self.leaves = self.leaves || self.entry.state.lock().lanes.must_leave();
        self.leaves
    }

    /// The lane has a job of so many recipients, taken from its destination now, or ahead, when it had maybe more.
    pub(super) fn works(&mut self, recipients: usize) {
        self.working = recipients.max(std::mem::take(&mut self.ahead));
        self.token.works(recipients);
    }

    /// The lane has taken its next job, of so many recipients, before it is done with this one.
    pub(super) fn works_ahead(&mut self, recipients: usize) {
        self.ahead = recipients;
    }

    /// The lane has no next job after all: another may go in its place.
    pub(super) fn rests_ahead(&mut self) {
        let recipients = std::mem::take(&mut self.ahead);
        if recipients > 0 {
            let mut state = self.entry.state.lock();
            state.rest(recipients);
            state.not_sent();
        }
    }

    /// The lane cannot do the next job after all: it goes back to the front of the queue.
    pub(super) fn gives_back_ahead(&mut self, job: Job) {
        self.rests_ahead();
        self.back_to_the_queue(job);
    }

    /// The lane is done with its job.
    pub(super) fn rests(&mut self) {
        self.token.rests();
        self.entry.state.lock().rest(std::mem::take(&mut self.working));
    }

    /// The lane cannot do its job, or a part of it: that goes back to the front of the queue.
    pub(super) fn gives_back(&mut self, job: Job) {
        let recipients = job.recipients.len();
        self.working = self.working.saturating_sub(recipients);
        self.entry.state.lock().rest(recipients);
        self.back_to_the_queue(job);
    }

    fn back_to_the_queue(&self, job: Job) {
        let lane = self.entry.state.lock().give_back(job);
        if let Some(lane) = lane {
            lane.notify_one();
        }
    }

    /// The lane has a connection.
    pub(super) fn connected(&mut self) {
        if !std::mem::replace(&mut self.connected, true) {
            self.entry.state.lock().lanes.connected();
        }
    }

    /// The lane has it no more.
    pub(super) fn disconnected(&mut self) {
        if std::mem::replace(&mut self.connected, false) {
            self.entry.state.lock().lanes.disconnected();
        }
    }
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        self.rests();
        self.rests_ahead();
        self.disconnected();
        let engine = &self.engine;
        if matches!(self.entry.key, Key::Hop(_)) {
            if self.ran {
                engine.give_place_back();
            } else {
                engine.places.taken.fetch_sub(1, Ordering::AcqRel);
            }
        }
        let now = Instant::now();
        let mut state = self.entry.state.lock();
        if self.leaves {
            state.lanes.left();
        }
        let again = state.lane_ended(now);
        drop(state);
        if again {
            if engine.is_stopping() || !self.ran {
                let waiting = self.entry.state.lock().take_all();
                self.entry.state.lock().lane_ended(now);
                drop(waiting);
            } else {
                engine.start_lane(&self.entry);
            }
        } else if self.leaves {
            // It may have been woken for a job.
            engine.turn(&self.entry);
        } else {
            engine.turn_if_paced(&self.entry);
        }
        engine.holders.end(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn places_go_to_both_lines_in_turn() {
        let mut lines = Lines::default();
        for (item, proven) in [("a", false), ("b", false), ("C", true), ("D", true), ("c", false)] {
            lines.push(item, proven);
        }
        let order: Vec<&str> = std::iter::from_fn(|| lines.pop()).collect();
        assert_eq!(order, ["C", "a", "D", "b", "c"]);
    }
}
