//! The engine: takes messages on, has lanes do them, and lets them go when their results are written.
//!
//! ```text
//!  reception ──offer──▶ ┐                        ┌▶ lane ─┐
//!                       ├▶ routes ▶ destination ─┤        ├▶ settle ▶ committer ▶ store
//!  scheduler ──claim──▶ ┘   (a queue per hop)    └▶ lane ─┘
//! ```
//!
//! There is no actor in the middle: the session's own task puts a new message on its destinations'
//! queues, and a lane takes its next job from there itself. A destination may fill at most as much of the window
//! as is left free, so that there is always room for the others.

mod job;
mod lane;
mod local;
mod places;
mod results;
mod scheduler;
mod settle;
#[cfg(test)]
mod tests;
mod window;

use crate::Figures;
use crate::destination::{Destination, Pushed};
use crate::resolve::{Own, Resolver};
use crate::route::{Hop, Router, Target};
use crate::tls::Tls;
use arc_swap::ArcSwap;
use job::{Job, Work};
use parking_lot::Mutex;
use places::{LaneGuard, Places};
use results::{Committer, Input};
use smtp::{Enhanced, Reply};
use smtp_config::Config;
use smtp_observe::{Event, Observer};
use smtp_queue::{Body, Claim, ClaimedRecipient, Handoff, NewMessage, Outcome, Queue, StoreError};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use window::Window;

/// Lanes that write to Maildirs.
const LOCAL_LANES: usize = 8;
/// Lanes for recipients whose outcome is known.
const KNOWN_LANES: usize = 2;
/// Most recipients of one job.
const JOB: usize = 100;
/// Recipients that may always wait for one destination.
const FLOOR: usize = 64;
/// When a job comes back that the store could not give the content of.
const STORE_PAUSE: Duration = Duration::from_secs(60);
/// How long a drain waits for what must be quick: aborted lanes, the last results.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Whether the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// No.
    Running,
    /// Nothing is begun; what is before its final dot is given back.
    Draining,
    /// Everything is given back.
    Abort,
}

/// Everything that is made of the configuration.
#[derive(Debug)]
struct Parts {
    config: Arc<Config>,
    router: Router,
    resolver: Resolver,
    tls: Tls,
    own: Own,
}

impl Parts {
    fn new(config: Arc<Config>) -> Result<Self, String> {
        Ok(Parts {
            router: Router::new(&config),
            resolver: Resolver::new(&config)?,
            tls: Tls::new(config.delivery.ca_file.as_deref())?,
            own: Own::new(&config),
            config,
        })
    }
}

/// Names a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// This machine.
    Local,
    /// Nowhere: the outcome is known.
    Known,
    /// A next hop.
    Hop(Arc<Hop>),
}

/// A destination and its name in the log.
#[derive(Debug)]
struct Entry {
    key: Key,
    name: String,
    state: Mutex<Destination<Job>>,
}

impl Entry {
    fn take(&self) -> Option<Job> {
        self.state.lock().take()
    }
}

/// Where a claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// From reception: there was room for it a moment ago.
    Reception,
    /// From the store: it can go back there.
    Store,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    config: Arc<ArcSwap<Config>>,
    parts: ArcSwap<Parts>,
    queue: Queue,
    observer: Observer,
    window: Arc<Window>,
    destinations: Mutex<HashMap<Key, Arc<Entry>>>,
    places: Places,
    results: UnboundedSender<Input>,
    wake: Notify,
    stop: watch::Sender<Stop>,
    stopping: Arc<AtomicBool>,
    storing: watch::Sender<bool>,
    /// Domains not to claim until then: their destination is full.
    excluded: Mutex<HashMap<String, Instant>>,
    started: Instant,
    heartbeat: AtomicU64,
    runtime: tokio::runtime::Handle,
    me: Weak<Engine>,
}

