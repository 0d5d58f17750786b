//! A move that is killed when what webhooks are to be told is in both databases: it is not there twice afterwards.

use crate::moving::{kill_in_the_middle, migrate, moved};
use blackbox::postgres::Postgres;
use blackbox::server::binary;
use blackbox::tools::run;
use blackbox::wait_for;
use std::path::Path;
use std::process::Command;

/// Two portions and a half.
const CALLS: usize = 250;
/// What is left to be moved when the second portion is being moved.
const LEFT: usize = 150;
/// Whoever changes the second portion waits at the end of its statement for [`KEEP`], whichever way it goes.
const WAIT: &str = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
         IF (SELECT count(*) FROM webhook_calls) IN (50, 200) THEN PERFORM pg_advisory_xact_lock(1); END IF;
         RETURN NULL;
     END $$;
     CREATE TRIGGER wait AFTER INSERT OR DELETE ON webhook_calls FOR EACH STATEMENT EXECUTE FUNCTION wait()";
const KEEP: &str = "SELECT pg_advisory_lock(1)";

/// How many calls the database has, and how many different ones.
fn calls(database: &Postgres) -> String {
    database.sql("SELECT count(*), count(DISTINCT (webhook, event, body)) FROM webhook_calls")
}

/// Moves, is killed at the second portion, and goes on.
fn move_in_two_goes(database: &Postgres, from: &str, to: &str, scratch: &Path) {
    let waits = |what: &str| {
        database.sql(&format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {what}"
        ))
    };
    let keeper = database.hold(KEEP);
    wait_for("the lock to be kept", || waits("granted") == "1");
    kill_in_the_middle(migrate(from, to, scratch), || waits("NOT granted") == "1");
    drop(keeper);
    // A statement that was sent is done to its end, whoever sent it.
    wait_for("what it had begun to end", || waits("true") == "0");
    let output = run(&mut migrate(from, to, scratch));
    assert_eq!(
        moved(&output)["webhook_calls"],
        LEFT,
        "those of the second portion once more"
    );
}

#[test]
fn what_was_being_moved_when_it_was_killed_is_not_there_twice() {
    let (database, folder) = (Postgres::start(), tempfile::tempdir().expect("a folder"));
    let mut schema = Command::new(binary());
    run(schema
        .arg("migrate")
        .env_clear()
        .env("SMTP_DATABASE_URL", database.url()));
    database.sql(&format!(
        "INSERT INTO webhook_calls (webhook, event, created, due, tries, body)
         SELECT 'told', decode(lpad(to_hex(n), 32, '0'), 'hex'), 1790000000000 + n, 1790000000000 + n, 0, '{{\"n\":' || n || '}}'
         FROM generate_series(1, {CALLS}) AS n; {WAIT}"
    ));
    let all = calls(&database);
    assert_eq!(all, format!("{CALLS}|{CALLS}"));
    let file = folder.path().join("smtp.db").display().to_string();
    let (url, scratch) = (database.url(), folder.path().join("scratch"));
    // They are in SQLite, and not yet taken from PostgreSQL.
    move_in_two_goes(&database, &url, &file, &scratch);
    assert_eq!(calls(&database), "0|0");
    // They are in PostgreSQL, and not yet taken from SQLite.
    move_in_two_goes(&database, &file, &url, &scratch);
    assert_eq!(calls(&database), all);
}
