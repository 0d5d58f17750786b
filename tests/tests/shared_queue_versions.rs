//! One queue in the oldest PostgreSQL that is good enough, and in the newest.

use crate::moving::migrate;
use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::Postgres;
use blackbox::sink::Sink;
use blackbox::tools::run;
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use real_postgres::Version;

/// Mail small and large through two servers that hear of each other; then all that waits moves out, and in again.
fn works(version: Version, number: &str) {
    let (database, sink) = (Postgres::of(version), Sink::start());
    let shown = database.sql("SHOW server_version");
    assert!(shown.starts_with(number), "{shown}");
    let start = || {
        let setup = setup(&database.url(), &sink.relay_config());
        setup.env("SMTP_LOG_LEVEL", "debug").start()
    };
    let (mut one, mut other) = (start(), start());
    for server in [&one, &other] {
        server.wait_event("hints_heard", |_| true);
    }
    let mut client = Wire::hello(one.smtp);
    client.mail("a@x.test", &["b@y.test", "c@y.test"], "Subject: small\r\n\r\n");
    let line = format!("{}\r\n", "x".repeat(70));
    let large = format!("Subject: large\r\n\r\n{}", line.repeat(20_000));
    client.mail("a@x.test", &["b@y.test"], &large);
    sink.wait(2);
    one.wait_empty();
    assert_empty(&database);
    assert_eq!(other.json(&["servers"]).len(), 2);
    one.done(&["queue", "suspend", "--domain", "waits.test"]);
    other.wait_event("hint", |line| line["what"] == "suspensions");
    let mut client = Wire::hello(other.smtp);
    let ids = ["one", "two", "three"].map(|word| {
        let content = format!("Subject: {word}\r\n\r\n{}", line.repeat(5000));
        queue_id(&client.mail("a@x.test", &["b@waits.test"], &content))
    });
    drop(client);
    assert!(one.stop().success() && other.stop().success());
    // Out, and in again.
    let folder = tempfile::tempdir().expect("a folder");
    let (file, scratch) = (folder.path().join("smtp.db"), folder.path().join("scratch"));
    let file = file.to_str().expect("path");
    run(&mut migrate(&database.url(), file, &scratch));
    assert_empty(&database);
    run(&mut migrate(file, &database.url(), &scratch));
    let back = start();
    assert!(
        ids.iter()
            .all(|id| back.queue(&["show", id])[0]["id"] == id.as_str())
    );
    back.done(&["queue", "resume", "--domain", "waits.test"]);
    sink.wait(5);
    back.wait_empty();
    wait_for("history", || {
        let shown = back.json(&["history", "show", &ids[0]]);
        shown[0]["ended_at"].is_string()
    });
    assert_empty(&database);
}

#[test]
fn the_oldest_postgresql_is_enough() {
    works(Version::Oldest, "14.");
}

#[test]
fn the_newest_postgresql_is_no_trouble() {
    works(Version::Newest, "18.");
}
