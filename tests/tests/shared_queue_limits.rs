//! One queue in PostgreSQL: what all its servers have together of a next hop and of an account, who delivers what, and what guesses at names lock.

use crate::shared_queue::assert_empty;
use base64::Engine;
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tls::Tls;
use blackbox::tools::swaks;
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use serde_json::Value;
use std::ops::Range;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn setup(database: &Postgres, config: &str) -> Setup {
    Setup::new(config).env("SMTP_DATABASE_URL", database.url())
}

/// Waits until all of these know that they are so many.
fn know_each_other(servers: &[Server]) {
    let count = servers.len() as f64;
    for server in servers {
        wait_for_secs("the servers to see each other", 30, || {
            server.metric("smtp_servers") == count
        });
    }
}

/// Sends numbered messages over some connections at once.
pub(crate) fn fill(server: &Server, messages: usize) {
    const CLIENTS: usize = 4;
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut wire = Wire::hello(server.smtp);
                for number in (client..messages).step_by(CLIENTS) {
                    wire.mail("a@x.test", &["b@y.test"], &format!("X-Number: {number}\r\n\r\n"));
                }
            });
        }
    });
}

/// That so many messages arrived, each once.
pub(crate) fn assert_each_once(sink: &Sink, messages: usize) {
    let mut numbers: Vec<usize> = sink
        .messages()
        .iter()
        .filter_map(|message| message.field("X-Number")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..messages).collect::<Vec<_>>(), "each once");
}

/// The most connections that are open at once while time passes, each number for a quarter of a second: the next hop sees the end of one later than
/// the server, which has opened another by then.
fn most_open(sink: &Sink, time: Duration) -> usize {
    const LOOKS: Duration = Duration::from_millis(250);
    let (began, mut most) = (Instant::now(), 0);
    while began.elapsed() < time {
        let (since, mut least) = (Instant::now(), sink.open());
        while since.elapsed() < LOOKS {
            std::thread::sleep(Duration::from_millis(10));
            least = least.min(sink.open());
        }
        most = most.max(least);
    }
    most
}

#[test]
fn connections_to_a_next_hop_are_shared_by_servers_that_come_and_go() {
    const LIMIT: usize = 8;
    const MESSAGES: usize = 2000;
    let database = Postgres::start();
    // The backlog lasts for two minutes, unless somebody says otherwise.
    let pause = Arc::new(AtomicU64::new(500));
    let paused = pause.clone();
    let sink = Sink::scripted(move |_, moment| {
        if let Moment::EndOfData(_) = moment {
            std::thread::sleep(Duration::from_millis(paused.load(Ordering::Relaxed)));
        }
        Act::Default
    });
    let config = format!(
        "{}[delivery]\nmax_connections_per_destination = {LIMIT}\nmax_in_hand = 400\n",
        sink.relay_config()
    );
    let start = || setup(&database, &config).start();
    let mut servers = vec![start()];
    fill(&servers[0], MESSAGES);
    wait_for("all connections", || sink.open() == LIMIT);
    // Three more, with a backlog that goes on: those of the first end one by one, as their messages do.
    servers.extend([start(), start(), start()]);
    know_each_other(&servers);
    let all_send = || {
        servers
            .iter()
            .all(|one| one.metric("smtp_delivery_connections") == 2.0)
    };
    wait_for_secs("no more connections than before, shared by all", 20, || {
        sink.open() <= LIMIT && all_send()
    });
    let most = most_open(&sink, Duration::from_secs(3));
    assert!(most <= LIMIT, "{most} connections");
    // They leave, and the first has all of them again.
    for mut server in servers.drain(1..) {
        assert!(server.stop().success());
    }
    know_each_other(&servers);
    wait_for("all connections by one", || sink.open() == LIMIT);
    assert!(most_open(&sink, Duration::from_secs(1)) <= LIMIT);
    pause.store(0, Ordering::Relaxed);
    servers[0].wait_empty();
    assert_each_once(&sink, MESSAGES);
    assert_empty(&database);
}

