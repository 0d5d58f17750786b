//! One queue in PostgreSQL: what servers do with it, alone and together.

use base64::Engine;
use blackbox::load::{Clients, arrived};
use blackbox::postgres::{PgBouncer, Postgres};
use blackbox::server::{PASSWORD, Server, Setup, binary, files, http, refusal};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::{certificates, program, run, swaks};
use blackbox::wire::{Wire, queue_id};
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::Signal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server with its queue in a database.
pub(crate) fn setup(url: &str, config: &str) -> Setup {
    let fast = "[delivery]\nretry_initial = 1\nretry_max = 2\n";
    Setup::new(format!("{config}{fast}")).env("SMTP_DATABASE_URL", url)
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
    let later = busy.clone();
    let sink = Sink::scripted(move |_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") && later.load(Ordering::Relaxed) => {
            Act::Say("450 4.2.1 later".into())
        }
        _ => Act::Default,
    });
    let server = setup(&database.url(), &sink.relay_config()).start();
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
    let large = format!(
        "Subject: large\r\n\r\n{}",
        format!("{}\r\n", "x".repeat(70)).repeat(200_000)
    );
    client.mail("a@x.test", &["d@y.test"], &large);
    server.wait_empty();
    let messages = sink.wait(2);
    assert_eq!(messages[0].to.len(), 2);
    assert!(messages[1].content.ends_with(b"xxx\r\n") && messages[1].content.len() > 14_000_000);
    // What waits for its turn is found after a restart, by another process, from another folder.
    busy.store(true, Ordering::Relaxed);
    let id = queue_id(&client.mail("a@x.test", &["e@y.test"], &large));
    server.wait_event("delivery", |line| {
        line["id"] == id.as_str() && line["status"] == "deferred"
    });
    let resident = server.resident();
    assert!(resident < 120 << 20, "{resident} octets");
    drop(server);
    let server = setup(&database.url(), &sink.relay_config()).start();
    assert_eq!(server.queue(&["list"])[0]["id"], id.as_str());
    busy.store(false, Ordering::Relaxed);
    server.command(&["queue", "retry", "--all"]);
    let message = &sink.wait(3)[2];
    assert_eq!(message.content.len(), messages[1].content.len());
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
    // What is suspended at one waits at the other.
    assert!(
        one.command(&["queue", "suspend", "--domain", "y.test"])
            .status
            .success()
    );
    std::thread::sleep(Duration::from_secs(2));
    let mut client = Wire::hello(other.smtp);
    let id = queue_id(&client.mail("a@x.test", &["b@y.test"], "Subject: waits\r\n\r\n"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(one.queue(&["show", &id])[0]["id"], id.as_str());
    assert_eq!(sink.count(), 4);
    assert!(
        other
            .command(&["queue", "resume", "--domain", "y.test"])
            .status
            .success()
    );
    sink.wait(5);
    // A reload that is asked of one reaches the other.
    let generation = |server: &Server| server.metric("smtp_config_generation");
    let before = (generation(&one), generation(&other));
    let login = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
    let request = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Basic {login}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let (status, body) = http(one.http, &request);
    assert_eq!(status, 200, "{body}");
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
fn a_pooler_in_transaction_mode_is_enough() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let pooler = PgBouncer::start(&database);
    let config = format!("{}[storage]\npooler = true\n", sink.relay_config());
    let servers = [0, 1].map(|_| setup(&database.url_at(pooler.address), &config).start());
    let clients = Clients::start(8, &[servers[0].smtp, servers[1].smtp]);
    wait_for("a load", || clients.load.acknowledged() > 500);
    let acknowledged = clients.end();
    servers[0].wait_empty();
    let copies = arrived(&sink);
    assert!(acknowledged.iter().all(|number| copies.get(number) == Some(&1)));
    for server in &servers {
        assert!(
            server.events("store_failed").is_empty(),
            "{:?}",
            server.events("store_failed")
        );
    }
    assert_empty(&database);
}

#[test]
fn the_way_to_the_database_is_secured_as_asked() {
    let database = Postgres::with("listen_addresses = '127.0.0.1,127.0.0.2'\n");
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [cert, key, ca] =
        ["cert.pem", "key.pem", "ca.pem"].map(|name| database.put(Path::new(&path(name)), name));
    database.reconfigure(&format!(
        "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'",
        cert.display(),
        key.display(),
        ca.display()
    ));
    // From here on only in TLS, with a certificate of the authority, or with the password.
    let rules = "local all all trust\nhostssl all postgres 127.0.0.0/8 cert clientcert=verify-full map=hop\n\
                 hostssl all keeper 127.0.0.0/8 scram-sha-256\n";
    database.sql("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'pass word'");
    database.rules(rules, "hop hop postgres");
    let (port, name) = (database.port, &database.name);
    let mutual = |mode: &str, host: &str, ca: &str| {
        format!(
            "postgresql://postgres@{host}:{port}/{name}?sslmode={mode}&sslrootcert={ca}&sslcert={}&sslkey={}",
            path("cert.pem"),
            path("key.pem")
        )
    };
    let works = |url: &str| {
        let server = Setup::new("[delivery]\ncapture = true\n")
            .env("SMTP_DATABASE_URL", url)
            .start();
        Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: kept\r\n\r\n");
    };
    works(&mutual("verify-full", "localhost", &path("ca.pem")));
    works(&mutual("verify-full", "127.0.0.1", &path("ca.pem")));
    // Without a certificate, by a password from a file; which is not shown.
    let password = folder.path().join("password");
    std::fs::write(&password, "pass word\n").expect("password");
    let by_password = format!("postgresql://keeper@localhost:{port}/{name}?sslmode=require");
    let config = format!(
        "[storage]\npassword_file = \"{}\"\n[delivery]\ncapture = true\n",
        password.display()
    );
    let mut server = Setup::new(config).env("SMTP_DATABASE_URL", &by_password).start();
    let shown = String::from_utf8(server.command(&["config", "show"]).stdout).expect("UTF-8");
    assert!(
        !shown.contains("keeper") && !shown.contains("pass word"),
        "{shown}"
    );
    assert!(server.stop().success());
    let refused = |url: &str, reason: &str| {
        let (code, text) = refusal(&setup(url, ""));
        assert!(code == 75 && text.contains(reason), "{url}: {code} {text}");
    };
    // Another authority, another name, no TLS at all.
    let others = tempfile::tempdir().expect("a folder");
    certificates(others.path());
    let foreign = others.path().join("ca.pem").display().to_string();
    refused(&mutual("verify-full", "localhost", &foreign), "certificate");
    refused(&mutual("verify-ca", "localhost", &foreign), "certificate");
    refused(
        &format!("postgresql://postgres@localhost:{port}/{name}?sslmode=disable"),
        "no encryption",
    );
    // A name that is not in the certificate: verify-ca does not look at it, verify-full does.
    works(&mutual("verify-ca", "127.0.0.2", &path("ca.pem")));
    refused(
        &mutual("verify-full", "127.0.0.2", &path("ca.pem")),
        "certificate",
    );
    // So is a database that cannot hold every address.
    database.plain_rules();
    database.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let latin = format!("postgresql://postgres@127.0.0.1:{port}/latin");
    let (code, text) = refusal(&setup(&latin, ""));
    assert!(
        code == 78 && text.contains("LATIN1") && text.contains("createdb"),
        "{code} {text}"
    );
    // What is wrong before anything is connected is a fault of the configuration.
    for (url, reason) in [
        (
            "postgresql://postgres@localhost/queue?sslmode=maybe",
            "sslmode maybe",
        ),
        (
            "postgresql://postgres:hidden@localhost/queue?sslrootcert=/nowhere.pem&sslmode=verify-full",
            "/nowhere.pem",
        ),
        ("mysql://hidden@localhost/queue", "postgresql://"),
    ] {
        let (code, text) = refusal(&setup(url, ""));
        assert!(
            code == 78 && text.contains(reason) && !text.contains("hidden"),
            "{code} {text}"
        );
        let mut check = program(binary().to_str().expect("path"));
        let check = check
            .arg("check")
            .env_clear()
            .env("SMTP_DATABASE_URL", url)
            .output()
            .expect("check");
        assert_eq!(check.status.code(), Some(78));
        assert!(
            String::from_utf8_lossy(&check.stdout).contains(reason),
            "{check:?}"
        );
    }
}

#[test]
fn a_newer_schema_is_refused_and_a_running_server_bears_one_that_only_grew() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let running = setup(&database.url(), &sink.relay_config()).start();
    let clients = Clients::start(4, &[running.smtp]);
    wait_for("a load", || clients.load.acknowledged() > 100);
    // What a newer version does first, with the old one still at work: it adds.
    let version: u32 = database
        .sql("SELECT version FROM schema_version")
        .parse()
        .expect("a number");
    database.sql(&format!(
        "BEGIN; ALTER TABLE messages ADD COLUMN later text; ALTER TABLE recipients ADD COLUMN later integer NOT NULL DEFAULT 0;
         CREATE TABLE later (x integer); UPDATE schema_version SET version = {}; COMMIT",
        version + 1
    ));
    let before = clients.load.acknowledged();
    wait_for("the load to go on", || clients.load.acknowledged() > before + 200);
    let acknowledged = clients.end();
    running.wait_empty();
    let copies = arrived(&sink);
    assert!(acknowledged.iter().all(|number| copies.get(number) == Some(&1)));
    assert!(running.events("store_failed").is_empty());
    let (code, text) = refusal(&setup(&database.url(), &sink.relay_config()));
    assert!(code == 74 && text.contains("newer version"), "{code} {text}");
}

