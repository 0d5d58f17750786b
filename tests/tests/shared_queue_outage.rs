//! One queue in PostgreSQL, and who is taken for dead: not those that live while the database is away.

use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::{Postgres, Proxy};
use blackbox::server::Server;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A next hop that takes messages and says so when it is told to; messages with `quick` in them at once.
pub(crate) struct Slow {
    pub(crate) sink: Sink,
    /// Messages whose reply waits.
    held: Arc<AtomicUsize>,
    speak: Arc<AtomicBool>,
}

impl Slow {
    pub(crate) fn start() -> Slow {
        let (held, speak) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (holds, told) = (held.clone(), speak.clone());
        let sink = Sink::scripted(move |_, moment| {
            if let Moment::EndOfData(message) = moment
                && !message.text().contains("quick")
            {
                holds.fetch_add(1, Ordering::SeqCst);
                while !told.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Act::Default
        });
        Slow { sink, held, speak }
    }

    pub(crate) fn wait_held(&self, count: usize) {
        wait_for("the messages to be past their dots", || {
            self.held.load(Ordering::SeqCst) == count
        });
    }

    pub(crate) fn speak(&self) {
        self.speak.store(true, Ordering::SeqCst);
    }

    /// Says nothing from now on.
    pub(crate) fn hush(&self) {
        self.speak.store(false, Ordering::SeqCst);
    }

    /// How often each message came.
    pub(crate) fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for message in self.sink.messages() {
            *copies
                .entry(message.field("X-Number").expect("X-Number"))
                .or_default() += 1;
        }
        copies
    }
}

pub(crate) fn send(server: &Server, name: &str) {
    let content = format!("X-Number: {name}\r\n\r\n");
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], &content);
}

fn sent(server: &Server, count: usize) -> bool {
    let deliveries = server.events("delivery");
    deliveries.iter().filter(|line| line["status"] == "sent").count() >= count
}

/// The database is away for longer than leases last, while next hops have messages of two servers and have not said so. The servers come back one
/// after the other, and with them, if `third`, one that is new.
fn nobody_is_taken_for_dead(third: bool) {
    let (mut database, slow) = (Postgres::start(), Slow::start());
    let proxies = [0, 1].map(|_| Proxy::before(database.address()));
    let start = |url: &str| setup(url, &slow.sink.relay_config());
    let servers = [0, 1].map(|place| start(&database.url_at(proxies[place].address)).start());
    for number in 0..2 {
        send(&servers[0], &format!("one {number}"));
        send(&servers[1], &format!("two {number}"));
    }
    slow.wait_held(4);
    for server in &servers {
        wait_for("both to know of each other", || {
            server.metric("smtp_servers") == 2.0
        });
    }
    database.crash();
    let gone = Instant::now();
    slow.speak();
    for server in &servers {
        wait_for("the replies", || sent(server, 2));
    }
    // It is away for 75 s; one of the servers reaches it at once then, or, if there is a third, that one does.
    let away = |seconds: [u64; 2], since: Instant| {
        for (proxy, seconds) in proxies.iter().zip(seconds) {
            proxy.be_away(Duration::from_secs(seconds).saturating_sub(since.elapsed()));
        }
    };
    away(if third { [180, 180] } else { [0, 90] }, gone);
    let newcomer = third.then(|| Server::begin(start(&database.url())));
    std::thread::sleep(Duration::from_secs(75).saturating_sub(gone.elapsed()));
    database.start_again();
    let newcomer = newcomer.map(|mut server| {
        server.until_ready();
        // The others follow, well within the time in which nobody is judged.
        away([8, 14], Instant::now());
        server
    });
    assert!(
        proxies[1].is_away() && proxies[0].is_away() == third,
        "only the first is back"
    );
    // What is new is delivered meanwhile.
    let first = newcomer.as_ref().unwrap_or(&servers[0]);
    wait_for("mail to be taken again", || {
        Wire::hello(first.smtp).say("MAIL FROM:<a@x.test>").code == 250
    });
    send(first, "quick");
    wait_for("new mail to be delivered", || slow.copies().contains_key("quick"));
    wait_for_secs("all results to be written", 60, || {
        database.sql("SELECT count(*) FROM recipients") == "0"
    });
    let copies = slow.copies();
    assert!(
        copies.len() == 5 && copies.values().all(|count| *count == 1),
        "{copies:?}"
    );
    for server in servers.iter().chain(&newcomer) {
        for event in ["leases_taken_over", "leases_lost"] {
            assert!(server.events(event).is_empty(), "{:?}", server.events(event));
        }
    }
    assert_empty(&database);
}

#[test]
fn who_lives_while_the_database_is_away_keeps_what_it_holds() {
    nobody_is_taken_for_dead(false);
}

#[test]
fn who_starts_when_the_database_is_back_takes_nobody_for_dead() {
    nobody_is_taken_for_dead(true);
}

#[test]
fn who_is_dead_or_alone_without_the_database_is_taken_over_after_a_minute() {
    let (database, slow) = (Postgres::start(), Slow::start());
    let proxy = Proxy::before(database.address());
    let start = |url: &str| setup(url, &slow.sink.relay_config()).start();
    let (mut dead, alone) = (start(&database.url()), start(&database.url_at(proxy.address)));
    send(&dead, "dead");
    send(&alone, "alone");
    slow.wait_held(2);
    let living = start(&database.url());
    dead.kill();
    proxy.be_away(Duration::from_secs(90));
    // A lease is a minute long, and it is looked at every ten seconds.
    wait_for_secs("the living to take over", 80, || {
        slow.held.load(Ordering::SeqCst) == 4
    });
    assert_eq!(living.metric("smtp_leases_taken_over_total"), 2.0);
    slow.speak();
    wait_for("the reply to the one that is alone", || sent(&alone, 1));
    living.wait_empty();
    // Back again it learns that its result came too late; all of that arrived twice, as is documented.
    wait_for_secs("the one that was alone to be back", 60, || {
        alone.metric("smtp_leases_lost_total") >= 1.0
    });
    assert_eq!(
        slow.copies(),
        BTreeMap::from([("alone".to_owned(), 2), ("dead".to_owned(), 2)])
    );
    wait_for("two servers", || living.metric("smtp_servers") == 2.0);
    assert_empty(&database);
}

#[test]
fn a_delivery_that_takes_longer_than_a_lease_stays_with_its_server() {
    const RENEWALS: &str = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE 'UPDATE recipients AS r SET due =%'";
    let (database, slow) = (Postgres::start(), Slow::start());
    database.sql("CREATE EXTENSION pg_stat_statements");
    let [one, other] = [0, 1].map(|_| setup(&database.url(), &slow.sink.relay_config()).start());
    let began = Instant::now();
    for number in 0..2 {
        send(&one, &format!("{number}"));
        std::thread::sleep(Duration::from_secs(8));
    }
    slow.wait_held(2);
    std::thread::sleep(Duration::from_secs(80));
    slow.speak();
    one.wait_empty();
    let renewals: u64 = database.sql(RENEWALS).parse().expect("a number");
    // Whatever part of the 20 s had passed when it began.
    let most = began.elapsed().as_secs() / 20 + 1;
    assert!(
        (3..=most).contains(&renewals),
        "{renewals} renewals, and a statement each 20 s are {most}"
    );
    for server in [&one, &other] {
        for event in ["leases_taken_over", "leases_lost"] {
            assert!(server.events(event).is_empty(), "{:?}", server.events(event));
        }
    }
    assert!(slow.copies().values().all(|count| *count == 1) && slow.sink.count() == 2);
    assert_empty(&database);
}
