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
//! as is left free, so that there is always room for the others; one that hangs gets a share (`hanging`).

mod ahead;
mod attempt;
mod body;
mod calls;
mod committer;
mod connect;
mod deferred;
mod farewell;
mod give_up;
mod hanging;
mod held;
mod intake;
mod job;
mod lane;
mod local_lane;
mod moment;
mod places;
mod probe;
mod rates;
mod reports;
mod results;
mod returns;
mod scheduler;
mod settle;
mod suspensions;
#[cfg(test)]
mod tests;
mod window;

use crate::Figures;
use crate::destination::{Destination, Standing};
use crate::resolve::{Own, Resolver};
use crate::route::{Hop, Router, Target};
use crate::tls::Tls;
use arc_swap::{ArcSwap, ArcSwapOption};
use committer::Committer;
use connect::RefusedLogins;
use farewell::Claims;
use hanging::Hanging;
pub use held::Held;
use held::Holders;
use job::Job;
use parking_lot::Mutex;
use places::{LaneGuard, Places};
use probe::Probes;
use rates::Timer;
use results::Input;
use smtp::Reply;
use smtp_config::Config;
use smtp_directory::Directory;
use smtp_observe::Observer;
use smtp_queue::{Queue, Suspension};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use suspensions::Ended;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use window::Window;

/// Lanes that write to Maildirs.
const LOCAL_LANES: usize = 8;
/// Lanes for recipients whose outcome is known.
const KNOWN_LANES: usize = 2;
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
pub(crate) struct Parts {
    config: Arc<Config>,
    router: Router,
    resolver: Resolver,
    tls: Tls,
    own: Own,
}

