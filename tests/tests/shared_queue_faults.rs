//! A queue in PostgreSQL when something breaks: the database, the way to it, a server.

use crate::shared_queue::{assert_empty, setup};
use blackbox::disk::Tmpfs;
use blackbox::load::{Clients, Random, arrived};
use blackbox::postgres::{Cut, Postgres, Proxy};
use blackbox::server::{Server, refusal};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use std::collections::BTreeMap;
use std::time::Duration;

fn lost(acknowledged: &std::collections::BTreeSet<u64>, copies: &BTreeMap<u64, usize>) -> Vec<u64> {
    let missing = |number: &&u64| !copies.contains_key(number);
    acknowledged.iter().filter(missing).copied().collect()
}

#[test]
fn nothing_acknowledged_is_lost_when_servers_and_database_crash() {
    const MESSAGES: usize = 20_000;
    let (mut database, sink) = (Postgres::start(), Sink::start());
    let start = || setup(&database.url(), &sink.relay_config()).start();
    let mut servers: Vec<Server> = (0..3).map(|_| start()).collect();
    let addresses = |servers: &[Server]| servers.iter().map(|server| server.smtp).collect::<Vec<_>>();
    let clients = Clients::start(12, &addresses(&servers));
    let (mut random, mut kills) = (Random::default(), 0);
    while clients.load.acknowledged() < MESSAGES {
        std::thread::sleep(Duration::from_millis(1000));
        let mut victim = servers.remove(random.below(3) as usize);
        clients.load.set_servers(&addresses(&servers));
        victim.kill();
        if kills == 4 {
            database.crash();
            std::thread::sleep(Duration::from_millis(500));
            database.start_again();
        }
        servers.push(victim.restart());
        clients.load.set_servers(&addresses(&servers));
        kills += 1;
        assert!(
            kills < 300,
            "{} acknowledged after {kills} kills",
            clients.load.acknowledged()
        );
    }
    assert!(kills > 4, "the database was among them");
    let acknowledged = clients.end();
    wait_for_secs("the queue to be empty", 120, || {
        servers[0].metric("smtp_queue_depth") == 0.0
    });
    let copies = arrived(&sink);
    let repeated = copies.values().filter(|count| **count > 1).count();
    println!(
        "{kills} kills: {} acknowledged, {repeated} arrived more than once (relayed when the kill came, before the result was stored)",
        acknowledged.len()
    );
    let lost = lost(&acknowledged, &copies);
    assert!(lost.is_empty(), "lost: {lost:?}");
    // What a server had in hand when it was killed: no more than its connections, and the batch that was being written.
    assert!(repeated <= kills * 200, "{repeated} of {}", acknowledged.len());
    assert_empty(&database);
}

#[test]
fn an_answer_to_a_commit_that_is_lost_is_found_out() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let proxy = Proxy::before(database.address());
    let server = setup(&database.url_at(proxy.address), &sink.relay_config()).start();
    let mut client = Wire::hello(server.smtp);
    client.mail("a@x.test", &["b@y.test"], "X-Number: 0\r\n\r\nwarm\r\n");
    sink.wait(1);
    server.wait_empty();
    // The message is committed; the answer is lost. The client hears 250 all the same, and it is delivered once.
    proxy.cut(Cut::Answer(b"marker one".to_vec()));
    let reply = client.mail("a@x.test", &["b@y.test"], "X-Number: 1\r\n\r\nmarker one\r\n");
    assert!(proxy.is_done(), "the answer was lost");
    assert_eq!(reply.code, 250, "{reply:?}");
    // It never came to the database: 451, and nothing is there.
    proxy.cut(Cut::Request(b"marker two".to_vec()));
    for (command, code) in [
        ("MAIL FROM:<a@x.test>", 250),
        ("RCPT TO:<b@y.test>", 250),
        ("DATA", 354),
    ] {
        client.expect(command, code);
    }
    client.send("X-Number: 2\r\n\r\nmarker two\r\n.\r\n");
    let reply = client.reply();
    assert!(proxy.is_done() && reply.code == 451, "{reply:?}");
    assert_eq!(
        database.sql(
            "SELECT count(*) FROM messages WHERE position('marker two' in convert_from(content, 'UTF8')) > 0"
        ),
        "0"
    );
    wait_for("MAIL to be taken again", || {
        let mut client = Wire::hello(server.smtp);
        client.say("MAIL FROM:<a@x.test>").code == 250
    });
    // The same with the results of deliveries: what was delivered is not delivered again.
    for number in 3..8 {
        proxy.cut(Cut::Answer(b"COMMIT\0".to_vec()));
        wait_for("a message to be taken", || {
            let mut client = Wire::hello(server.smtp);
            client.say("MAIL FROM:<a@x.test>").code == 250
                && client.say("RCPT TO:<b@y.test>").code == 250
                && client.say("DATA").code == 354
                && {
                    client.send(format!("X-Number: {number}\r\n\r\n.\r\n"));
                    client.reply().code == 250
                }
        });
        wait_for("the answer to be lost", || proxy.is_done());
    }
    wait_for_secs("the queue to be empty", 120, || {
        server.metric("smtp_queue_depth") == 0.0
    });
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for message in sink.messages() {
        *copies
            .entry(message.field("X-Number").expect("X-Number"))
            .or_default() += 1;
    }
    let expected: BTreeMap<String, usize> = ["0", "1", "3", "4", "5", "6", "7"]
        .map(|number| (number.to_owned(), 1))
        .into();
    assert_eq!(copies, expected);
    assert_empty(&database);
}

