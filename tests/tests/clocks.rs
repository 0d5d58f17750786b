//! Clocks that are wrong, and clocks that are set while mail is in hand.
//!
//! With PostgreSQL the database's clock decides, whatever the servers' own show; with SQLite there is one clock only, and setting it
//! sends nothing twice. The servers' clocks are libfaketime's; that they really are wrong is seen in their logs.

use crate::shared_queue::setup;
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Seconds in two hours: how wrong the clocks are.
const TWO_HOURS: i64 = 7200;
/// How long a next hop takes for mail from `slow…`: longer than a lease of 60 s, and than what is renewed of one.
const SLOW: Duration = Duration::from_secs(80);

/// A clock that can be set.
struct Clock {
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Clock {
    /// One that is right so far.
    fn right() -> Clock {
        let folder = tempfile::tempdir().expect("a folder for the clock");
        let file = folder.path().join("clock");
        let clock = Clock { file, folder };
        clock.set("+0");
        clock
    }

    /// Sets it, in one step.
    fn set(&self, shift: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{shift}\n")).expect("write the clock");
        std::fs::rename(&new, &self.file).expect("set the clock");
    }
}

/// A server whose wall clock is shifted; its other clocks run as they do.
fn under_faketime(setup: Setup) -> Setup {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    assert!(Path::new(library).exists(), "{library} is missing");
    // Not by the program of that name, which would be left with nobody to end its child.
    setup.env("LD_PRELOAD", library).env("DONT_FAKE_MONOTONIC", "1")
}

fn by(setup: Setup, clock: &Clock) -> Setup {
    under_faketime(setup)
        .env("FAKETIME_TIMESTAMP_FILE", clock.file.to_string_lossy())
        .env("FAKETIME_NO_CACHE", "1")
}

fn shifted(setup: Setup, shift: &str) -> Setup {
    under_faketime(setup).env("FAKETIME", shift)
}

/// How many seconds a server's clock is ahead, by the last line of its log.
fn ahead(server: &Server) -> i64 {
    let log = server.log();
    let line = log.last().expect("a log");
    let ts = line["ts"].as_str().expect("a time");
    let date = blackbox::tools::run(std::process::Command::new("date").args(["-d", ts, "+%s"]));
    let shown: i64 = String::from_utf8_lossy(&date.stdout)
        .trim()
        .parse()
        .expect("seconds");
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("now");
    shown - now.as_secs() as i64
}

/// A server's clock is wrong by so many seconds: what is seen of it is not said of one that is right.
fn assert_ahead(server: &Server, seconds: i64) {
    wait_for("a line of the log by a clock that is wrong", || {
        let _ = server.get("/metrics");
        (ahead(server) - seconds).abs() < 120
    });
}

/// A next hop that takes its time with the first attempt at each sender `slow…`.
fn slow_hop() -> (Sink, Arc<Mutex<BTreeSet<String>>>) {
    let begun = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = begun.clone();
    let sink = Sink::scripted(move |_, moment| {
        if let Moment::Command(line) = moment
            && line.starts_with("MAIL FROM:<slow")
            && seen.lock().expect("senders").insert(line.clone())
        {
            std::thread::sleep(SLOW);
        }
        Act::Default
    });
    (sink, begun)
}

/// Makes a server look for mail that is due, again and again for a while.
fn prod(server: &Server) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        server.done(&["queue", "retry", "--all"]);
    }
}

/// Of two servers of a database one's clock is set while each has mail in hand for longer than a lease.
fn set_beside_another(shift: &str, seconds: i64) {
    let database = Postgres::start();
    let ((sink, begun), clock) = (slow_hop(), Clock::right());
    let set = by(setup(&database.url(), &sink.relay_config()), &clock).start();
    let other = setup(&database.url(), &sink.relay_config()).start();
    wait_for("the two of them", || set.metric("smtp_servers") == 2.0);
    Wire::hello(set.smtp).mail("slow-1@x.test", &["b@y.test"], "X-Number: 1\r\n\r\n");
    Wire::hello(other.smtp).mail("slow-2@x.test", &["b@y.test"], "X-Number: 2\r\n\r\n");
    wait_for("both in hand", || begun.lock().expect("senders").len() == 2);
    assert_ahead(&set, 0);
    clock.set(shift);
    prod(&set);
    assert_ahead(&set, seconds);
    Wire::hello(set.smtp).mail("quick@x.test", &["b@y.test"], "X-Number: 3\r\n\r\n");
    sink.wait(1);
    wait_for_secs("all three", 120, || sink.count() >= 3);
    set.wait_empty();
    // Whatever is on its way a second time arrives, too.
    std::thread::sleep(Duration::from_secs(10));
    assert_each_once(&sink, 3);
    for server in [&set, &other] {
        assert_eq!(server.metric("smtp_leases_lost_total"), 0.0);
        assert_eq!(server.metric("smtp_leases_taken_over_total"), 0.0);
    }
}

