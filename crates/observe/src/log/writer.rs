//! The log's buffer and the thread that writes it out.
//!
//! `write` formats into a buffer under a short lock and returns; the thread swaps the buffer for
//! an empty one and writes it to the sink. A reader that is stuck stops the thread only: beyond
//! [`MAX_BUFFER`] lines are dropped and counted, and one line says so when the reader is back.
//! An idle log is written at once; under load the thread wakes every [`PAUSE`], so that a
//! line costs no system call.

use super::clock::Clock;
use super::{LogSettings, format_line};
use crate::event::Event;
use crate::labels::Level;
use crate::metrics::Counts;
use parking_lot::{Condvar, Mutex};
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Octets held for the reader; lines beyond are dropped.
pub(crate) const MAX_BUFFER: usize = 4 << 20;
/// Octets that end the thread's pause early, so that a burst does not fill the buffer.
const HURRY: usize = 512 << 10;
/// A buffer larger than this is not kept for the next batch.
const KEEP: usize = 256 << 10;
/// Between batches under load.
const PAUSE: Duration = Duration::from_millis(25);
/// Before another try when the sink would block.
const RETRY: Duration = Duration::from_millis(5);
/// Longest wait of [`Log::flush`].
const FLUSH: Duration = Duration::from_secs(2);

/// The log. Dropping it lets the thread write what is left, and end.
#[derive(Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// [`LogSettings`], packed: level, and 16 for JSON.
    settings: AtomicU8,
    state: Mutex<State>,
    /// Tells the thread that there is something to do.
    work: Condvar,
    /// Tells [`Log::flush`] that all is written.
    written: Condvar,
    /// `smtp_log_lines_dropped_total`.
    dropped: Counts<()>,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    clock: Clock,
    /// Lines dropped since the last line that said so.
    dropped: u64,
    thread: Thread,
    /// A batch is being written.
    writing: bool,
    flush: bool,
    stop: bool,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// Writes, or is about to look at the buffer.
    #[default]
    Awake,
    /// Lets lines gather.
    Pausing,
    /// Waits for a line.
    Idle,
}

impl Log {
    /// Starts the thread that writes to `sink`. Without a thread, lines are dropped and counted.
    pub(crate) fn start(settings: LogSettings, sink: Box<dyn Write + Send>, dropped: Counts<()>) -> Log {
        let shared = Arc::new(Shared {
            settings: AtomicU8::new(pack(settings)),
            state: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
            dropped,
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_out(&theirs, sink));
        if let Err(error) = thread {
            let _ = writeln!(
                std::io::stderr(),
                "cannot start the log's thread, nothing is logged: {error}"
            );
        }
        Log { shared }
    }

    /// Changes level and format.
    pub(crate) fn set(&self, settings: LogSettings) {
        self.shared.settings.store(pack(settings), Ordering::Relaxed);
    }

    /// Appends the event's line, if its level is wanted.
    pub(crate) fn write(&self, event: &Event<'_>) {
        let settings = self.shared.settings.load(Ordering::Relaxed);
        if event.level() as u8 >= settings & 15 {
            self.append(event, settings & 16 != 0);
        }
    }

    fn append(&self, event: &Event<'_>, json: bool) {
        let now = SystemTime::now();
        let mut state = self.shared.state.lock();
        if state.buffer.len() >= MAX_BUFFER {
            state.dropped += 1;
            self.shared.dropped.add((), 1);
            return;
        }
        let State { buffer, clock, .. } = &mut *state;
        format_line(buffer, clock, now, json, event);
        let wake = match state.thread {
            Thread::Awake => false,
            Thread::Pausing => state.buffer.len() >= HURRY,
            Thread::Idle => true,
        };
        if wake {
            // Marked here, so that the lines that follow need not wake it again.
            state.thread = Thread::Awake;
            drop(state);
            self.shared.work.notify_one();
        }
    }

    /// Waits until everything is written, at most 2 seconds.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + FLUSH;
        let mut state = self.shared.state.lock();
        while state.writing || !state.buffer.is_empty() || state.dropped > 0 {
            state.flush = true;
            self.shared.work.notify_one();
            if self.shared.written.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.work.notify_one();
    }
}

fn pack(settings: LogSettings) -> u8 {
    settings.level as u8 | if settings.json { 16 } else { 0 }
}

/// The thread.
fn write_out(shared: &Shared, mut sink: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    while next_batch(shared, &mut batch) {
        if !write_all(&mut *sink, &batch) {
            let lines = batch.iter().filter(|&&b| b == b'\n').count();
            shared.dropped.add((), lines as u64);
        }
        batch.clear();
        batch.shrink_to(KEEP);
        pause(shared);
    }
}

/// Waits for lines and takes them all. False at the end.
fn next_batch(shared: &Shared, batch: &mut Vec<u8>) -> bool {
    let mut state = shared.state.lock();
    while state.buffer.is_empty() && state.dropped == 0 {
        shared.written.notify_all();
        state.flush = false;
        if state.stop {
            return false;
        }
        state.thread = Thread::Idle;
        shared.work.wait(&mut state);
    }
    state.thread = Thread::Awake;
    state.writing = true;
    std::mem::swap(&mut state.buffer, batch);
    let lines = std::mem::take(&mut state.dropped);
    if lines > 0 {
        let json = shared.settings.load(Ordering::Relaxed) & 16 != 0;
        format_line(
            batch,
            &mut state.clock,
            SystemTime::now(),
            json,
            &Event::LogDropped { lines },
        );
    }
    true
}

/// Lets lines gather after a batch, unless somebody waits for them.
fn pause(shared: &Shared) {
    let mut state = shared.state.lock();
    state.writing = false;
    if state.flush || state.stop || state.buffer.len() >= HURRY {
        return;
    }
    state.thread = Thread::Pausing;
    shared.work.wait_for(&mut state, PAUSE);
    state.thread = Thread::Awake;
}

/// Writes all of `batch`. False when the sink is broken.
fn write_all(sink: &mut dyn Write, mut batch: &[u8]) -> bool {
    while !batch.is_empty() {
        match sink.write(batch) {
            Ok(0) => return false,
            Ok(written) => batch = batch.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(_) => return false,
        }
    }
    sink.flush().is_ok()
}

/// Levels fit the packed settings.
const _: () = assert!((Level::Error as u8) < 16);