#[test]
fn text_that_means_something_to_sql_means_nothing_here() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let server = setup(&database.url(), &sink.relay_config()).start();
    let evil = [
        "'; DROP TABLE messages; --",
        "\"; DROP TABLE recipients; --",
        "1 OR 1=1",
        "' UNION SELECT secret FROM directory --",
        "$1; SELECT pg_sleep(20)",
        "\\'; DELETE FROM messages; --",
        "{\"a\": [1,2]}",
        "NULL",
        "a\u{2019}b%_?",
    ];
    let tables =
        database.sql("SELECT count(*), sum(length(relname)) FROM pg_class WHERE relkind IN ('r', 'i')");
    for text in evil {
        let mut client = Wire::connect(server.smtp);
        client.reply();
        client.say(&format!("EHLO {text}"));
        client.expect("EHLO client.test", 250);
        // In whatever place of a dialog it is said; some of these are refused.
        client.say(&format!(
            "MAIL FROM:<\"{}\"@x.test> SMTPUTF8",
            text.replace(['"', '\\'], "")
        ));
        client.say("RSET");
        client.say(&format!(
            "MAIL FROM:<a@x.test> ENVID={}",
            text.replace(' ', "+20")
        ));
        client.say("RSET");
        client.say(&format!(
            "MAIL FROM:<a@x.test> SMTPUTF8 AUTH={}",
            text.replace(' ', "+20")
        ));
        client.say("RSET");
        client.expect("MAIL FROM:<a@x.test>", 250);
        client.say(&format!(
            "RCPT TO:<\"{}\"@y.test> ORCPT=rfc822;{}",
            text.replace(['"', '\\'], ""),
            text.replace(' ', "+20")
        ));
        client.expect("RCPT TO:<b@y.test>", 250);
        client.expect("DATA", 354);
        client.send(format!(
            "Message-ID: <{text}@x>\r\nSubject: {text}\r\n\r\n{text}\r\n.\r\n"
        ));
        assert_eq!(client.reply().code, 250, "{text}");
        for filter in ["--sender", "--domain", "--recipient", "--reason", "--account"] {
            // Nothing is meant by these, or what is typed is refused.
            let hold = server.command(&["queue", "hold", filter, text]);
            assert!(
                hold.status.success() || hold.status.code() == Some(64) || hold.status.code() == Some(65),
                "{hold:?}"
            );
        }
        server.command(&["account", "add", text]);
        server.command(&["alias", "add", text, "a@x.test"]);
        server.command(&["domain", "add", text]);
        server.command(&["token", "add", text]);
        server.command(&["queue", "suspend", "--domain", text]);
        server.command(&["queue", "resume", "--domain", text]);
    }
    sink.wait(evil.len());
    server.wait_empty();
    assert_eq!(
        database.sql("SELECT count(*), sum(length(relname)) FROM pg_class WHERE relkind IN ('r', 'i')"),
        tables
    );
    assert_empty(&database);
    assert!(
        server.events("store_failed").is_empty(),
        "{:?}",
        server.events("store_failed")
    );
}