#[test]
fn while_the_database_is_away_clients_are_told_to_come_again() {
    let mut database = Postgres::start();
    // The reply to a message comes when the database is already away.
    let sink = Sink::scripted(|_, moment| match moment {
        Moment::EndOfData(message) if message.text().contains("slow") => {
            std::thread::sleep(Duration::from_secs(3));
            Act::Default
        }
        _ => Act::Default,
    });
    let server = setup(&database.url(), &sink.relay_config()).start();
    let mut client = Wire::hello(server.smtp);
    client.mail("a@x.test", &["b@y.test"], "Subject: slow\r\n\r\n");
    wait_for("the delivery to begin", || sink.open() > 0);
    let mut midway = Wire::hello(server.smtp);
    midway.expect("MAIL FROM:<a@x.test>", 250);
    midway.expect("RCPT TO:<b@y.test>", 250);
    midway.expect("DATA", 354);
    database.crash();
    midway.send("Subject: midway\r\n\r\n.\r\n");
    let reply = midway.reply();
    assert!(reply.code == 451 && reply.text().contains("4.3.0"), "{reply:?}");
    // At MAIL already, from then on.
    wait_for("MAIL to be refused", || {
        let reply = client.say("MAIL FROM:<a@x.test>");
        if reply.code == 250 {
            client.say("RSET");
        }
        reply.code == 451 && reply.text().contains("4.3.0")
    });
    // Degraded, but ready: all servers lose the same database at once.
    let (status, body) = server.get("/health/ready");
    assert!(
        status == 200 && body.contains("degraded") && body.contains("away"),
        "{status} {body}"
    );
    assert_eq!(server.get("/health/live").0, 200);
    assert!(server.metric("smtp_storage_away_seconds") > 0.0);
    // After a minute it is not ready any more, and still alive.
    wait_for_secs("it to be not ready", 90, || server.get("/health/ready").0 == 503);
    assert!(server.metric("smtp_storage_away_seconds") >= 60.0);
    assert_eq!(server.get("/health/live").0, 200);
    sink.wait(1);
    database.start_again();
    wait_for_secs("it to be ready", 30, || server.get("/health/ready").0 == 200);
    wait_for("mail to be taken again", || {
        client.say("MAIL FROM:<a@x.test>").code == 250
    });
    client.say("RSET");
    client.mail("a@x.test", &["b@y.test"], "Subject: after\r\n\r\n");
    sink.wait(2);
    server.wait_empty();
    // The result of the one whose reply came meanwhile was kept, and written: it did not come again.
    let slow = sink
        .messages()
        .iter()
        .filter(|message| message.text().contains("slow"))
        .count();
    assert_eq!((slow, sink.count()), (1, 2));
    assert_eq!(server.metric("smtp_storage_away_seconds"), 0.0);
    assert_empty(&database);
}

#[test]
fn a_standby_that_takes_over_has_everything_that_was_acknowledged() {
    let (mut primary, sink) = (Postgres::start(), Sink::start());
    let standby = primary.synchronous_standby();
    let url = format!(
        "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
        primary.port, standby.port, primary.name
    );
    let servers = [0, 1].map(|_| setup(&url, &sink.relay_config()).start());
    // A standby alone is no place for a queue.
    let (code, text) = refusal(&setup(&standby.url(), &sink.relay_config()));
    assert!(code == 75 && text.contains("only reads"), "{code} {text}");
    let clients = Clients::start(8, &[servers[0].smtp, servers[1].smtp]);
    wait_for("a load", || clients.load.acknowledged() > 500);
    primary.crash();
    let before = clients.load.acknowledged();
    std::thread::sleep(Duration::from_secs(1));
    standby.promote();
    standby.sql("ALTER SYSTEM RESET synchronous_standby_names");
    standby.sql("SELECT pg_reload_conf()");
    wait_for_secs("the load to go on", 60, || {
        clients.load.acknowledged() > before + 500
    });
    let acknowledged = clients.end();
    wait_for_secs("the queue to be empty", 120, || {
        servers[0].metric("smtp_queue_depth") == 0.0
    });
    let copies = arrived(&sink);
    let lost = lost(&acknowledged, &copies);
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_empty(&standby);
}