impl Engine {
    /// Starts on the current runtime and takes new mail from the queue from now on.
    pub(crate) fn start(
        config: Arc<ArcSwap<Config>>,
        queue: Queue,
        observer: Observer,
    ) -> Result<Arc<Self>, String> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
        let parts = Parts::new(config.load_full())?;
        let body_limit = parts.config.storage.memory_budget / 2;
        let (results, inputs) = mpsc::unbounded_channel();
        let storing = watch::Sender::new(true);
        let engine = Arc::new_cyclic(|me: &Weak<Engine>| Engine {
            config,
            parts: ArcSwap::from_pointee(parts),
            queue: queue.clone(),
            observer: observer.clone(),
            window: Arc::new(Window::new(body_limit)),
            destinations: Mutex::new(HashMap::new()),
            places: Places::default(),
            results,
            wake: Notify::new(),
            stop: watch::Sender::new(Stop::Running),
            stopping: Arc::new(AtomicBool::new(false)),
            storing: storing.clone(),
            excluded: Mutex::new(HashMap::new()),
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            runtime,
            me: me.clone(),
        });
        let committer = Committer {
            store: queue.store().clone(),
            observer,
            storing,
            engine: engine.me.clone(),
        };
        tokio::spawn(committer.run(inputs));
        tokio::spawn(engine.clone().renew_leases());
        tokio::spawn(engine.clone().schedule());
        queue.connect(engine.clone());
        Ok(engine)
    }

    pub(crate) fn figures(&self) -> Figures {
        let now = Instant::now();
        let down = self
            .entries()
            .iter()
            .filter(|entry| entry.state.lock().is_down(now))
            .count();
        Figures {
            connections: self.places.taken() as u64,
            in_progress: self.window.in_hand() as u64,
            destinations_down: down as u64,
        }
    }

    pub(crate) fn reconfigured(&self) -> Result<(), String> {
        let parts = Parts::new(self.config.load_full())?;
        let cap = parts.config.delivery.max_connections_per_destination;
        self.parts.store(Arc::new(parts));
        for entry in self.entries() {
            if let Key::Hop(_) = entry.key {
                entry.state.lock().set_cap(cap);
            }
        }
        Ok(())
    }

    pub(crate) async fn drain(&self, limit: Duration) {
        self.queue.disconnect();
        self.stopping.store(true, Ordering::Release);
        self.stop.send_replace(Stop::Draining);
        self.give_back_waiting();
        if timeout(limit, self.places.all_ended()).await.is_err() {
            self.stop.send_replace(Stop::Abort);
            // What does not end even now keeps its lease until that ends.
            let _ = timeout(LAST_MOMENTS, self.places.all_ended()).await;
        }
        self.give_back_waiting();
        let (written, flushed) = oneshot::channel();
        if self.results.send(Input::Flush(written)).is_ok() {
            // A store that fails now finds these recipients again when their leases have ended.
            let _ = timeout(limit.max(LAST_MOMENTS), flushed).await;
        }
        self.stop.send_replace(Stop::Abort);
    }

    /// There may be something to claim.
    fn wake_scheduler(&self) {
        self.wake.notify_one();
    }

    /// Whether a lane may begin a job; waits while the store takes no results. No more when the server stops.
    async fn may_begin(&self, stop: &mut watch::Receiver<Stop>) -> bool {
        if *stop.borrow() != Stop::Running {
            return false;
        }
        if *self.storing.borrow() {
            return true;
        }
        let mut storing = self.storing.subscribe();
        tokio::select! {
            done = storing.wait_for(|storing| *storing) => done.is_ok(),
            _ = stop.changed() => false,
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Jobs that nobody has begun go back to the store as they are dropped.
    fn give_back_waiting(&self) {
        for entry in self.entries() {
            let waiting = entry.state.lock().take_all();
            drop(waiting);
        }
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.destinations.lock().values().cloned().collect()
    }

    fn entry(&self, key: &Key) -> Arc<Entry> {
        let mut destinations = self.destinations.lock();
        if let Some(entry) = destinations.get(key) {
            return entry.clone();
        }
        let (name, state) = match key {
            Key::Local => ("local".to_owned(), Destination::without_slow_start(LOCAL_LANES)),
            Key::Known => ("none".to_owned(), Destination::without_slow_start(KNOWN_LANES)),
            Key::Hop(hop) => {
                let cap = self.parts.load().config.delivery.max_connections_per_destination;
                (hop.to_string(), Destination::new(cap))
            }
        };
        let entry = Arc::new(Entry {
            key: key.clone(),
            name,
            state: Mutex::new(state),
        });
        destinations.insert(key.clone(), entry.clone());
        entry
    }

    /// Takes a claim on: every recipient goes on the queue of its destination.
    fn take_on(&self, mut claim: Claim, source: Source) {
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
            if source == Source::Store && self.is_full(&entry) {
                self.exclude(&job);
                job.release(scheduler::OVERFLOW_PAUSE);
                continue;
            }
            while job.recipients.len() > JOB {
                let rest = job.split_off(JOB);
                self.push(&entry, std::mem::replace(&mut job, rest));
            }
            self.push(&entry, job);
        }
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

    /// A destination gets at most as much of the window as is left free.
    fn is_full(&self, entry: &Entry) -> bool {
        entry.state.lock().waiting_recipients() >= self.window.free().max(FLOOR)
    }

    /// The content of a job's message. Without it the job is ended here.
    async fn content_of(&self, job: &mut Job) -> Option<Body> {
        if job.recipients.is_empty() {
            return None;
        }
        if let Some(body) = job.body() {
            return Some(body.clone());
        }
        match self.queue.store().body(&job.message).await {
            Ok(body) => Some(body),
            Err(StoreError::Damaged(_)) => {
                // The store has quarantined it, and reported that; our leases on it are gone.
                job.recipients.clear();
                None
            }
            Err(error) => {
                self.observer.emit(Event::StoreFailed {
                    operation: "body",
                    error: &error.to_string(),
                });
                job.release(STORE_PAUSE);
                None
            }
        }
    }

    /// The content's file could not be read.
    fn unreadable(&self, mut job: Job, error: &std::io::Error) {
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) {
            self.quarantine(&mut job, &format!("its content cannot be read: {error}"));
        } else {
            self.observer.emit(Event::StoreFailed {
                operation: "body",
                error: &error.to_string(),
            });
            job.dot = None;
            job.release(STORE_PAUSE);
        }
    }

    fn quarantine(&self, job: &mut Job, reason: &str) {
        job.drop_lost();
        if !job.recipients.is_empty() {
            // The store reports it when that is written.
            job.end_all(&Outcome::Quarantined, reason);
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
                !state.is_down(now) && state.waiting_recipients() < free
            })
        })
    }

    fn offer(&self, claim: Claim) {
        self.take_on(claim, Source::Reception);
    }

    fn wake(&self) {
        self.wake_scheduler();
    }
}

/// What jobs are told that were not even tried.
fn suspended(reason: &Reply) -> Reply {
    let text = format!("delivery temporarily suspended: {}", reason.text);
    Reply {
        code: 451,
        enhanced: reason.enhanced.or(Some(Enhanced(4, 4, 1))),
        text: text.into(),
    }
}
