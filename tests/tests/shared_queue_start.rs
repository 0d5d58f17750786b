//! One queue in PostgreSQL: a start while the database is away.

use crate::shared_queue::setup;
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup, binary, ended};
use blackbox::sink::Sink;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How it ended, and what its log said.
fn end(setup: &Setup) -> (Option<i32>, Vec<Value>) {
    let output = ended(setup);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    (output.status.code(), lines.collect())
}

fn awaited(log: &[Value]) -> usize {
    log.iter()
        .filter(|line| line["event"] == "storage_awaited")
        .count()
}

#[test]
fn a_database_that_comes_later_is_waited_for() {
    let (mut database, sink) = (Postgres::start(), Sink::start());
    database.crash();
    let mut server = Server::begin(setup(&database.url(), &sink.relay_config()));
    let told = server.wait_event("storage_awaited", |_| true);
    assert!(
        told["at_most"] == 240.0 && told["error"].as_str().expect("error").contains("refused"),
        "{told}"
    );
    assert_eq!(server.get("/health/live").0, 200);
    let (status, body) = server.get("/health/ready");
    assert!(
        status == 503 && body.contains("waiting for the database") && body.contains("240 s at most"),
        "{status} {body}"
    );
    assert!(server.metric("smtp_storage_away_seconds") > 0.0);
    assert_eq!(server.metric("smtp_ready"), 0.0);
    // Many attempts later it was told once.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(server.events("storage_awaited").len(), 1);
    database.start_again();
    server.until_ready();
    assert_eq!(server.get("/health/ready").0, 200);
    assert_eq!(server.metric("smtp_storage_away_seconds"), 0.0);
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: after all\r\n\r\n");
    sink.wait(1);
    server.wait_empty();
    assert!(server.stop().success());
}

#[test]
fn connections_that_are_all_taken_are_waited_for() {
    let database = Postgres::start();
    database.sql("CREATE ROLE mail LOGIN CONNECTION LIMIT 0");
    database.sql("GRANT ALL ON SCHEMA public TO mail");
    let url = format!("postgresql://mail@{}/{}", database.address(), database.name);
    let mut server = Server::begin(setup(&url, ""));
    let told = server.wait_event("storage_awaited", |_| true);
    assert!(
        told["error"]
            .as_str()
            .expect("error")
            .contains("too many connections"),
        "{told}"
    );
    database.sql("ALTER ROLE mail CONNECTION LIMIT -1");
    server.until_ready();
}

#[test]
fn a_database_that_does_not_come_ends_the_start_in_the_end() {
    let mut database = Postgres::start();
    database.crash();
    let waiting = |seconds: u32| setup(&database.url(), &format!("[storage]\nwait = {seconds}\n"));
    let (code, log) = end(&waiting(2));
    let last = log.last().expect("a line");
    assert!(
        code == Some(75) && last["event"] == "start_failed" && last["exit"] == 75,
        "{code:?} {last}"
    );
    let reason = last["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("refused") && reason.contains("waited for, 2 s"),
        "{reason}"
    );
    assert_eq!(awaited(&log), 1);
    // Not at all, if it is not to.
    let (code, log) = end(&waiting(0));
    assert!(code == Some(75) && awaited(&log) == 0, "{code:?} {log:?}");
    // A name that nobody knows may be known later.
    let nowhere = setup(
        "postgresql://postgres@nowhere.invalid/queue",
        "[storage]\nwait = 1\n",
    );
    let (code, log) = end(&nowhere);
    assert!(code == Some(75) && awaited(&log) == 1, "{code:?} {log:?}");
}

#[test]
fn what_the_database_refuses_ends_the_start_at_once() {
    let database = Postgres::start();
    database.sql("CREATE ROLE keeper LOGIN PASSWORD 'right'");
    database.rules(
        "local all all trust\nhost all keeper 127.0.0.0/8 scram-sha-256\nhost all postgres 127.0.0.0/8 trust\n",
        "",
    );
    let (address, name) = (database.address(), &database.name);
    for (url, reason) in [
        (format!("postgresql://keeper:wrong@{address}/{name}"), "password"),
        (format!("postgresql://keeper@{address}/{name}"), "password"),
        (
            format!("postgresql://postgres@{address}/nobodys"),
            "does not exist",
        ),
        (
            format!("postgresql://postgres@{address}/{name}?sslmode=require"),
            "TLS",
        ),
    ] {
        // One that waits is ended by force, with another code.
        let (code, log) = end(&setup(&url, ""));
        let last = log.last().expect("a line");
        assert!(
            code == Some(75) && last["reason"].as_str().expect("a reason").contains(reason),
            "{url}: {code:?} {last}"
        );
        assert_eq!(awaited(&log), 0, "{url}");
    }
}

#[test]
fn a_start_that_waits_ends_when_it_is_told_to() {
    let mut database = Postgres::start();
    database.crash();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::begin(setup(&database.url(), ""));
        server.wait_event("storage_awaited", |_| true);
        // What is about a configuration ends nothing.
        server.signal(Signal::SIGHUP);
        server.signal(signal);
        let status = server.exited(20);
        assert_eq!(status.code(), Some(0), "{status}");
        let stopping = server.wait_event("stopping", |_| true);
        assert_eq!(stopping["reason"], signal.as_str());
        for event in ["ready", "start_failed"] {
            assert!(server.events(event).is_empty());
        }
    }
}

#[test]
fn migrate_waits_as_a_server_does_and_a_move_does_not() {
    let mut database = Postgres::start();
    database.crash();
    let start = |args: &[&str]| {
        let mut command = Command::new("/usr/bin/timeout");
        command.arg("60").arg(binary()).args(args).env_clear();
        command.env("SMTP_DATABASE_URL", database.url());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("start the command")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("smtp.db");
    let moving = start(&[
        "queue",
        "migrate",
        "--from",
        &database.url(),
        "--to",
        file.to_str().expect("path"),
        "--scratch",
        folder.path().to_str().expect("path"),
    ]);
    let moving = moving.wait_with_output().expect("queue migrate");
    assert_eq!(moving.status.code(), Some(75), "{moving:?}");
    let mut migrating = start(&["migrate"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(migrating.try_wait().expect("wait").is_none(), "it waits");
    database.start_again();
    let output = migrating.wait_with_output().expect("migrate");
    let (said, remarks) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && said.contains("migrated to version"),
        "{output:?}"
    );
    assert_eq!(remarks.matches("storage.wait").count(), 1, "{remarks}");
}
