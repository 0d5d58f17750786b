//! One queue in PostgreSQL: what servers do with it, alone and together.

use blackbox::postgres::Postgres;
use blackbox::server::{PASSWORD, Server, Setup, files};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::{run, swaks};
use blackbox::wire::{Wire, queue_id};
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server with its queue in a database.
pub(crate) fn setup(url: &str, config: &str) -> Setup {
    let fast = "[delivery]\nretry_initial = 1\nretry_max = 2\n";
    Setup::new(format!("{config}{fast}")).env("SMTP_DATABASE_URL", url)
}

/// Asks a server to have all of its queue read their configurations again.
pub(crate) fn ask_all_to_reload(server: &Server) {
    let (status, body) = server.ask(Some(PASSWORD), "POST", "/api/v1/reload", "{}");
    assert_eq!(status, 200, "{body}");
}

/// How many configurations a server has had.
pub(crate) fn generation(server: &Server) -> f64 {
    server.metric("smtp_config_generation")
}

/// Makes a token that may do everything.
pub(crate) fn make_token(server: &Server, name: &str) -> String {
    let made = server.json(&["token", "add", name, "--scope", "admin"]);
    made[0]["token"].as_str().expect("a token").to_owned()
}

/// What a server says to whoever comes with a token.
pub(crate) fn status_for(server: &Server, token: &str) -> u16 {
    server.ask(Some(token), "GET", "/api/v1/tokens", "").0
}

/// All tables that mail passes through are as they were before there was any.
pub(crate) fn assert_empty(database: &Postgres) {
    for table in ["messages", "recipients", "bodies", "uploads"] {
        // Contents of messages that were not taken go a moment later.
        wait_for(table, || {
            database.sql(&format!("SELECT count(*) FROM {table}")) == "0"
        });
    }
    let left = "SELECT count(*) FROM (SELECT sum(messages) AS m, sum(octets) AS o, sum(queued) AS q, sum(leased) AS l, sum(deferred) AS d,
                    sum(held) AS h, sum(delivered) AS s, sum(bounced) AS b, sum(expired) AS e, sum(quarantined) AS x FROM figures) AS f
                WHERE (m, o, q, l, d, h, s, b, e, x) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";
    assert_eq!(database.sql(left), "0", "the figures are those of an empty queue");
}

#[test]
fn mail_passes_through_the_database_and_nothing_of_it_stays() {
    let database = Postgres::start();
    let busy = Arc::new(AtomicBool::new(false));
    let sink = Sink::busy_while(&busy);
    let config = format!("{}[limits]\nmax_message_size = 100000000\n", sink.relay_config());
    let server = setup(&database.url(), &config).start();
    let starting = server.wait_event("starting", |_| true);
    assert_eq!(
        starting["storage"],
        format!("PostgreSQL, {} at 127.0.0.1", database.name)
    );
    let mut client = Wire::hello(server.smtp);
    client.mail(
        "a@x.test",
        &["b@y.test", "c@y.test"],
        "Subject: small\r\n\r\nHello.\r\n",
    );
    // Larger than memory may hold of it: in pieces in, in pieces out.
    let line = format!("{}\r\n", "x".repeat(70));
    let large = format!("Subject: large\r\n\r\n{}", line.repeat(200_000));
    client.mail("a@x.test", &["d@y.test"], &large);
    server.wait_empty();
    let messages = sink.wait(2);
    assert_eq!(messages[0].to.len(), 2);
    assert!(messages[1].content.ends_with(b"xxx\r\n") && messages[1].content.len() > large.len());
    drop((large, messages));
    // What waits for its turn is found after a restart, by another process, from another folder. Neither has ever much of it in memory.
    busy.store(true, Ordering::Relaxed);
    let huge = format!("Subject: huge\r\n\r\n{}", line.repeat(900_000));
    let small_growth = |server: &Server, before: u64| {
        let grown = server.peak() - before;
        assert!(
            grown < 24 << 20,
            "by {grown} octets for a message of {}",
            huge.len()
        );
    };
    let before = server.peak();
    let id = queue_id(&client.mail("a@x.test", &["e@y.test"], &huge));
    server.wait_event("delivery", |line| {
        line["id"] == id.as_str() && line["status"] == "deferred"
    });
    small_growth(&server, before);
    drop(server);
    let server = setup(&database.url(), &config).start();
    assert_eq!(server.queue(&["list"])[0]["id"], id.as_str());
    let before = server.peak();
    busy.store(false, Ordering::Relaxed);
    server.done(&["queue", "retry", "--all"]);
    let message = &sink.wait(3)[2];
    assert!(message.content.ends_with(b"xxx\r\n") && message.content.len() > huge.len());
    small_growth(&server, before);
    server.wait_empty();
    assert_empty(&database);
    assert_eq!(
        files(&server.data().join("bodies")),
        0,
        "no copy of a large body stays here"
    );
}

