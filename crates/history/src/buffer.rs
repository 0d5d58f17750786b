//! Where events are put down until the thread takes them: one piece of memory for all their texts, under a short lock.

use parking_lot::{Condvar, Mutex};
use smtp_observe::{DeliveryStatus, Event, JsonLines};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

/// Octets held for the thread; steps beyond are dropped.
const MAX: usize = 8 << 20;
/// Octets that end the thread's pause early.
const HURRY: usize = 1 << 20;
/// How long steps gather: most messages are delivered within it, and written once.
const PAUSE: Duration = Duration::from_millis(300);
/// Longest wait of [`Buffer::flush`].
const FLUSH: Duration = Duration::from_secs(2);
/// Memory beyond this is not kept for the next batch.
const KEEP: usize = 256 << 10;

/// A step, whose texts are in the batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// The message's queue id.
    pub(crate) id: Range<usize>,
    /// The line.
    pub(crate) line: Range<usize>,
    /// It is kept whatever its message has already: an end, of a recipient or of the message.
    pub(crate) last: bool,
    pub(crate) kind: Kind,
}

/// What a step adds to what is known of its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The message is new.
    Beginning {
        sender: Range<usize>,
        account: Option<Range<usize>>,
        message_id: Option<Range<usize>>,
        recipient: Option<Range<usize>>,
    },
    /// Something about this recipient, and what it was before an alias changed it.
    Recipient(Range<usize>, Option<Range<usize>>),
    /// The message left the queue.
    End,
    #[default]
    Other,
}

/// Steps in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    octets: Vec<u8>,
    pub(crate) notes: Vec<Note>,
    /// Steps that were dropped.
    pub(crate) dropped: u64,
}

impl Batch {
    /// A text of it.
    pub(crate) fn text(&self, range: &Range<usize>) -> &str {
        let octets = self.octets.get(range.clone()).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }

    fn add(&mut self, text: &str) -> Range<usize> {
        let start = self.octets.len();
        self.octets.extend_from_slice(text.as_bytes());
        start..self.octets.len()
    }

    fn note(&mut self, lines: &mut JsonLines, event: &Event<'_>) {
        let Some(id) = event.id() else { return };
        let start = self.octets.len();
        lines.push(&mut self.octets, SystemTime::now(), event);
        let line = start..self.octets.len();
        let id = self.add(id);
        let kind = match *event {
            Event::Received {
                from,
                account,
                message_id,
                ..
            } => Kind::Beginning {
                sender: self.add(from),
                account: account.map(|account| self.add(account)),
                message_id: message_id.map(|message_id| self.add(message_id)),
                recipient: None,
            },
            Event::DsnQueued { about, to, .. } => {
                // It is a step of both: of the report, and of the message that it is about.
                let about = self.add(about);
                self.notes.push(Note {
                    id: about,
                    line: line.clone(),
                    last: true,
                    kind: Kind::Other,
                });
                Kind::Beginning {
                    sender: 0..0,
                    account: None,
                    message_id: None,
                    recipient: Some(self.add(to)),
                }
            }
            Event::Delivery { to, orig_to, .. } => {
                Kind::Recipient(self.add(to), orig_to.map(|original| self.add(original)))
            }
            Event::Removed { .. } | Event::Deleted { .. } => Kind::End,
            _ => Kind::Other,
        };
        let last = match event {
            Event::Delivery { status, .. } => *status != DeliveryStatus::Deferred,
            Event::Removed { .. } | Event::Deleted { .. } => true,
            _ => false,
        };
        self.notes.push(Note { id, line, last, kind });
    }
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    lines: JsonLines,
    /// Batches with something in them that the thread has taken, and of these such as it has done with.
    taken: u64,
    done: u64,
    /// Somebody waits for what is in the batch now.
    flush: bool,
    stop: bool,
}

/// See the crate.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    /// Tells the thread that there is something to do.
    work: Condvar,
    /// Tells [`Buffer::flush`] that all is written.
    written: Condvar,
}

impl Buffer {
    pub(crate) fn put(&self, event: &Event<'_>) {
        if event.id().is_none() {
            return;
        }
        let mut state = self.state.lock();
        let State { batch, lines, .. } = &mut *state;
        if batch.octets.len() >= MAX {
            batch.dropped += 1;
            return;
        }
        let before = batch.octets.len();
        batch.note(lines, event);
        if before == 0 || (before < HURRY && batch.octets.len() >= HURRY) {
            self.work.notify_one();
        }
    }

    /// The next batch, once there is one and it had time to grow; the second is whether this is the end.
    pub(crate) fn take(&self, spare: Batch, idle: Duration) -> (Batch, bool) {
        let mut state = self.state.lock();
        state.done = state.taken;
        self.written.notify_all();
        if state.batch.notes.is_empty() && !state.stop {
            self.work.wait_for(&mut state, idle);
        }
        let end = Instant::now() + PAUSE;
        let grows = |state: &State| {
            !state.batch.notes.is_empty() && state.batch.octets.len() < HURRY && !state.flush && !state.stop
        };
        while grows(&state) && !self.work.wait_until(&mut state, end).timed_out() {}
        state.flush = false;
        if !state.batch.notes.is_empty() {
            state.taken += 1;
        }
        (std::mem::replace(&mut state.batch, spare), state.stop)
    }

    /// Waits until everything that was put down until now is written, at most 2 seconds. What comes meanwhile is not waited for.
    pub(crate) fn flush(&self) {
        let end = Instant::now() + FLUSH;
        let mut state = self.state.lock();
        let last = match state.batch.notes.is_empty() {
            true => state.taken,
            false => state.taken + 1,
        };
        while state.done < last && !state.stop {
            if state.taken < last {
                state.flush = true;
                self.work.notify_one();
            }
            if self.written.wait_until(&mut state, end).timed_out() {
                return;
            }
        }
    }

    /// Has the thread write what is left, and end.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.work.notify_one();
    }
}

/// An empty batch that uses the memory of one that was written, unless that is much.
pub(crate) fn emptied(mut batch: Batch) -> Batch {
    if batch.octets.capacity() > KEEP {
        return Batch::default();
    }
    batch.octets.clear();
    batch.notes.clear();
    batch.dropped = 0;
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn what_comes_while_it_is_flushed_is_not_waited_for() {
        let (buffer, ended) = (Buffer::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !buffer.take(Batch::default(), FLUSH).1 {
                    // As long as a database takes, and meanwhile there is always more.
                    thread::sleep(Duration::from_millis(20));
                }
            });
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    buffer.put(&Event::Removed { id: "01J" });
                    thread::sleep(Duration::from_micros(100));
                }
            });
            thread::sleep(Duration::from_millis(50));
            let began = Instant::now();
            buffer.flush();
            let took = began.elapsed();
            ended.store(true, Ordering::Relaxed);
            buffer.stop();
            assert!(took < PAUSE, "{took:?}");
        });
    }
}