#[test]
fn messages_to_a_next_hop_are_paced_by_all_servers_together() {
    const EACH: usize = 40;
    let (database, sink) = (Postgres::start(), Sink::start());
    let config = format!(
        "{}[delivery]\nmax_rate_per_destination = \"10/second\"\n",
        sink.relay_config()
    );
    let servers = [0, 1].map(|_| setup(&database, &config).start());
    know_each_other(&servers);
    let began = Instant::now();
    for server in &servers {
        fill(server, EACH);
    }
    sink.wait(2 * EACH);
    sink.assert_pace(began, 10.0, 10.0);
    servers[0].wait_empty();
    assert_eq!(sink.count(), 2 * EACH);
    assert_empty(&database);
}

#[test]
fn sessions_of_an_account_are_shared_by_the_servers() {
    let database = Postgres::start();
    let config = "[server]\nmax_connections_per_account = 4\n[rate_limiting]\nexempt = []\n\
                  [[accounts]]\nname = \"ann\"\npassword = \"correct horse\"\nsenders = [\"*@x.test\"]\n";
    let servers = [0, 1].map(|_| setup(&database, config).start());
    know_each_other(&servers);
    let plain = base64::engine::general_purpose::STANDARD.encode("\0ann\0correct horse");
    let log_in = |server: &Server, answer: &str| {
        let mut session = Tls::open(server.submission(), true, &[]);
        session.expect(&format!("AUTH PLAIN {plain}"), answer);
        session
    };
    for server in &servers {
        let open = [0, 1].map(|_| log_in(server, "235"));
        let mut third = log_in(server, "454 4.7.0");
        let failed = server.wait_event("auth_failed", |_| true);
        assert_eq!(
            (&failed["account"], &failed["result"]),
            (&"ann".into(), &"too_many".into())
        );
        // It may come again when another has ended.
        for mut session in open {
            session.expect("QUIT", "221");
        }
        wait_for("the others to be gone", || {
            server.metric("smtp_active_connections") == 1.0
        });
        third.expect(&format!("AUTH PLAIN {plain}"), "235");
    }
}

#[test]
fn the_rate_of_an_account_is_shared_by_the_servers() {
    const BURST: usize = 8;
    let database = Postgres::start();
    let config = format!(
        "[rate_limiting]\nexempt = []\nrequests_per_minute = 2\nburst_size = {BURST}\n\
         [[accounts]]\nname = \"ann\"\npassword = \"correct horse\"\nsenders = [\"*@x.test\"]\n"
    );
    let servers = [0, 1].map(|_| setup(&database, &config).start());
    know_each_other(&servers);
    let plain = base64::engine::general_purpose::STANDARD.encode("\0ann\0correct horse");
    for server in &servers {
        let mut session = Tls::open(server.submission(), true, &[]);
        session.expect(&format!("AUTH PLAIN {plain}"), "235");
        for _ in 0..BURST / 2 {
            session.expect("MAIL FROM:<a@x.test>", "250");
            session.expect("RSET", "250");
        }
        session.expect("MAIL FROM:<a@x.test>", "450 4.7.1");
    }
}

#[test]
fn of_guesses_at_a_name_each_server_bears_its_share_and_few_networks_lock_nobody_out() {
    let database = Postgres::start();
    let start = || setup(&database, "[auth]\nlock_after = 2\n").start();
    let servers: Vec<Server> = (0..5).map(|_| start()).collect();
    let server = &servers[0];
    server.wait_event("servers_changed", |line| line["servers"] == 5);
    // One failure with the name from each of these.
    let guess = |networks: Range<u8>| {
        let guesses = networks.map(|network| {
            let mut swaks = swaks(server.submission(), "ann", "wrong");
            swaks.args(["--quit-after", "AUTH", "--local-interface"]);
            swaks.arg(format!("127.0.0.{}", 30 + network));
            swaks.stdout(Stdio::null()).stderr(Stdio::null());
            swaks.spawn().expect("swaks")
        });
        for mut guess in guesses.collect::<Vec<_>>() {
            assert!(!guess.wait().expect("swaks").success());
        }
    };
    let scopes = |count: usize| -> Vec<String> {
        wait_for("the locks", || server.events("auth_locked").len() >= count);
        let locked = server.events("auth_locked");
        let scope = |line: &Value| line["scope"].as_str().map(str::to_owned);
        locked.iter().filter_map(scope).collect()
    };
    // A fifth of what twenty are in all would be four. Two networks that guess twice add one each.
    guess(0..2);
    guess(0..2);
    guess(2..9);
    assert_eq!(scopes(2), ["pair", "pair"]);
    // Ten in all lock it, from ten networks: half of what one server alone would take.
    guess(9..10);
    assert_eq!(scopes(3), ["pair", "pair", "account"]);
}