#[test]
fn servers_share_queue_directory_suspensions_and_limits() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let config = format!(
        "{}[[domains]]\nname = \"here.test\"\ndeliver = \"capture\"\n",
        sink.relay_config()
    );
    let mut one = setup(&database.url(), &config).start();
    let other = setup(&database.url(), &config).start();
    one.wait_event("servers_changed", |line| line["servers"] == 2);
    assert_eq!(one.metric("smtp_servers"), 2.0);
    // An account that is made at one is known to the other at once.
    let added = one.json(&[
        "account", "add", "ann", "--app", "--sender", "*@x.test", "--quota", "8/hour",
    ]);
    let secret = added[0]["secret"].as_str().expect("a secret").to_owned();
    std::thread::sleep(Duration::from_secs(2));
    let mut submit = swaks(other.submission(), "ann", &secret);
    run(submit.args(["--from", "ann@x.test", "--to", "b@y.test"]));
    // Of its quota each server has its share: half, which is 4 here.
    for _ in 0..3 {
        let mut submit = swaks(other.submission(), "ann", &secret);
        run(submit.args(["--from", "ann@x.test", "--to", "b@y.test"]));
    }
    let mut fifth = swaks(other.submission(), "ann", &secret);
    let fifth = fifth
        .args(["--from", "ann@x.test", "--to", "b@y.test"])
        .output()
        .expect("swaks");
    assert!(String::from_utf8_lossy(&fifth.stdout).contains("45"), "{fifth:?}");
    sink.wait(4);
    // What was removed while it could not be read is not known for ever.
    database.sql(
        "ALTER TABLE directory_records RENAME TO away; DELETE FROM away WHERE name = 'ann'; UPDATE directory SET revision = revision + 1",
    );
    other.wait_event("store_failed", |line| line["operation"] == "directory");
    database.sql("ALTER TABLE away RENAME TO directory_records");
    wait_for_secs("an account that is gone to be unknown", 5, || {
        let accounts = other.json(&["account", "list"]);
        !accounts.iter().any(|account| account["name"] == "ann")
    });
    // What is suspended at one waits at the other.
    one.done(&["queue", "suspend", "--domain", "y.test"]);
    std::thread::sleep(Duration::from_secs(2));
    let mut client = Wire::hello(other.smtp);
    let id = queue_id(&client.mail("a@x.test", &["b@y.test"], "Subject: waits\r\n\r\n"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(one.queue(&["show", &id])[0]["id"], id.as_str());
    assert_eq!(sink.count(), 4);
    other.done(&["queue", "resume", "--domain", "y.test"]);
    sink.wait(5);
    // A reload that is asked of one reaches the other.
    let before = (generation(&one), generation(&other));
    ask_all_to_reload(&one);
    wait_for_secs("the reload of the other", 3, || {
        generation(&other) == before.1 + 1.0
    });
    assert_eq!(
        generation(&one),
        before.0 + 1.0,
        "the one that was asked did it once"
    );
    // Who leaves is missed at once.
    assert!(one.stop().success());
    wait_for_secs("one server", 5, || other.metric("smtp_servers") == 1.0);
    assert_eq!(database.sql("SELECT count(*) FROM servers"), "1");
}

#[test]
fn what_a_leaving_server_had_others_deliver_at_once() {
    let database = Postgres::start();
    let hanging = Sink::scripted(|_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") => Act::Hang,
        _ => Act::Default,
    });
    let mut one = setup(&database.url(), &hanging.relay_config()).start();
    let mut client = Wire::hello(one.smtp);
    let ids: Vec<String> = (0..40)
        .map(|number| {
            let content = format!("Subject: {number}\r\n\r\n");
            queue_id(&client.mail("a@x.test", &["b@y.test"], &content))
        })
        .collect();
    wait_for("deliveries on their way", || hanging.open() > 0);
    let sink = Sink::start();
    let other = setup(&database.url(), &sink.relay_config()).start();
    assert!(one.stop().success());
    sink.wait(40);
    other.wait_empty();
    wait_for("the lines of all", || other.events("delivery").len() >= 40);
    let delivered = other.events("delivery");
    assert!(ids.iter().all(|id| {
        delivered
            .iter()
            .any(|line| line["id"] == id.as_str() && line["status"] == "sent")
    }));
    // Nothing was counted as an attempt, and nothing waited for the end of a lease.
    assert!(
        delivered
            .iter()
            .all(|line| line["delay"].as_f64().is_some_and(|delay| delay < 30.0)),
        "{delivered:?}"
    );
    assert_empty(&database);
}

