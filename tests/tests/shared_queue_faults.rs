//! A queue in PostgreSQL when the database, or the way to it, breaks.

use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::{Cut, Postgres, Proxy};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use std::collections::BTreeMap;
use std::time::Duration;

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