#[test]
fn who_accepted_a_message_delivers_it_without_reading_it_back() {
    const MESSAGES: usize = 200;
    let (database, sink) = (Postgres::start(), Sink::start());
    database.sql("CREATE EXTENSION pg_stat_statements");
    let start = || setup(&database, &sink.relay_config()).start();
    let servers = [start(), start()];
    know_each_other(&servers);
    // A first one, which is there when it is known that nothing is suspended.
    Wire::hello(servers[0].smtp).mail("a@x.test", &["b@y.test"], "Subject: first\r\n\r\n");
    sink.wait(1);
    sink.clear();
    servers[0].wait_empty();
    database.sql("SELECT pg_stat_statements_reset()");
    let mut wire = Wire::hello(servers[0].smtp);
    let large = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n".repeat(5000);
    for number in 0..MESSAGES {
        let text = if number % 50 == 0 { &*large } else { "" };
        wire.mail(
            "a@x.test",
            &["b@y.test"],
            &format!("X-Number: {number}\r\n\r\n{text}"),
        );
    }
    sink.wait(MESSAGES);
    servers[0].wait_empty();
    assert_each_once(&sink, MESSAGES);
    wait_for("the log lines", || {
        servers[0].events("delivery").len() == MESSAGES + 1
    });
    assert!(servers[1].events("delivery").is_empty());
    // Neither a claim nor a question has given anybody a content, small or in pieces.
    let read = |query: &str| {
        let sql = format!("SELECT coalesce(sum(rows), 0) FROM pg_stat_statements WHERE {query}");
        database.sql(&sql)
    };
    let asked = "query LIKE '%SELECT m.content,%'";
    let in_pieces = "query LIKE '%SELECT content FROM bodies%'";
    let claimed = "query LIKE '%CASE WHEN due.leads%m.content%'";
    assert_eq!([asked, in_pieces, claimed].map(&read), ["0"; 3]);
    sink.clear();
    a_crowd_shares_statements(&database, &servers[0]);
    sink.clear();
    // What was kept waiting has to be read, by whoever claims it.
    servers[0].command(&["queue", "suspend", "--domain", "y.test"]);
    wire.mail("a@x.test", &["b@y.test"], "Subject: small\r\n\r\n");
    wire.mail("a@x.test", &["b@y.test"], &large);
    servers[0].command(&["queue", "resume", "--domain", "y.test"]);
    sink.wait(2);
    servers[0].wait_empty();
    for query in [asked, in_pieces, claimed] {
        assert_ne!(read(query), "0", "{query}");
    }
    assert_empty(&database);
}

/// What many send at once is stored together, and so are its results written: nothing is stored while somebody keeps a table, and then what has
/// gathered is, in a few statements.
fn a_crowd_shares_statements(database: &Postgres, server: &Server) {
    const CROWD: usize = 16;
    database.sql("SELECT pg_stat_statements_reset()");
    let keeper = database.lock("messages");
    let dots = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                let mut client = Wire::hello(server.smtp);
                client.expect("MAIL FROM:<a@x.test>", 250);
                client.expect("RCPT TO:<b@y.test>", 250);
                client.expect("DATA", 354);
                client.send("Subject: together\r\n\r\n.\r\n");
                dots.fetch_add(1, Ordering::SeqCst);
                let reply = client.reply();
                assert_eq!(reply.code, 250, "{reply:?}");
            });
        }
        wait_for("all dots", || dots.load(Ordering::SeqCst) == CROWD);
        wait_for("the first to wait", || database.is_awaited("messages"));
        // The server has read them all by then.
        std::thread::sleep(Duration::from_millis(500));
        drop(keeper);
    });
    server.wait_empty();
    let calls = |query: &str| -> usize {
        let sql =
            format!("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '{query}'");
        database.sql(&sql).parse().expect("a number")
    };
    let [stored, ended] = ["%INSERT INTO messages%", "%DELETE FROM messages%"].map(calls);
    assert!(
        (1..=CROWD / 2).contains(&stored) && (1..=CROWD / 2).contains(&ended),
        "{CROWD} messages were stored by {stored} statements, and ended by {ended}"
    );
}