fn assert_each_once(sink: &Sink, messages: usize) {
    let mut numbers: Vec<String> = sink
        .messages()
        .iter()
        .filter_map(|one| one.field("X-Number"))
        .collect();
    numbers.sort();
    let expected: Vec<String> = (1..=messages).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_clock_that_is_set_back_beside_another_server_sends_nothing_twice() {
    set_beside_another("-2h", -TWO_HOURS);
}

#[test]
fn a_clock_that_is_set_forward_beside_another_server_sends_nothing_twice() {
    set_beside_another("+2h", TWO_HOURS);
}

/// A server alone with its queue.
fn set_alone(shift: &str, seconds: i64) {
    let ((sink, begun), clock) = (slow_hop(), Clock::right());
    let server = by(Setup::new(sink.relay_config()), &clock).start();
    Wire::hello(server.smtp).mail("slow-1@x.test", &["b@y.test"], "X-Number: 1\r\n\r\n");
    wait_for("it in hand", || begun.lock().expect("senders").len() == 1);
    clock.set(shift);
    prod(&server);
    assert_ahead(&server, seconds);
    wait_for_secs("its arrival", 120, || sink.count() >= 1);
    server.wait_empty();
    std::thread::sleep(Duration::from_secs(10));
    assert_each_once(&sink, 1);
    assert_eq!(server.metric("smtp_leases_lost_total"), 0.0);
}

#[test]
fn a_clock_that_is_set_back_sends_nothing_twice() {
    set_alone("-2h", -TWO_HOURS);
}

#[test]
fn a_clock_that_is_set_forward_sends_nothing_twice() {
    set_alone("+2h", TWO_HOURS);
}

/// One server that is right, one two hours ahead, one two hours behind.
fn three(setup: impl Fn() -> Setup) -> [Server; 3] {
    let servers = [
        setup().start(),
        shifted(setup(), "+2h").start(),
        shifted(setup(), "-2h").start(),
    ];
    for (server, seconds) in servers.iter().zip([0, TWO_HOURS, -TWO_HOURS]) {
        assert_ahead(server, seconds);
    }
    servers
}

#[test]
fn clocks_that_are_wrong_change_nothing() {
    let database = Postgres::start();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = attempts.clone();
    let sink = Sink::scripted(move |_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") && line.contains("later@") => {
            seen.lock().expect("attempts").push(());
            Act::Say("450 4.2.1 later".into())
        }
        Moment::EndOfData(_) => {
            std::thread::sleep(Duration::from_secs(4));
            Act::Default
        }
        _ => Act::Default,
    });
    let config = format!(
        "{}[delivery]\nretry_initial = 600\nretry_max = 600\n",
        sink.relay_config()
    );
    let servers = three(|| Setup::new(&config).env("SMTP_DATABASE_URL", database.url()));
    for server in &servers {
        let mut client = Wire::hello(server.smtp);
        client.mail("a@x.test", &["later@y.test"], "Subject: later\r\n\r\n");
        for number in 0..5 {
            client.mail("a@x.test", &["b@y.test"], &format!("X-Number: {number}\r\n\r\n"));
        }
    }
    // What one has in hand no other takes for its own, and what is due in ten minutes is due then for all.
    wait_for("the deliveries", || sink.count() == 15);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!((sink.count(), attempts.lock().expect("attempts").len()), (15, 3));
    for server in &servers {
        assert!(
            server.events("store_failed").is_empty(),
            "{:?}",
            server.events("store_failed")
        );
        assert_eq!(server.metric("smtp_queue_depth"), 3.0);
    }
    // It is due by the database's clock, whoever set it.
    let due = "SELECT bool_and(due BETWEEN now AND now + 900000) FROM recipients, (SELECT extract(epoch FROM now()) * 1000 AS now) AS n";
    assert_eq!(database.sql(due), "t");
    // So is when messages left: by that their history is kept, or is old.
    let ended = "SELECT count(*) = 15 AND bool_and(ended BETWEEN now - 600000 AND now + 1000)
        FROM history, (SELECT extract(epoch FROM now()) * 1000 AS now) AS n WHERE ended IS NOT NULL";
    assert_eq!(database.sql(ended), "t");
}