/// The one line of an event that there is.
fn one_event(server: &Server, event: &str) -> serde_json::Value {
    let mut lines = server.events(event);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn who_stood_still_past_its_lease_delivers_nothing_twice() {
    let database = Postgres::start();
    // The next hop stops the dialog before the dot, until it is told to go on.
    let slow = Sink::scripted(|connection, moment| match moment {
        Moment::Command(line) if line == "DATA" && connection == 1 => Act::Hang,
        _ => Act::Default,
    });
    let mut one = setup(&database.url(), &slow.relay_config()).start();
    let mut client = Wire::hello(one.smtp);
    for number in 0..20 {
        client.mail("a@x.test", &["b@y.test"], &format!("X-Number: {number}\r\n\r\n"));
    }
    // All but the one that hangs are delivered, and that is written.
    wait_for("nineteen deliveries", || {
        slow.count() == 19 && one.metric("smtp_queue_depth") == 1.0
    });
    one.signal(Signal::SIGSTOP);
    let arrived_before = slow.count();
    let sink = Sink::start();
    let other = setup(&database.url(), &sink.relay_config()).start();
    // Its leases end after a minute, and it counts as dead.
    wait_for_secs("the others to take over", 100, || {
        sink.count() + arrived_before >= 20 && other.metric("smtp_queue_depth") == 0.0
    });
    assert_eq!(other.metric("smtp_leases_taken_over_total"), 1.0);
    assert_eq!(one_event(&other, "leases_taken_over")["recipients"], 1);
    one.signal(Signal::SIGCONT);
    wait_for("what it lost to be noticed", || {
        one.metric("smtp_leases_lost_total") == 1.0
    });
    std::thread::sleep(Duration::from_secs(8));
    let mut numbers: Vec<String> = sink
        .messages()
        .iter()
        .chain(&slow.messages())
        .filter_map(|message| message.field("X-Number"))
        .collect();
    let all = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!((all, numbers.len()), (20, 20), "each once");
    // It is one of them again.
    Wire::hello(one.smtp).mail("a@x.test", &["b@y.test"], "X-Number: 99\r\n\r\n");
    wait_for_secs("the two of them", 20, || other.metric("smtp_servers") == 2.0);
    assert!(one.stop().success());
    // Its renewal was refused; that the result was too, was no news.
    assert_eq!(one_event(&one, "leases_lost")["recipients"], 1);
    assert_eq!(other.metric("smtp_leases_lost_total"), 0.0);
    other.wait_empty();
    assert_empty(&database);
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
    let setup = || Setup::new(&config).env("SMTP_DATABASE_URL", database.url());
    let right = setup().start();
    // One is two hours ahead, one two hours behind.
    let wrong = ["+2h", "-2h"].map(|shift| {
        // Not by the program of that name, which would be left with nobody to end its child.
        let setup = setup().env(
            "LD_PRELOAD",
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        );
        let setup = setup.env("FAKETIME", shift);
        setup.start()
    });
    for server in [&right, &wrong[0], &wrong[1]] {
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
    for server in [&right, &wrong[0], &wrong[1]] {
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
}

#[test]
fn what_happened_to_a_message_every_server_knows() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let mut one = setup(&database.url(), &sink.relay_config()).start();
    assert!(
        one.command(&["queue", "suspend", "--domain", "y.test"])
            .status
            .success()
    );
    let mut client = Wire::hello(one.smtp);
    let id = queue_id(&client.mail("ann@x.test", &["b@y.test"], "Message-ID: <told@x.test>\r\n\r\n"));
    assert!(one.stop().success());
    let other = setup(&database.url(), &sink.relay_config()).start();
    other.command(&["queue", "resume", "--domain", "y.test"]);
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
