//! The task of one webhook: claims calls, makes several at a time, writes what became of them.
//!
//! A call that is not taken is tried again later and later. A receiver that takes none is left alone, and then given one call at a time
//! until it takes one: thousands that wait do not each wait for its time-out.
//!
//! A claim that ended is anybody's. So what was taken is written before anything else is claimed, also when the store was away meanwhile, and no call
//! is begun that would outlast its claim.

use super::WebhookStanding;
use super::request::{REQUEST, Refused, Target};
use jiff::Timestamp;
use parking_lot::Mutex;
use smtp_observe::{Event, Observer};
use smtp_queue::{Call, CallOutcome, CallResult, Outbox, Steady, StoreError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Calls made at a time.
const CONCURRENT: usize = 16;
/// Calls claimed at a time.
const CLAIM: usize = 64;
/// How long a claim is: time for all of them, each with its time-out.
const LEASE: Duration = Duration::from_secs(120);
/// Results that are written together, and how long they wait for each other.
const RESULTS: usize = 32;
const LINGER: Duration = Duration::from_millis(200);
/// How often it looks for calls that nobody told it of: of other servers.
const LOOK: Duration = Duration::from_secs(30);
/// Pause after the store failed.
const STORE_FAILED: Duration = Duration::from_secs(1);
/// First and longest time until a call is tried again; each is four times the one before.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// First and longest time for which a receiver that takes nothing is left alone.
const ALONE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Calls not taken, one after another, that make a receiver one that takes nothing.
const FAILURES: u32 = 3;

/// See the module.
pub(super) struct Caller {
    target: Arc<Target>,
    targets: watch::Receiver<Option<Arc<Target>>>,
    outbox: Arc<dyn Outbox>,
    observer: Observer,
    standing: Arc<Mutex<WebhookStanding>>,
    version: &'static str,
    /// Claimed, and not begun.
    waiting: VecDeque<Call>,
    /// When the claim of those ends, or earlier.
    until: Steady,
    under_way: JoinSet<(Call, Duration, Result<(), Refused>)>,
    results: Vec<CallResult>,
    /// When results are written even if there are few.
    write_at: Option<Instant>,
    /// The store did not take them.
    refused: bool,
    /// When it looks for calls.
    look_at: Instant,
    /// Calls not taken since the last that was.
    failures: u32,
    /// Until when the receiver is left alone.
    alone_until: Option<Instant>,
}

impl Caller {
    pub(super) fn new(
        target: Arc<Target>,
        targets: watch::Receiver<Option<Arc<Target>>>,
        outbox: Arc<dyn Outbox>,
        observer: Observer,
        standing: Arc<Mutex<WebhookStanding>>,
        version: &'static str,
    ) -> Caller {
        Caller {
            target,
            targets,
            outbox,
            observer,
            standing,
            version,
            waiting: VecDeque::new(),
            until: Steady::START,
            under_way: JoinSet::new(),
            results: Vec::new(),
            write_at: None,
            refused: false,
            look_at: Instant::now(),
            failures: 0,
            alone_until: None,
        }
    }

    /// Works until there is no target any more.
    pub(super) async fn run(mut self) {
        let mut stored = self.outbox.calls_stored();
        loop {
            self.write_if_due().await;
            self.claim().await;
            self.begin();
            let timer = self.next();
            tokio::select! {
                Some(done) = self.under_way.join_next() => {
                    if let Ok((call, duration, result)) = done {
                        self.note(&call, duration, result);
                    }
                }
                _ = self.targets.changed() => {
                    if self.take_target() {
                        return self.end().await;
                    }
                }
                changed = stored.changed() => match changed {
                    Ok(()) => self.look_at = self.look_at.min(Instant::now()),
                    // The store is gone.
                    Err(_) => return,
                },
                () = sleep_until(timer) => {}
            }
        }
    }

    /// There is another target, or somebody says that it stands better now. Gives whether it is to end.
    fn take_target(&mut self) -> bool {
        let target = self.targets.borrow_and_update().clone();
        let ends = target.is_none();
        self.target = target.unwrap_or_else(|| self.target.clone());
        (self.alone_until, self.look_at) = (None, Instant::now());
        ends
    }

    fn name(&self) -> String {
        self.target.webhook.name.clone()
    }

    fn is_down(&self) -> bool {
        self.standing.lock().down
    }

    /// Takes more from the store when it has none left and could begin some. Not while the store owes it an answer: calls that were taken would
    /// be claimed, and made again.
    async fn claim(&mut self) {
        let now = Instant::now();
        let busy = !self.waiting.is_empty() || self.under_way.len() >= CONCURRENT || self.refused;
        if busy || self.look_at > now || self.alone_until.is_some_and(|until| until > now) {
            return;
        }
        let limit = match self.is_down() {
            true if !self.under_way.is_empty() => return,
            true => 1,
            false => CLAIM,
        };
        self.until = Steady::now() + LEASE;
        let claimed = self
            .outbox
            .claim_calls(self.name(), self.outbox.now(), LEASE, limit)
            .await;
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(_) => {
                self.look_at = now + STORE_FAILED;
                return;
            }
        };
        // As many as it asked for: there are more.
        if claimed.len() < limit {
            self.look_at = self.next_call().await;
        }
        self.waiting.extend(claimed);
    }

    /// When the store will have a call that is due.
    async fn next_call(&self) -> Instant {
        let due = self.outbox.next_call(self.name()).await;
        let wait = match due {
            Ok(Some(due)) => Duration::try_from(due.duration_since(self.outbox.now())).unwrap_or_default(),
            Ok(None) => LOOK,
            Err(_) => STORE_FAILED,
        };
        Instant::now() + wait.min(LOOK)
    }

    /// Makes what was claimed, so many at a time; after a standstill others make it.
    fn begin(&mut self) {
        if !self.waiting.is_empty() && Steady::now() + REQUEST > self.until {
            self.waiting.clear();
            self.look_at = Instant::now();
        }
        while self.under_way.len() < CONCURRENT
            && let Some(call) = self.waiting.pop_front()
        {
            let (target, version) = (self.target.clone(), self.version);
            let now = std::time::Instant::now();
            self.standing.lock().under_way.insert(call.key, now);
            self.under_way.spawn(async move {
                let started = Instant::now();
                let result = target
                    .call(&call.event.to_string(), call.body.clone(), version)
                    .await;
                (call, started.elapsed(), result)
            });
        }
    }

    /// What became of a call.
    fn note(&mut self, call: &Call, duration: Duration, result: Result<(), Refused>) {
        self.standing.lock().under_way.remove(&call.key);
        let outcome = match result {
            Ok(()) => self.taken(call, duration),
            Err(refused) => self.refused(call, &refused),
        };
        self.results.push(CallResult {
            key: call.key,
            tries: call.tries,
            outcome,
        });
        self.write_at.get_or_insert(Instant::now() + LINGER);
    }

    fn taken(&mut self, call: &Call, duration: Duration) -> CallOutcome {
        self.failures = 0;
        self.alone_until = None;
        let was_down = {
            let mut standing = self.standing.lock();
            standing.taken += 1;
            standing.last_taken = Some(Timestamp::now());
            std::mem::take(&mut standing.down)
        };
        let webhook = &self.target.webhook.name;
        self.observer.emit(Event::WebhookTaken {
            webhook,
            call: &call.event.to_string(),
            tries: call.tries,
            duration,
        });
        if was_down {
            self.observer.emit(Event::WebhookUp { webhook });
            self.look_at = Instant::now();
        }
        CallOutcome::Done
    }

    fn refused(&mut self, call: &Call, refused: &Refused) -> CallOutcome {
        self.standing.lock().last_error = Some((Timestamp::now(), refused.reason.clone()));
        let asked = refused.retry_after.unwrap_or_default();
        let retry_in = later(AGAIN, call.tries, 4).max(asked.min(AGAIN.1));
        self.observer.emit(Event::WebhookRefused {
            webhook: &self.target.webhook.name,
            call: &call.event.to_string(),
            tries: call.tries,
            retry_in,
            reason: &refused.reason,
        });
        self.failed(&refused.reason, asked);
        let due = self.outbox.now().saturating_add(retry_in);
        CallOutcome::Again(due.unwrap_or(Timestamp::MAX))
    }

    /// One more was not taken: perhaps none is. One that never took any is not given the benefit of the doubt.
    fn failed(&mut self, reason: &str, asked: Duration) {
        if self.alone_until.is_some_and(|until| until > Instant::now()) {
            // It was under way with the one that told of this.
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let newly = {
            let mut standing = self.standing.lock();
            if self.failures < FAILURES && standing.taken > 0 {
                return;
            }
            !std::mem::replace(&mut standing.down, true)
        };
        if newly {
            self.failures = 1;
            self.observer.emit(Event::WebhookDown {
                webhook: &self.target.webhook.name,
                reason,
            });
        }
        let alone = later(ALONE, self.failures, 2).max(asked.min(ALONE.1));
        self.alone_until = Some(Instant::now() + alone);
        self.release();
    }

    /// What was not begun goes back.
    fn release(&mut self) {
        let now = self.outbox.now();
        self.results.extend(self.waiting.drain(..).map(|call| CallResult {
            key: call.key,
            tries: call.tries,
            outcome: CallOutcome::Released(now),
        }));
    }

    /// Writes results once they are many, or nothing else is to come.
    async fn write_if_due(&mut self) {
        let idle = self.waiting.is_empty() && self.under_way.is_empty();
        let due = self.write_at.is_some_and(|at| at <= Instant::now());
        let early = !self.refused && (idle || self.results.len() >= RESULTS);
        if !self.results.is_empty() && (due || early) {
            // Kept for another try when the store fails; if that is in vain, the calls are made again.
            self.refused = self.write().await.is_err();
            self.write_at = self.refused.then(|| Instant::now() + STORE_FAILED);
        }
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        self.outbox.finish_calls(self.results.clone()).await?;
        self.results.clear();
        // Those that go back, or are tried soon, change when there is something to do.
        self.look_at = self.look_at.min(self.next_call().await);
        Ok(())
    }

    /// When there is something to do, if nothing happens.
    fn next(&self) -> Instant {
        // Nothing is claimed before that.
        if let Some(at) = self.write_at.filter(|_| self.refused) {
            return at;
        }
        let look = match self.alone_until {
            Some(until) => self.look_at.max(until),
            None => self.look_at,
        };
        // With calls in hand their ends come first.
        let look = match self.waiting.is_empty() && self.under_way.is_empty() {
            true => look,
            false => look.max(Instant::now() + LINGER),
        };
        self.write_at.map_or(look, |at| look.min(at))
    }

    /// Lets what is under way end, and writes all results.
    async fn end(mut self) {
        self.release();
        while let Some(done) = self.under_way.join_next().await {
            if let Ok((call, duration, result)) = done {
                self.note(&call, duration, result);
            }
        }
        if !self.results.is_empty() {
            // If this fails they are made again.
            let _ = self.outbox.finish_calls(std::mem::take(&mut self.results)).await;
        }
    }
}

/// A time that grows by `factor` with each try, up to a bound; a fifth more or less, so that many do not come together.
fn later((first, longest): (Duration, Duration), tries: u32, factor: u32) -> Duration {
    let grown = first.saturating_mul(factor.saturating_pow(tries.saturating_sub(1)));
    grown.min(longest).mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests;
