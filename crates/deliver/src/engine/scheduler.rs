//! Old mail: claimed from the store when it is due, as much as there is room for; and leases, renewed.

use super::hanging::away;
use super::held::Holder;
use super::intake::{Fill, Source};
use super::job::Job;
use super::moment::End;
use super::returns::Returns;
use super::window::LEASE;
use super::{Engine, Entry, Stop};
use crate::destination::Apart;
use crate::schedule::since;
use smtp_observe::Event;
use smtp_queue::{Attempt, ClaimRequest};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The scheduler looks at least so often, whatever it was told.
pub(super) const TICK: Duration = Duration::from_secs(10);
/// It claims at most so often, so that a claim is worth its while.
const PACE: Duration = Duration::from_millis(20);
/// Recipients claimed at once.
const CLAIM: usize = 500;
/// Recipients claimed at once while a destination is full: most of them may have to go back.
const CLAIM_BESIDE_FULL: usize = 64;
/// Pause between such claims.
const PACE_BESIDE_FULL: Duration = Duration::from_millis(100);
/// When recipients come back that were claimed for a destination that is full, or just being probed.
pub(super) const OVERFLOW_PAUSE: Duration = Duration::from_secs(2);
/// How long a domain is not claimed whose destination is full, or just being probed…
const EXCLUSION: Duration = Duration::from_secs(1);
/// … and one whose destination hangs, or waits for its rate.
const EXCLUSION_OF_HANGING: Duration = Duration::from_secs(10);
/// Most domains that a claim leaves out, by the store's contract (`ClaimRequest::exclude_domains`).
const EXCLUDED: usize = 64;
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How often leases are renewed, all that are older than a few seconds at once: none is left alone until it is half over.
const RENEWAL: Duration = Duration::from_secs(20);
/// How often the scheduler gives a sign of life while it waits for the store.
const BEAT: Duration = Duration::from_secs(5);
/// Leases renewed in one call: all that are in hand, unless somebody raised `delivery.max_in_hand`.
const RENEWALS: usize = 10_000;
/// No sign of life for so long: the scheduler hangs.
const DEAD: Duration = Duration::from_secs(30);
/// A destination's failures are forgotten when nobody sent there for so long.
const FORGIVEN: Duration = Duration::from_secs(3600);

impl Engine {
    /// Whether the scheduler gave a sign of life lately.
    pub(crate) fn alive(&self) -> Result<(), String> {
        let last = Duration::from_millis(self.heartbeat.load(Ordering::Relaxed));
        let silent = self.started.elapsed().saturating_sub(last);
        if silent < DEAD || self.is_stopping() {
            return Ok(());
        }
        Err(format!(
            "the delivery scheduler has made no progress for {} s",
            silent.as_secs()
        ))
    }

    /// Claims what is due, until the server stops.
    pub(super) async fn schedule(self: Arc<Self>) {
        let token = self.holders.begin(Holder::Scheduler);
        let mut stop = self.stop.subscribe();
        let mut swept = Instant::now();
        while *stop.borrow() == Stop::Running {
            let began = Instant::now();
            let pause = tokio::select! {
                pause = self.claim_due() => pause,
                () = self.beating() => TICK,
            };
            self.beat();
            if swept.elapsed() > TICK {
                swept = Instant::now();
                self.forget_idle_destinations();
            }
            tokio::select! {
                () = sleep(pause.min(TICK)) => {}
                () = self.wake.notified() => {
                    // A claim passes over the backlog of a full destination, which may be long.
                    let pace = if self.any(|fill| !matches!(fill, Fill::Room | Fill::Apart(Apart::Paced))) { PACE_BESIDE_FULL } else { PACE };
                    sleep(pace.saturating_sub(began.elapsed())).await;
                }
                _ = stop.changed() => {}
            }
        }
        self.holders.end(&token);
    }

