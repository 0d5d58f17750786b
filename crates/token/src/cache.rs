//! The keys at hand, and when their source is asked again.
//!
//! One rule for all reasons to ask: the source is asked when its file has changed, or when the last time is
//! a minute ago. So neither a source that fails nor a flood of tokens with unknown keys makes a flood of
//! requests. One asks at a time; who comes meanwhile waits and shares the answer.

use crate::keys::KeySet;
use crate::source::Stamp;
use crate::{KeySource, SourceError};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// After which time the source is asked again although nothing asks for it.
const FRESH: Duration = Duration::from_secs(3600);
/// How long the source is left alone after it was asked.
const PAUSE: Duration = Duration::from_secs(60);

/// Says what time it is.
pub(crate) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// The keys of one source.
pub(crate) struct Cache {
    source: KeySource,
    clock: Clock,
    held: RwLock<Held>,
    /// Whose turn it is to ask.
    turn: Mutex<()>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Option<Arc<KeySet>>,
    /// When the keys came.
    since: Option<Instant>,
    /// When the source was asked last.
    asked: Option<Instant>,
    /// Of the file when it was read last.
    stamp: Option<Stamp>,
    /// Why the last time brought no keys.
    error: Option<SourceError>,
}

impl Held {
    fn may_ask(&self, now: Instant) -> bool {
        is_past(self.asked, PAUSE, now)
    }

    fn is_stale(&self, now: Instant) -> bool {
        is_past(self.since, FRESH, now)
    }
}

fn is_past(since: Option<Instant>, time: Duration, now: Instant) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= time)
}

impl Cache {
    pub(crate) fn new(source: KeySource, clock: Clock) -> Self {
        Self {
            source,
            clock,
            held: RwLock::default(),
            turn: Mutex::new(()),
        }
    }

    /// The keys to use now. Waits for the source only when there are none yet or its file has changed;
    /// old keys are renewed beside.
    pub(crate) async fn current(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let stamp = self.source.stamp().await;
        let held = self.held.read().clone();
        let now = (self.clock)();
        if held.keys.is_none() || held.stamp != stamp {
            self.asked().await;
        } else if held.is_stale(now) && held.may_ask(now) {
            drop(self.ask());
        }
        self.held.read().keys.clone()
    }

    /// Newer keys than these, if they can be had now.
    pub(crate) async fn newer(self: &Arc<Self>, than: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        self.asked().await;
        let keys = self.held.read().keys.clone();
        keys.filter(|keys| !Arc::ptr_eq(keys, than))
    }

    /// Why the source brought no keys when it was asked last.
    pub(crate) fn error(&self) -> Option<SourceError> {
        self.held.read().error.clone()
    }

    /// Waits until the source was asked.
    async fn asked(self: &Arc<Self>) {
        // It fails only when the runtime ends.
        self.ask().await.unwrap_or_default();
    }

    /// Asks the source, if the rule allows it: in a task of its own, so that a client who leaves while it
    /// waits does not take the answer away from the others.
    fn ask(self: &Arc<Self>) -> JoinHandle<()> {
        let cache = self.clone();
        tokio::spawn(async move { cache.ask_in_turn().await })
    }

    async fn ask_in_turn(&self) {
        let _turn = self.turn.lock().await;
        let stamp = self.source.stamp().await;
        let now = (self.clock)();
        {
            let mut held = self.held.write();
            if held.stamp == stamp && !held.may_ask(now) {
                return;
            }
            held.asked = Some(now);
        }
        let answer = self.source.load().await;
        let mut held = self.held.write();
        held.stamp = stamp;
        match answer {
            Ok(keys) => {
                held.keys = Some(Arc::new(keys));
                held.since = Some(now);
                held.error = None;
            }
            Err(error) => held.error = Some(error),
        }
    }
}