#[test]
fn a_database_that_cannot_do_it_now_is_no_reason_to_lose_anything() {
    let disk = Tmpfs::new("200m");
    let folder = disk.join("data");
    std::fs::create_dir_all(&folder).expect("folder");
    let (database, sink) = (
        Postgres::on_disk(&folder, "max_wal_size = 32MB\nmin_wal_size = 2MB\n"),
        Sink::start(),
    );
    let server = setup(&database.url(), &sink.relay_config()).start();
    let mut client = Wire::hello(server.smtp);
    let mut refused_and_recovers = |what: &str, mut mend: Box<dyn FnMut() + '_>| {
        let mut replies = Vec::new();
        wait_for_secs(what, 60, || {
            let code = try_mail(&mut client, what);
            replies.push(code);
            code == 451
        });
        assert!(
            replies.iter().all(|code| [250, 451].contains(code)),
            "{what}: {replies:?}"
        );
        assert_eq!(server.get("/health/live").0, 200, "{what}");
        mend();
        wait_for_secs(&format!("an end of {what}"), 60, || {
            try_mail(&mut client, what) == 250
        });
    };
    // Statements are given up by the database.
    database.reconfigure("statement_timeout = 1ms");
    refused_and_recovers(
        "statements that time out",
        Box::new(|| database.reconfigure("statement_timeout = 0")),
    );
    // It only reads.
    database.reconfigure("default_transaction_read_only = on");
    refused_and_recovers(
        "a database that only reads",
        Box::new(|| database.reconfigure("default_transaction_read_only = off")),
    );
    // Its disk is full.
    let fill = folder.join("filler");
    std::fs::write(&fill, "").expect("filler");
    let status = std::process::Command::new("dd")
        .args([
            "if=/dev/zero",
            "bs=1M",
            "count=500",
            &format!("of={}", fill.display()),
        ])
        .stderr(std::process::Stdio::null())
        .status();
    assert!(!status.expect("dd").success(), "the disk is full");
    let large = "x".repeat(70) + "\r\n";
    let large = large.repeat(3000);
    let mut other = Wire::hello(server.smtp);
    wait_for_secs("a full disk to be noticed", 60, || {
        try_large(&mut other, &large) == 451
    });
    std::fs::remove_file(&fill).expect("room");
    wait_for_secs("room to be noticed", 90, || {
        let mut again = Wire::hello(server.smtp);
        try_large(&mut again, &large) == 250
    });
    wait_for_secs("the queue to be empty", 120, || {
        server.metric("smtp_queue_depth") == 0.0
    });
    assert_empty(&database);
}

/// The code that a message ends with, at whatever step.
fn try_mail(client: &mut Wire, subject: &str) -> u16 {
    try_large(client, &format!("Subject: {subject}\r\n\r\n"))
}

fn try_large(client: &mut Wire, content: &str) -> u16 {
    let code = client.say("MAIL FROM:<a@x.test>").code;
    if code != 250 {
        return code;
    }
    client.expect("RCPT TO:<b@y.test>", 250);
    client.expect("DATA", 354);
    client.send(format!("{content}.\r\n"));
    client.reply().code
}

#[test]
fn connections_that_are_all_taken_delay_mail_and_lose_none() {
    let database = Postgres::with("max_connections = 16\nsuperuser_reserved_connections = 4\n");
    database.sql("CREATE ROLE mail LOGIN");
    database.sql("GRANT ALL ON SCHEMA public TO mail");
    let sink = Sink::start();
    let url = format!("postgresql://mail@{}/{}", database.address(), database.name);
    let config = format!("{}[storage]\npool_size = 8\n", sink.relay_config());
    let server = setup(&url, &config).start();
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: before\r\n\r\n");
    sink.wait(1);
    // Others take all there are; then those of ours break.
    let mut hogs = Vec::new();
    wait_for_secs("all connections to be taken", 60, || {
        hogs.extend(database.hold_connection("mail"));
        database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'smtp-server%'",
        );
        hogs.len() == 12
    });
    wait_for_secs("clients to be told", 60, || {
        let mut client = Wire::hello(server.smtp);
        try_mail(&mut client, "none left") == 451
    });
    drop(hogs);
    wait_for_secs("an end of it", 60, || {
        let mut client = Wire::hello(server.smtp);
        try_mail(&mut client, "some again") == 250
    });
    server.wait_empty();
    assert_empty(&database);
}
