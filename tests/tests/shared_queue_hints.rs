//! One queue in PostgreSQL: what servers tell each other, and who they are.

use crate::shared_queue::{ask_all_to_reload, assert_empty, generation, setup};
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Instant;

/// The id of the server that is asked.
fn id(server: &Server) -> String {
    let all = server.json(&["servers"]);
    let this = all.iter().find(|one| one["this"] == true).expect("this one");
    this["id"].as_str().expect("an id").to_owned()
}

/// Whether a line says that this server said something of that kind.
fn says<'a>(from: &'a str, what: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |line| line["what"] == what && line["from"] == from
}

#[test]
fn what_one_server_changes_the_others_are_told() {
    let database = Postgres::start();
    // What one sends to its next hop hangs; the other's arrives.
    let (hanging, sink) = (
        Sink::scripted(|_, moment| match moment {
            Moment::Command(line) if line.starts_with("RCPT") => Act::Hang,
            _ => Act::Default,
        }),
        Sink::start(),
    );
    let here = "[[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n";
    let start = |sink: &Sink| {
        let setup = setup(&database.url(), &format!("{}{here}", sink.relay_config()));
        setup.env("SMTP_LOG_LEVEL", "debug").start()
    };
    let (mut one, other) = (start(&hanging), start(&sink));
    for server in [&one, &other] {
        server.wait_event("hints_heard", |line| line["channel"] == "smtp_queue");
    }
    let from = id(&one);
    let before = generation(&other);
    ask_all_to_reload(&one);
    other.wait_event("hint", says(&from, "reload"));
    wait_for("the reload of the other", || generation(&other) == before + 1.0);
    one.json(&["account", "add", "ann", "--app", "--sender", "*@x.test"]);
    other.wait_event("hint", says(&from, "directory"));
    one.done(&["queue", "suspend", "--domain", "y.test"]);
    other.wait_event("hint", says(&from, "suspensions"));
    // What it has in hand when it is told to end is others' at once, and they are told.
    let mut client = Wire::hello(one.smtp);
    for number in 0..20 {
        client.mail("a@x.test", &["b@z.test"], &format!("X-Number: {number}\r\n\r\n"));
    }
    wait_for("a delivery that hangs", || hanging.open() > 0);
    assert!(one.stop().success());
    other.wait_event("hint", says(&from, "due"));
    other.wait_event("hint", says(&from, "servers"));
    sink.wait(20);
    other.wait_empty();
    assert_empty(&database);
}

#[test]
fn hints_that_are_not_heard_are_not_needed() {
    let database = Postgres::start();
    let config = "[delivery]\ncapture = true\n";
    let servers = [0, 1].map(|_| {
        Setup::new(config)
            .env("SMTP_DATABASE_URL", database.url())
            .start()
    });
    for server in &servers {
        server.wait_event("hints_heard", |_| true);
    }
    for round in 1..=2 {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'smtp-server hints'";
        assert_eq!(database.sql(cut), "2");
        let before = generation(&servers[1]);
        ask_all_to_reload(&servers[0]);
        wait_for("the reload of the other", || {
            generation(&servers[1]) == before + 1.0
        });
        for server in &servers {
            wait_for("hints again", || server.events("hints_heard").len() == round + 1);
            let lost = server.events("hints_lost");
            assert_eq!(lost.len(), round, "{lost:?}");
        }
    }
    // Mail was never in question.
    Wire::hello(servers[1].smtp).mail("a@x.test", &["b@y.test"], "Subject: kept\r\n\r\n");
    servers[1].wait_empty();
    assert!(
        servers
            .iter()
            .all(|server| server.events("store_failed").is_empty())
    );
}