impl Parts {
    fn new(config: Arc<Config>, directory: Arc<Directory>, observer: Observer) -> Result<Self, String> {
        Ok(Parts {
            router: Router::new(&config, directory),
            resolver: Resolver::new(&config, observer)?,
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

impl Key {
    /// Where mail of that route goes.
    fn of(route: &Result<Target, Reply>) -> Key {
        match route {
            Ok(Target::Hop(hop)) => Key::Hop(hop.clone()),
            Ok(Target::Maildir(_) | Target::Capture) => Key::Local,
            Err(_) => Key::Known,
        }
    }

    /// What people call it.
    fn name(&self) -> String {
        match self {
            Key::Local => "local".to_owned(),
            Key::Known => "none".to_owned(),
            Key::Hop(hop) => hop.to_string(),
        }
    }
}

/// A destination and its name in the log.
#[derive(Debug)]
struct Entry {
    key: Key,
    name: String,
    state: Mutex<Destination<Job>>,
    timer: Timer,
}

impl Entry {
    fn take(&self) -> Option<Job> {
        self.state.lock().take(Instant::now())
    }
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    directory: Arc<Directory>,
    parts: ArcSwap<Parts>,
    queue: Queue,
    observer: Observer,
    window: Arc<Window>,
    hanging: Hanging,
    destinations: Mutex<HashMap<Key, Arc<Entry>>>,
    places: Places,
    holders: Holders,
    probes: Probes,
    refused_logins: RefusedLogins,
    /// What operators keep waiting; `None` until the store was asked.
    suspensions: ArcSwapOption<Vec<Suspension>>,
    /// Those that ended a moment ago. Held by who asks.
    suspensions_turn: tokio::sync::Mutex<Vec<Ended>>,
    results: UnboundedSender<Input>,
    wake: Notify,
    claims: Claims,
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
        directory: Arc<Directory>,
        queue: Queue,
        observer: Observer,
    ) -> Result<Arc<Self>, String> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
        let parts = Parts::new(config.load_full(), directory.clone(), observer.clone())?;
        let body_limit = parts.config.storage.memory_budget / 2;
        let most = parts.config.delivery.max_in_hand;
        let (results, inputs) = mpsc::unbounded_channel();
        let storing = watch::Sender::new(true);
        let engine = Arc::new_cyclic(|me: &Weak<Engine>| Engine {
            directory,
            parts: ArcSwap::from_pointee(parts),
            queue: queue.clone(),
            observer: observer.clone(),
            window: Arc::new(Window::new(queue.store().clone(), most, body_limit)),
            hanging: Hanging::none(most),
            destinations: Mutex::new(HashMap::new()),
            places: Places::default(),
            holders: Holders::default(),
            probes: Probes::default(),
            refused_logins: RefusedLogins::default(),
            suspensions: ArcSwapOption::empty(),
            suspensions_turn: tokio::sync::Mutex::default(),
            results,
            wake: Notify::new(),
            claims: Claims::default(),
            stop: watch::Sender::new(Stop::Running),
            stopping: Arc::new(AtomicBool::new(false)),
            storing: storing.clone(),
            excluded: Mutex::new(HashMap::new()),
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            runtime,
            me: me.clone(),
        });
        let committer = Committer::new(queue.store().clone(), observer, storing, engine.me.clone());
        tokio::spawn(committer.run(inputs));
        tokio::spawn(engine.clone().watch_hanging());
        tokio::spawn(engine.clone().renew_leases());
        tokio::spawn(engine.clone().watch_suspensions());
        tokio::spawn(engine.clone().schedule());
        queue.connect(engine.clone());
        Ok(engine)
    }

    pub(crate) fn figures(&self) -> Figures {
        let now = Instant::now();
        let (mut down, mut paced) = (0, 0);
        for entry in self.entries() {
            let state = entry.state.lock();
            down += u64::from(state.is_down(now));
            paced += u64::from(state.waits_for_rate(now));
        }
        Figures {
            connections: self.places.taken() as u64,
            in_progress: self.window.in_hand() as u64,
            destinations_down: down,
            destinations_paced: paced,
        }
    }

    /// What is under way, oldest first: what a drain waits for.
    pub(crate) fn held(&self) -> Vec<Held> {
        let (mut held, sending) = self.holders.held();
        if self.is_stopping() {
            // Nothing waits for a lane any more: what is in no lane's hand waits for the store.
            let unwritten = self.window.in_hand().saturating_sub(sending);
            let what = format!("results of {unwritten} recipients that are being written");
            held.extend((unwritten > 0).then_some(Held { what, since: None }));
        }
        held
    }

    /// The destinations by name: next hops, and this machine.
    pub(crate) fn standings(&self) -> Vec<(String, Standing)> {
        let now = Instant::now();
        let entries = self.entries();
        let shown = entries.iter().filter(|entry| entry.key != Key::Known);
        let mut all: Vec<_> = shown
            .map(|entry| (entry.name.clone(), entry.state.lock().standing(now)))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    pub(crate) fn prepare(&self, config: Arc<Config>) -> Result<Parts, String> {
        Parts::new(config, self.directory.clone(), self.observer.clone())
    }

    pub(crate) fn take(&self, parts: Parts) {
        self.parts.store(Arc::new(parts));
        self.share_out();
    }

    pub(crate) async fn drain(&self, limit: Duration) {
        let end = Instant::now() + limit;
        self.queue.disconnect();
        self.stopping.store(true, Ordering::Release);
        self.stop.send_replace(Stop::Draining);
        self.give_back_waiting();
        if timeout(limit, self.holders.all_ended()).await.is_err() {
            self.stop.send_replace(Stop::Abort);
            // What does not end even now keeps its lease until that ends.
            let _ = timeout(LAST_MOMENTS, self.holders.all_ended()).await;
        }
        self.give_back_waiting();
        let (written, flushed) = oneshot::channel();
        if self.results.send(Input::Flush(written)).is_ok() {
            // A store that fails now finds these recipients again when their leases have ended.
            let _ = timeout(
                end.saturating_duration_since(Instant::now()).max(LAST_MOMENTS),
                flushed,
            )
            .await;
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

    pub(crate) fn is_draining(&self) -> bool {
        self.is_stopping()
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
        let mut state = match key {
            Key::Local => Destination::without_slow_start(LOCAL_LANES),
            Key::Known => Destination::without_slow_start(KNOWN_LANES),
            Key::Hop(_) => Destination::new(self.cap()),
        };
        if let Key::Hop(_) = key {
            state.set_interval(self.interval());
        }
        let entry = Arc::new(Entry {
            key: key.clone(),
            name: key.name(),
            state: Mutex::new(state),
            timer: Timer::default(),
        });
        destinations.insert(key.clone(), entry.clone());
        entry
    }
}
