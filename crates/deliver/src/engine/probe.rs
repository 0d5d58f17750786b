//! Asks a next hop whether it takes mail for an address: MAIL FROM:<>, RCPT, and nothing more.
//!
//! Promises: an answer comes within [`LIMIT`]; an address is asked for once at a time, whoever waits for it; at most
//! [`CONNECTIONS`] are open to one next hop for this, and each takes one of the places for connections; a client that goes away ends
//! no question of others; the drain ends them all.

use super::attempt::SERVERS;
use super::held::{Holder, Token};
use super::{Engine, Stop};
use crate::connection::Connection;
use crate::route::{Hop, Target};
use crate::verify::{Memory, Presence, Question};
use parking_lot::Mutex;
use smtp::client::Phase;
use smtp::{Address, Enhanced, Reply};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// The longest that a client waits at RCPT.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections to one next hop.
const CONNECTIONS: usize = 4;

/// What is known, and what is being asked.
#[derive(Debug, Default)]
pub(super) struct Probes {
    memory: Mutex<Memory>,
    asking: Mutex<HashMap<Arc<Question>, watch::Receiver<Option<Presence>>>>,
    places: Mutex<HashMap<Arc<Hop>, Arc<Semaphore>>>,
}

impl Probes {
    /// A place for a connection, when there is one.
    async fn place(&self, hop: &Arc<Hop>) -> Option<OwnedSemaphorePermit> {
        let places = {
            let mut all = self.places.lock();
            // Those that somebody uses are held by their permits, too.
            all.retain(|_, places| Arc::strong_count(places) > 1);
            let places = all.entry(hop.clone());
            places
                .or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS)))
                .clone()
        };
        places.acquire_owned().await.ok()
    }
}

impl Engine {
    /// Whether the next hop of `address` takes mail for it.
    pub(crate) async fn verify(self: &Arc<Self>, address: &Address) -> Presence {
        let hop = match self.parts.load().router.target(address) {
            Ok(Target::Hop(hop)) => hop,
            // Nobody to ask.
            Ok(Target::Maildir(_) | Target::Capture) => return Presence::Exists,
            Err(_) => return Presence::Unknown,
        };
        let question = Arc::new(Question {
            hop,
            address: format!("{}@{}", address.local(), address.domain().to_lowercase()),
        });
        if let Some(answer) = self.probes.memory.lock().recall(&question, Instant::now()) {
            return answer;
        }
        let mut answer = self.question(&question, address);
        let answered = answer.wait_for(Option::is_some).await.map(|answer| *answer);
        answered.ok().flatten().unwrap_or(Presence::Unavailable)
    }

    /// Where the answer will be: a question that is being asked is not asked again.
    fn question(
        self: &Arc<Self>,
        question: &Arc<Question>,
        address: &Address,
    ) -> watch::Receiver<Option<Presence>> {
        let mut asking = self.probes.asking.lock();
        if let Some(answer) = asking.get(question) {
            return answer.clone();
        }
        let (say, answer) = watch::channel(None);
        asking.insert(question.clone(), answer.clone());
        let (engine, question, address) = (self.clone(), question.clone(), address.clone());
        tokio::spawn(async move {
            let mut stop = engine.stop.subscribe();
            let said = tokio::select! {
                said = timeout(LIMIT, engine.ask(&question.hop, &address)) => said.unwrap_or(Presence::Unavailable),
                _ = stop.wait_for(|stop| *stop != Stop::Running) => Presence::Unavailable,
            };
            let told = engine
                .probes
                .memory
                .lock()
                .learn(question.clone(), said, Instant::now());
            engine.probes.asking.lock().remove(&question);
            say.send_replace(Some(told));
        });
        answer
    }

    async fn ask(self: &Arc<Self>, hop: &Arc<Hop>, address: &Address) -> Presence {
        let Some(turn) = self.probes.place(hop).await else {
            return Presence::Unavailable;
        };
        let Some(place) = ProbePlace::take(self, turn) else {
            return Presence::Unavailable;
        };
        let parts = self.parts.load_full();
        let port = parts.config.delivery.port;
        let endpoints = match parts.resolver.endpoints(&hop.kind, port, &parts.own).await {
            Ok(endpoints) => endpoints,
            Err(reply) => return meaning(Phase::Rcpt, &reply),
        };
        for endpoint in endpoints.iter().take(SERVERS) {
            let Ok(mut connection) = self.connect(hop, endpoint, &Arc::default()).await else {
                continue;
            };
            if let Ok((phase, reply)) = connection.probe(address).await {
                tokio::spawn(leave(connection, place));
                return meaning(phase, &reply);
            }
        }
        Presence::Unavailable
    }
}

/// A probe's connection on the books; the drain waits for it.
struct ProbePlace {
    engine: Arc<Engine>,
    token: Arc<Token>,
    _turn: OwnedSemaphorePermit,
}

impl ProbePlace {
    /// `None` when delivery has all connections that there may be.
    fn take(engine: &Arc<Engine>, turn: OwnedSemaphorePermit) -> Option<ProbePlace> {
        engine.take_place().then(|| ProbePlace {
            engine: engine.clone(),
            token: engine.holders.begin(Holder::Probe),
            _turn: turn,
        })
    }
}

impl Drop for ProbePlace {
    fn drop(&mut self) {
        self.engine.give_place_back();
        self.engine.holders.end(&self.token);
    }
}

/// The client need not wait for the QUIT; the next probe does, and the drain not for long.
async fn leave(connection: Connection, place: ProbePlace) {
    let mut stop = place.engine.stop.subscribe();
    tokio::select! {
        () = connection.quit() => {}
        _ = stop.wait_for(|stop| *stop != Stop::Running) => {}
    }
}

/// What a reply says of the address. A refusal of the sender, or by a policy (X.7.Z: it does not like us), says nothing of it.
fn meaning(phase: Phase, reply: &Reply) -> Presence {
    let policy = matches!(reply.enhanced, Some(Enhanced(_, 7, _)));
    match phase {
        Phase::Rcpt if reply.is_positive() => Presence::Exists,
        Phase::Rcpt if reply.is_permanent() && !policy => Presence::Unknown,
        _ => Presence::Unavailable,
    }
}