    /// Claims until nothing is due or there is no room. Gives how long to wait then.
    async fn claim_due(&self) -> Duration {
        loop {
            if !*self.storing.borrow() || self.is_stopping() {
                return STORE_PAUSE;
            }
            if self.claims.are_paused() {
                return TICK;
            }
            if !self.knows_suspensions() {
                return PACE;
            }
            // Others could deliver at the same time what one would keep to itself.
            let in_hand = self.window.in_hand().saturating_sub(self.hanging.set_apart());
            if self.queue.is_shared() && in_hand >= self.fair_share() {
                return PACE_BESIDE_FULL;
            }
            let full = self.any(|fill| fill == Fill::Full);
            // Half of what those leave that hang or wait for their rate, so that claims are worth their while. But a next hop that is
            // full may stay so for hours: then the others get what little room there is.
            let usable = self.window.limit().saturating_sub(self.hanging.set_apart());
            let (most, room) = if full {
                (self.window.free().clamp(1, CLAIM_BESIDE_FULL), 1)
            } else {
                (CLAIM.min(self.window.limit() / 4), (usable / 2).max(1))
            };
            if self.window.free() < most {
                tokio::select! {
                    () = self.window.room_for(room) => {}
                    () = self.hanging.changed.notified() => continue,
                }
            }
            let most = most.min(self.window.free()).max(1);
            // It may have been paused while room was waited for.
            if !self.claims.begin() {
                return TICK;
            }
            let claimed = self.claim(most).await;
            self.claims.end();
            let (claimed, back) = match claimed {
                Ok(counts) => counts,
                Err(error) => {
                    self.observer.emit(Event::StoreFailed {
                        operation: "claim",
                        error: &error,
                    });
                    return STORE_PAUSE;
                }
            };
            // Most of it had to go back: behind it there may be more of the same.
            if full || back > claimed / 2 {
                return PACE_BESIDE_FULL;
            }
            if claimed < most {
                return self.until_next_due().await;
            }
        }
    }

    /// Claims up to `most` recipients and takes them on. Gives how many, and how many of them went back.
    ///
    /// Leases of what is in hand may have ended although nobody let go: the store's clock was set forward, the process or its
    /// machine stood still, or the store took no renewals for a while. They are renewed before anything is claimed,
    /// or what is in hand would be claimed again beside itself and sent twice.
    async fn claim(&self, most: usize) -> Result<(usize, usize), String> {
        let now = self.window.moment();
        if self.window.any_ended(now) && !self.renew_ending().await {
            return Err("leases could not be renewed".to_owned());
        }
        let request = ClaimRequest {
            lease: self.queue.lease(LEASE, now.stored),
            limit: most,
            exclude_domains: self.excluded_domains(),
        };
        let claims = self
            .queue
            .store()
            .claim(request)
            .await
            .map_err(|error| error.to_string())?;
        let (mut claimed, mut back) = (0, 0);
        for claim in claims {
            claimed += claim.recipients.len();
            back += self.take_on(claim, Source::Store);
        }
        Ok((claimed, back))
    }

    /// How much of what waits this server takes in hand, while there are others.
    fn fair_share(&self) -> usize {
        let all = self.window.limit() / 2;
        usize::try_from(self.queue.share(all as u64)).unwrap_or(all)
    }

    async fn until_next_due(&self) -> Duration {
        let now = self.queue.now();
        match self.queue.store().next_due().await {
            Ok(Some(due)) if due > now => since(now, due).max(PACE),
            // Due already, but of a domain that is excluded, or another server is just claiming it.
            Ok(Some(_)) if self.excluded.lock().is_empty() => PACE_BESIDE_FULL,
            Ok(Some(_)) => EXCLUSION,
            Ok(None) => TICK,
            Err(_) => STORE_PAUSE,
        }
    }

    fn any(&self, fills: impl Fn(Fill) -> bool) -> bool {
        self.entries().iter().any(|entry| fills(self.fill(entry)))
    }