#[test]
fn a_suspension_lasts_as_long_as_was_said_wherever_it_was_said() {
    let database = Postgres::start();
    let sink = Sink::start();
    let servers = three(|| setup(&database.url(), &sink.relay_config()));
    let suspend = |server: &Server, domain: &str, time: &str| {
        let args = ["queue", "suspend", "--domain", domain, "--for", time];
        server.done(&args);
    };
    for (server, domain) in servers.iter().zip(["right.test", "ahead.test", "behind.test"]) {
        suspend(server, domain, "1h");
    }
    // What is said at one is known to the others within two seconds.
    std::thread::sleep(Duration::from_secs(3));
    for server in &servers {
        for domain in ["right.test", "ahead.test", "behind.test"] {
            Wire::hello(server.smtp).mail("a@x.test", &[&format!("b@{domain}")], "Subject: waits\r\n\r\n");
        }
    }
    // Each looks every second, and would end what is over for all of them.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(
        (sink.count(), database.sql("SELECT count(*) FROM suspensions")),
        (0, "3".into())
    );
    assert_eq!(database.sql("SELECT count(*) FROM recipients WHERE parked"), "9");
    let in_an_hour = "SELECT bool_and(until BETWEEN now + 3000000 AND now + 3600000)
        FROM suspensions, (SELECT extract(epoch FROM now()) * 1000 AS now) AS n";
    assert_eq!(database.sql(in_an_hour), "t", "by the database's clock");
    let recorded = "SELECT count(*) = 3 AND bool_and(at BETWEEN now - 600000 AND now + 1000)
        FROM audit, (SELECT extract(epoch FROM now()) * 1000 AS now) AS n";
    assert_eq!(database.sql(recorded), "t", "and so is who said it");
    // And it ends when that is over, no sooner.
    for (server, domain) in servers.iter().zip(["right.test", "ahead.test", "behind.test"]) {
        suspend(server, domain, "10s");
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(sink.count(), 0);
    wait_for_secs("its end", 20, || sink.count() == 9);
}

#[test]
fn mail_expires_by_the_clock_of_the_database() {
    let database = Postgres::start();
    let busy = Arc::new(AtomicBool::new(true));
    let sink = Sink::busy_while(&busy);
    let config = format!(
        "{}[delivery]\nretry_initial = 1\nretry_max = 1\nexpire_after = 3600\ndelay_notice_after = 1800\n",
        sink.relay_config()
    );
    let servers = three(|| Setup::new(&config).env("SMTP_DATABASE_URL", database.url()));
    for server in &servers {
        Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: patience\r\n\r\n");
    }
    // Whoever is first claims what is due: each of them tries mail of each of the others.
    let tried_by_all = |server: &Server| {
        let attempts = server.events("delivery");
        let ended = attempts.iter().find(|line| line["status"] != "deferred");
        assert_eq!(ended, None, "none of it is an hour old");
        let ids: BTreeSet<String> = attempts.iter().map(|line| line["id"].to_string()).collect();
        ids.len() == 3
    };
    wait_for_secs("attempts of each at each", 120, || {
        servers.iter().all(tried_by_all)
    });
    for server in &servers {
        assert!(
            server.events("dsn_queued").is_empty(),
            "{:?}",
            server.events("dsn_queued")
        );
        assert_eq!(server.metric("smtp_queue_depth"), 3.0);
    }
    let received = "SELECT bool_and(received_at BETWEEN now - 600000 AND now) FROM messages, (SELECT extract(epoch FROM now()) * 1000 AS now) AS n";
    assert_eq!(database.sql(received), "t", "by the database's clock");
    busy.store(false, Ordering::SeqCst);
    assert_eq!(sink.wait(3).len(), 3);
}

#[test]
fn a_token_is_good_for_as_long_as_was_said_wherever_it_was_made() {
    let database = Postgres::start();
    let sink = Sink::start();
    let servers = three(|| setup(&database.url(), &sink.relay_config()));
    let asked = |server: &Server, token: &str| server.ask(Some(token), "GET", "/api/v1/queue", "").0;
    let tokens: Vec<String> = servers
        .iter()
        .zip(["right", "ahead", "behind"])
        .map(|(maker, name)| {
            let args = ["token", "add", name, "--scope", "read", "--expires-in", "20s"];
            let made = maker.json(&args);
            made[0]["token"].as_str().expect("a token").to_owned()
        })
        .collect();
    let each_says = |status: u16| {
        for (server, token) in servers
            .iter()
            .flat_map(|server| tokens.iter().map(move |token| (server, token)))
        {
            assert_eq!(asked(server, token), status);
        }
    };
    // Each hears of the others' tokens within two seconds.
    std::thread::sleep(Duration::from_secs(4));
    each_says(200);
    std::thread::sleep(Duration::from_secs(18));
    each_says(401);
}