#[test]
fn whoever_shouts_on_the_channel_is_not_followed_for_long() {
    let database = Postgres::start();
    database.sql("CREATE EXTENSION pg_stat_statements");
    let config = "[delivery]\ncapture = true\n";
    let start = || {
        let setup = Setup::new(config).env("SMTP_DATABASE_URL", database.url());
        setup.env("SMTP_LOG_LEVEL", "debug").start()
    };
    let (server, other) = (start(), start());
    for server in [&server, &other] {
        server.wait_event("hints_heard", |_| true);
    }
    // Both look.
    let looks = || -> u64 {
        let sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%FROM directory%FROM servers%FROM recipients%'";
        database.sql(sql).parse().expect("a number")
    };
    // Says it for five seconds, or longer on a busy machine; gives how often it was looked, and how many seconds each had for that.
    let shout = |what: &str| -> (u64, u64) {
        let (before, began) = (looks(), Instant::now());
        database.sql(&format!(
            "DO $$ BEGIN FOR i IN 1..500 LOOP PERFORM pg_notify('smtp_queue', {what}); COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$"
        ));
        let looked = looks() - before;
        (looked, began.elapsed().as_secs() + 1)
    };
    // Each looks once a second anyway, and a few times more at first where somebody may mean something.
    let (quiet, seconds) = shout("'nobody ' || gen_random_uuid()");
    assert!(
        (5..=2 * (seconds + 7)).contains(&quiet),
        "{quiet} looks in {seconds} s for what no server says"
    );
    for word in ["due", "directory", "servers"] {
        let (looked, seconds) = shout(&format!("'{word} ' || gen_random_uuid()"));
        assert!(
            looked < 2 * (seconds + 24),
            "{looked} looks in {seconds} s for {word}"
        );
    }
    // What is true is heard all the same.
    let before = generation(&other);
    ask_all_to_reload(&server);
    other.wait_event("hint", |line| line["what"] == "reload");
    wait_for("the reload of the other", || generation(&other) == before + 1.0);
    // The log has no line for each time.
    let told = server.events("hint").len();
    assert!((3..200).contains(&told), "{told} lines");
}

#[test]
fn the_servers_of_a_queue_are_listed() {
    let alone = Setup::new("[delivery]\ncapture = true\n").start();
    let listed = alone.json(&["servers"]);
    assert_eq!(listed.len(), 1);
    assert!(listed[0]["id"] == "local" && listed[0]["this"] == true && listed[0]["leases"] == 0);
    assert_eq!(listed[0]["version"], env!("CARGO_PKG_VERSION"));
    drop(alone);

    let database = Postgres::start();
    let hanging = Sink::scripted(|_, moment| match moment {
        Moment::EndOfData(_) => Act::Hang,
        _ => Act::Default,
    });
    let mut one = setup(&database.url(), &hanging.relay_config()).start();
    let other = setup(&database.url(), &hanging.relay_config()).start();
    Wire::hello(one.smtp).mail("a@x.test", &["b@y.test"], "Subject: hangs\r\n\r\n");
    wait_for("the delivery to hang", || hanging.open() == 1);
    let of = |name: &str| {
        let all = other.json(&["servers"]);
        assert!(all.len() <= 2, "{all:?}");
        all.into_iter().find(|one| one["id"] == name)
    };
    let (leaving, staying) = (id(&one), id(&other));
    let there = of(&leaving).expect("the first");
    assert!(
        there["draining"] == false && there["leases"] == 1 && there["this"] == false,
        "{there}"
    );
    assert_eq!(there["version"], env!("CARGO_PKG_VERSION"));
    one.signal(Signal::SIGTERM);
    wait_for("the other to know", || {
        of(&leaving).is_some_and(|one| one["draining"] == true)
    });
    let text = other.done(&["servers", "--output", "table"]);
    let line = text
        .lines()
        .find(|line| line.starts_with(&leaving))
        .expect("its line");
    assert!(line.contains("stops") && line.contains("1 in hand"), "{text}");
    // Told again it waits for nothing, and is gone.
    one.signal(Signal::SIGTERM);
    assert!(one.exited(20).success());
    assert!(of(&leaving).is_none() && of(&staying).is_some_and(|one| one["this"] == true));
}