#[test]
fn what_happened_to_a_message_every_server_knows() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let mut one = setup(&database.url(), &sink.relay_config()).start();
    one.done(&["queue", "suspend", "--domain", "y.test"]);
    let mut client = Wire::hello(one.smtp);
    let id = queue_id(&client.mail("ann@x.test", &["b@y.test"], "Message-ID: <told@x.test>\r\n\r\n"));
    assert!(one.stop().success());
    let other = setup(&database.url(), &sink.relay_config()).start();
    other.done(&["queue", "resume", "--domain", "y.test"]);
    sink.wait(1);
    other.wait_empty();
    let third = setup(&database.url(), &sink.relay_config()).start();
    let mut shown = Vec::new();
    wait_for("the history", || {
        shown = third.json(&["history", "show", &id]);
        shown[0]["ended_at"].is_string()
    });
    let steps: Vec<&str> = shown[0]["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["event"].as_str())
        .collect();
    // Taken by one server, delivered by another.
    assert!(
        steps.contains(&"received") && steps.contains(&"delivery") && steps.contains(&"removed"),
        "{steps:?}"
    );
    for query in [
        ["--sender", "ann@x.test"],
        ["--recipient", "b@y.test"],
        ["--message-id", "<told@x.test>"],
    ] {
        let found = third.json(&[&["history", "list"], &query[..]].concat());
        assert_eq!(found.len(), 1, "{query:?}");
        assert_eq!(found[0]["id"], id.as_str());
    }
    assert!(
        third
            .json(&["history", "list", "--sender", "bob@x.test"])
            .is_empty()
    );
    assert!(!third.data().join("history.db").exists());
}

#[test]
fn a_token_that_one_made_is_good_at_the_others_until_one_revokes_it() {
    let (mut database, sink) = (Postgres::start(), Sink::start());
    let servers = [1, 2].map(|_| setup(&database.url(), &sink.relay_config()).start());
    let [one, other] = &servers;
    let [first, second] = [make_token(one, "first"), make_token(other, "second")];
    let each_says = |token: &str, expected: u16| {
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(
            servers.each_ref().map(|server| status_for(server, token)),
            [expected; 2]
        );
    };
    each_says(&first, 200);
    each_says(&second, 200);
    other.done(&["token", "revoke", "first"]);
    each_says(&first, 401);
    // While nobody can be asked, what was good is.
    database.crash();
    std::thread::sleep(Duration::from_millis(1500));
    let drain = |server: &Server| server.ask(Some(&second), "GET", "/api/v1/drain", "").0;
    assert_eq!(servers.each_ref().map(drain), [200; 2]);
    database.start_again();
}

#[test]
fn what_a_server_had_when_it_ended_anyhow_nobody_waits_a_lease_for() {
    let database = Postgres::start();
    // Connections of the first two servers hang before the dot.
    let sink = Sink::scripted(|connection, moment| match moment {
        Moment::Command(line) if line == "DATA" && connection <= 2 => Act::Hang,
        _ => Act::Default,
    });
    let mut one = setup(&database.url(), &sink.relay_config()).start();
    Wire::hello(one.smtp).mail("a@x.test", &["b@y.test"], "X-Number: 1\r\n\r\n");
    wait_for("the first delivery to hang", || sink.open() == 1);
    // Killed: whoever starts again in its folder gives back what it had.
    one.kill();
    let mut one = one.restart();
    wait_for("the second delivery to hang", || sink.connections() == 2);
    assert_eq!(one.metric("smtp_leases_taken_over_total"), 1.0);
    // Told twice to end: nothing is waited for, and what it had is the other's at once.
    let other = setup(&database.url(), &sink.relay_config()).start();
    one.signal(Signal::SIGTERM);
    one.wait_event("stopping", |_| true);
    one.signal(Signal::SIGTERM);
    assert!(one.exited(20).success());
    sink.wait(1);
    other.wait_empty();
    assert_eq!(sink.count(), 1);
    assert_eq!(
        other.metric("smtp_leases_taken_over_total"),
        0.0,
        "it was given back"
    );
    assert_empty(&database);
}
