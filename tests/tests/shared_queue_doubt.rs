//! A queue in PostgreSQL: what became of a COMMIT cannot be found out for longer than anybody waits for it.

use crate::shared_queue::{assert_empty, setup};
use crate::shared_queue_outage::{Slow, send};
use blackbox::postgres::{Cut, Postgres, Proxy};
use blackbox::server::Server;
use blackbox::wire::{Reply, Wire};
use blackbox::{wait_for, wait_for_secs};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long the database is away then: a doubt lasts 20 s before it is told.
const AWAY: Duration = Duration::from_secs(30);
/// Of the statements that write results.
const RESULT: &[u8] = b"given.state IN (4, 5, 6)";

/// A server behind a proxy, which sends each statement with its text, as before a pooler.
fn behind(proxy: &Proxy, database: &Postgres, slow: &Slow) -> Server {
    let config = format!("{}[storage]\npooler = true\n", slow.sink.relay_config());
    setup(&database.url_at(proxy.address), &config).start()
}

fn offer(server: &Server, name: &str) -> Reply {
    let mut client = Wire::hello(server.smtp);
    let patience = Some(Duration::from_secs(90));
    client.stream().set_read_timeout(patience).expect("time-out");
    client.mail(
        "a@x.test",
        &["b@y.test"],
        &format!("X-Number: {name}\r\n\r\nquick\r\n"),
    )
}

fn takes_mail(server: &Server) {
    wait_for_secs("mail to be taken again", 60, || {
        Wire::hello(server.smtp).say("MAIL FROM:<a@x.test>").code == 250
    });
}

#[test]
fn a_message_that_may_be_stored_is_refused_and_comes_again_by_its_client_only() {
    let (database, slow) = (Postgres::start(), Slow::start());
    let proxy = Proxy::before(database.address());
    let server = behind(&proxy, &database, &slow);
    assert_eq!(offer(&server, "before").code, 250);
    server.wait_empty();
    let stored = || database.sql("SELECT count(*) FROM messages");
    // It is stored, and it never came there: nobody can tell which.
    for (name, cut, there) in [
        ("stored", Cut::Answer(b"X-Number: stored".to_vec()), "1"),
        ("lost", Cut::Request(b"X-Number: lost".to_vec()), "1"),
    ] {
        proxy.cut_and_be_away(cut, AWAY);
        let reply = offer(&server, name);
        assert!(
            reply.code == 451 && reply.text().contains("4.3.0"),
            "{name}: {reply:?}"
        );
        assert!(proxy.is_done() && proxy.is_away());
        assert_eq!(stored(), there, "{name}");
        takes_mail(&server);
    }
    // Its client comes again.
    for name in ["stored", "lost"] {
        assert_eq!(offer(&server, name).code, 250);
    }
    wait_for_secs("the queue to be empty", 120, || {
        server.metric("smtp_queue_depth") == 0.0
    });
    let expected =
        [("before", 1), ("lost", 1), ("stored", 2)].map(|(name, copies)| (name.to_owned(), copies));
    assert_eq!(slow.copies(), BTreeMap::from(expected));
    assert_empty(&database);
}

#[test]
fn a_result_that_may_be_written_is_written_once() {
    let (database, slow) = (Postgres::start(), Slow::start());
    let proxy = Proxy::before(database.address());
    let server = behind(&proxy, &database, &slow);
    let waiting = || database.sql("SELECT count(*) FROM messages");
    for (number, (name, cut, left, buried)) in (1..).zip([
        ("written", Cut::Answer(RESULT.to_vec()), "0", false),
        ("lost", Cut::Request(RESULT.to_vec()), "1", false),
        // Another server took it for dead meanwhile: nothing can be said of what was before, so it is written again.
        ("written, and buried", Cut::Answer(RESULT.to_vec()), "0", true),
        ("lost, and buried", Cut::Request(RESULT.to_vec()), "1", true),
    ]) {
        let failed = || {
            let lines = server.events("store_failed");
            lines.iter().filter(|line| line["operation"] == "finish").count()
        };
        let before = failed();
        slow.hush();
        send(&server, name);
        slow.wait_held(number);
        proxy.cut_and_be_away(cut, AWAY);
        slow.speak();
        wait_for("the connection to break", || proxy.is_done() && proxy.is_away());
        assert_eq!(waiting(), left, "{name}");
        if buried {
            database.sql("DELETE FROM servers");
        }
        // The doubt is told before there is an end of it.
        wait_for("the doubt to be told", || failed() > before);
        assert!(proxy.is_away());
        takes_mail(&server);
        server.wait_empty();
        // Written twice it would have come too late.
        let lost = server.metric("smtp_leases_lost_total");
        assert!(lost == 0.0 || buried, "{name}: {lost} lost");
    }
    assert!(slow.copies().len() == 4 && slow.copies().values().all(|count| *count == 1));
    assert_empty(&database);
}
