//! A queue in PostgreSQL while servers are killed, and the database once: nothing is lost, and nothing comes twice but what a server had in hand when it
//! was killed.

use crate::shared_queue::{assert_empty, setup};
use blackbox::load::{Arrival, Clients, Ledger, copies};
use blackbox::postgres::Postgres;
use blackbox::random::Random;
use blackbox::server::Server;
use blackbox::sink::Sink;
use blackbox::wait_for_secs;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const MESSAGES: usize = 20_000;
const SERVERS: usize = 3;
/// Recipients that a server has in hand at most.
const IN_HAND: usize = 100;
/// When the database is killed.
const CRASH: usize = 4;
/// A result is written so soon, also on a busy machine, as long as the database is there.
const WRITTEN: Duration = Duration::from_secs(6);

/// A server that was killed.
struct Killed {
    at: Instant,
    /// Since when it could not write results.
    mute: Instant,
    /// What the database says it had in hand: claimed, and without a result.
    held: BTreeSet<u64>,
}

/// What the database says of a server that is dead, before anybody gives it back.
fn held_by(database: &Postgres, server: &Server) -> BTreeSet<u64> {
    let id = std::fs::read_to_string(server.data().join("server")).expect("who it was");
    let sql = format!(
        "SELECT DISTINCT substring(encode(substring(coalesce(m.content, b.content) FROM 1 FOR 4000), 'escape') FROM 'X-Number: ([0-9]+)')
         FROM recipients AS r JOIN messages AS m ON m.key = r.message LEFT JOIN bodies AS b ON b.message = m.key AND b.number = 0
         WHERE r.state = 1 AND r.owner = '{}'",
        id.trim()
    );
    let numbers = database.sql(&sql);
    numbers
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

/// Servers that each have a name of their own, which none had before: so the next hop knows who brought what.
struct Fleet {
    servers: Vec<Server>,
    names: Vec<String>,
    lives: usize,
    killed: BTreeMap<String, Killed>,
}

impl Fleet {
    fn start(database: &Postgres, sink: &Sink) -> Fleet {
        let names: Vec<String> = (0..SERVERS).map(name_of).collect();
        let start = |name: &String| {
            let mut setup = setup(&database.url(), &sink.relay_config()).env("SMTP_HOSTNAME", name);
            setup.config.push_str(&format!("max_in_hand = {IN_HAND}\n"));
            setup.start()
        };
        Fleet {
            servers: names.iter().map(start).collect(),
            names,
            lives: SERVERS,
            killed: BTreeMap::new(),
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.smtp).collect()
    }

    /// Kills one, and the database before it if that is due; what it had is read before it starts again, under another name.
    fn kill(&mut self, place: usize, clients: &Clients, database: &mut Postgres) {
        let (mut victim, name) = (self.servers.remove(place), self.names.remove(place));
        clients.load.set_servers(&self.addresses());
        let mute = Instant::now();
        let crash = self.killed.len() == CRASH;
        if crash {
            // The others keep their results until it is back. This one takes them with it.
            database.crash();
            std::thread::sleep(Duration::from_millis(300));
        }
        let at = Instant::now();
        victim.kill();
        if crash {
            std::thread::sleep(Duration::from_millis(200));
            database.start_again();
        }
        let held = held_by(database, &victim);
        self.killed.insert(name, Killed { at, mute, held });
        let name = name_of(self.lives);
        self.lives += 1;
        victim.set_env("SMTP_HOSTNAME", &name);
        self.servers.push(victim.restart());
        self.names.push(name);
        clients.load.set_servers(&self.addresses());
    }
}

fn name_of(life: usize) -> String {
    format!("life{life}.test")
}

#[test]
fn nothing_acknowledged_is_lost_and_only_what_the_dead_had_in_hand_comes_twice() {
    let (mut database, sink) = (Postgres::start(), Sink::start());
    let mut fleet = Fleet::start(&database, &sink);
    let clients = Clients::start(12, &fleet.addresses());
    let mut random = Random::default();
    while clients.load.acknowledged() < MESSAGES {
        std::thread::sleep(Duration::from_millis(1000));
        fleet.kill(random.below(SERVERS as u64) as usize, &clients, &mut database);
        let (kills, acknowledged) = (fleet.killed.len(), clients.load.acknowledged());
        assert!(kills < 300, "{acknowledged} acknowledged after {kills} kills");
    }
    assert!(fleet.killed.len() > CRASH, "the database was among them");
    let ledger = clients.end_with_ledger();
    wait_for_secs("the queue to be empty", 120, || {
        fleet.servers[0].metric("smtp_queue_depth") == 0.0
    });
    judge(&ledger, &fleet.killed, &copies(&sink));
    assert_empty(&database);
}

/// Each copy but one was brought by a server that was killed before it could write that down.
fn judge(ledger: &Ledger, killed: &BTreeMap<String, Killed>, copies: &BTreeMap<(u64, String), Vec<Arrival>>) {
    let lost = ledger.lost(copies);
    assert!(lost.is_empty(), "lost: {lost:?}");
    let refused = copies
        .keys()
        .filter(|(number, _)| ledger.refused.contains_key(number));
    assert_eq!(refused.count(), 0, "refused, and delivered");
    let (mut again, mut longest) = (BTreeMap::<&str, usize>::new(), Duration::ZERO);
    let mut repeated = 0;
    for ((number, recipient), arrivals) in copies.iter().filter(|(_, arrivals)| arrivals.len() > 1) {
        let from: BTreeSet<&str> = arrivals.iter().map(|arrival| arrival.from.as_str()).collect();
        assert_eq!(
            from.len(),
            arrivals.len(),
            "{number} twice from one server: {arrivals:?}"
        );
        let in_hand = |arrival: &&Arrival| {
            let by = killed.get(&arrival.from);
            by.is_some_and(|by| by.held.contains(number))
        };
        let unwritten: Vec<&Arrival> = arrivals.iter().filter(in_hand).collect();
        assert!(
            unwritten.len() + 1 >= arrivals.len(),
            "{number} for {recipient} was written down, or its server lives: {arrivals:?}"
        );
        for arrival in unwritten {
            let by = &killed[&arrival.from];
            // The last copy's server may have been killed too, when its result was just being written.
            let before = by.mute.saturating_duration_since(arrival.at);
            assert!(
                before < WRITTEN,
                "{number} came {before:?} before the kill, unwritten"
            );
            longest = longest.max(by.at.saturating_duration_since(arrival.at));
            *again.entry(arrival.from.as_str()).or_default() += 1;
        }
        repeated += 1;
    }
    let most = again.values().max().copied().unwrap_or_default();
    println!(
        "{} kills: {} acknowledged; {repeated} recipients got it more than once, of one server {most} at most, of results that were {longest:?} old at most",
        killed.len(),
        ledger.acknowledged.len()
    );
    assert!(most <= IN_HAND, "{again:?}");
}