    /// A job that its destination had no room for goes back to the store for a while, and its domains are left there.
    pub(super) fn send_back(&self, mut job: Job, fill: Fill, entry: &Entry) {
        let (exclusion, pause) = match fill {
            Fill::Apart(apart) => {
                let pause = away(apart, &mut entry.state.lock(), Instant::now());
                let soon = apart == Apart::Probed;
                (if soon { EXCLUSION } else { EXCLUSION_OF_HANGING }, pause)
            }
            Fill::Room | Fill::Full => (EXCLUSION, OVERFLOW_PAUSE),
        };
        self.exclude(&job, exclusion);
        self.put_off(&mut job, pause);
    }

    fn exclude(&self, job: &Job, exclusion: Duration) {
        let until = Instant::now() + exclusion;
        let mut excluded = self.excluded.lock();
        for claimed in &job.recipients {
            let domain = claimed.recipient.address.domain().to_lowercase();
            if excluded.len() < EXCLUDED || excluded.contains_key(&domain) {
                excluded.insert(domain, until);
            }
        }
    }

    fn excluded_domains(&self) -> Vec<String> {
        let now = Instant::now();
        let mut excluded = self.excluded.lock();
        excluded.retain(|_, until| *until > now);
        excluded.keys().cloned().collect()
    }

    fn forget_idle_destinations(&self) {
        let now = Instant::now();
        self.destinations.lock().retain(|_, entry: &mut Arc<Entry>| {
            let mut state = entry.state.lock();
            state.forgive(now, FORGIVEN);
            Arc::strong_count(entry) > 1 || !state.is_forgettable(now)
        });
    }

    fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat.store(now, Ordering::Relaxed);
    }

    /// Signs of life while the store is waited for: its troubles are readiness's to report. Never ends.
    async fn beating(&self) {
        loop {
            self.beat();
            sleep(BEAT).await;
        }
    }

    /// Renews the leases of everything in hand, until the end; soon when a store is back that was away.
    pub(super) async fn renew_leases(self: Arc<Self>) {
        let (mut stop, mut returns) = (self.stop.subscribe(), Returns::of(&**self.queue.store()));
        let mut next = Instant::now() + RENEWAL;
        while *stop.borrow() != Stop::Abort {
            tokio::select! {
                () = returns.or(next.saturating_duration_since(Instant::now())) => {
                    let pause = if self.renew_ending().await { RENEWAL } else { STORE_PAUSE };
                    next = Instant::now() + pause;
                }
                _ = stop.changed() => {}
            }
        }
    }

    /// Renews the leases that end soon; whether that was done.
    async fn renew_ending(&self) -> bool {
        let now = self.window.moment();
        let ending = self.window.ending(now);
        let mut rest = &ending[..];
        let mut lost_now = 0;
        while !rest.is_empty() {
            let mut attempts: Vec<Attempt> = Vec::with_capacity(RENEWALS);
            let count = rest
                .iter()
                .take_while(|lease| {
                    let fits = attempts.len() < RENEWALS;
                    if fits {
                        attempts.extend_from_slice(lease.attempts());
                    }
                    fits
                })
                .count();
            let (now_renewed, after) = rest.split_at(count);
            rest = after;
            let asked = self.window.moment();
            let lease = self.queue.lease(LEASE, asked.stored);
            match self.queue.store().renew(attempts, lease).await {
                Ok(lost) => {
                    let (end, lost) = (End::of_lease(asked), lost.into_iter().collect());
                    let newly = now_renewed.iter().map(|lease| lease.renewed(end, &lost));
                    lost_now += newly.sum::<usize>();
                }
                Err(error) => {
                    self.say_lost(lost_now);
                    self.observer.emit(Event::StoreFailed {
                        operation: "renew",
                        error: &error.to_string(),
                    });
                    return false;
                }
            }
        }
        self.say_lost(lost_now);
        self.window.look_for_first_end();
        true
    }

    fn say_lost(&self, recipients: usize) {
        if recipients > 0 {
            self.observer.emit(Event::LeasesLost {
                recipients: recipients as u64,
                what: "renewal",
            });
        }
    }
}
