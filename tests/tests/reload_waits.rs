//! A reload while the database does not answer: nobody sees half of it, nobody has to wait for it, and what is begun comes to its end.

use crate::shared_queue::setup;
use base64::Engine;
use blackbox::postgres::Postgres;
use blackbox::server::{PASSWORD, Server};
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Where the directory is kept that a reload reads.
const DIRECTORY: &str = "directory";

fn config(password: &str, domain: &str) -> String {
    format!("[admin]\npassword = \"{password}\"\n[[domains]]\nname = \"{domain}\"\ndeliver = \"capture\"\n")
}

/// How many lines of the log are about an event.
fn count(server: &Server, event: &str) -> usize {
    server.events(event).len()
}

#[test]
fn a_new_password_is_in_force_with_all_else_before_it_is_recorded() {
    let database = Postgres::start();
    let mut server = setup(&database.url(), &config(PASSWORD, "one.test"))
        .without("SMTP_ADMIN_PASSWORD")
        .start();
    let lock = database.lock("audit");
    let fast = "[delivery]\nretry_initial = 1\nretry_max = 2\n";
    server.write_config(&format!(
        "{}{fast}",
        config("a password that is another", "two.test")
    ));
    wait_for("the record to wait for its table", || {
        database.is_awaited("audit")
    });
    // Everybody has what is new, and the database still has not answered.
    let line = server.wait_event("config_reloaded", |_| true);
    assert_eq!(
        line["changed"].to_string(),
        "[\"admin.password\",\"domains\"]",
        "{line}"
    );
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@two.test>", 250);
    assert_eq!(count(&server, "audit_failed"), 0, "it came before");
    // What the trail lacks is told; it holds up nobody. A signal is heard at once, a file is looked at every few seconds.
    server.write_config(&format!(
        "{}{fast}",
        config("a password that is another", "three.test")
    ));
    server.signal(Signal::SIGHUP);
    wait_for("the next reload", || count(&server, "config_reloaded") == 2);
    assert_eq!(count(&server, "audit_failed"), 0, "it came before");
    let failed = server.wait_event("audit_failed", |_| true);
    assert_eq!(
        (&failed["action"], &failed["error"]),
        (&"admin.password".into(), &"no answer within 10 s".into()),
        "{failed}"
    );
    drop(lock);
}

#[test]
fn a_reload_whose_client_hangs_up_comes_to_its_end() {
    let database = Postgres::start();
    let server = setup(&database.url(), "").start();
    let lock = database.lock(DIRECTORY);
    let login = base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
    let mut client = TcpStream::connect(server.http).expect("connect");
    let request = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: t\r\nAuthorization: Basic {login}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    client.write_all(request.as_bytes()).expect("send");
    wait_for("the reload to wait for the directory", || {
        database.is_awaited(DIRECTORY)
    });
    drop(client);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(count(&server, "config_reloaded"), 0, "it waits still");
    drop(lock);
    server.wait_event("config_reloaded", |_| true);
    wait_for("the record of who asked", || {
        database.sql("SELECT count(*) FROM audit WHERE action = 'reload' AND who = 'admin'") == "1"
    });
}

#[test]
fn a_reload_that_waits_keeps_no_signal_from_being_heard() {
    let database = Postgres::start();
    let mut server = setup(&database.url(), "").start();
    let lock = database.lock(DIRECTORY);
    server.signal(Signal::SIGHUP);
    wait_for("the reload to wait for the directory", || {
        database.is_awaited(DIRECTORY)
    });
    let began = Instant::now();
    server.signal(Signal::SIGTERM);
    server.wait_event("stopping", |_| true);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(server.exited(15).success());
    assert_eq!(server.log().last().expect("a line")["event"], "stopped");
    drop(lock);
}

#[test]
fn a_reload_that_was_begun_comes_to_its_end_while_the_server_drains() {
    let database = Postgres::start();
    let mut server = setup(&database.url(), &config(PASSWORD, "one.test")).start();
    let mut busy = Wire::hello(server.smtp);
    busy.expect("MAIL FROM:<a@x.test>", 250);
    busy.expect("RCPT TO:<b@one.test>", 250);
    busy.expect("DATA", 354);
    let lock = database.lock(DIRECTORY);
    server.signal(Signal::SIGHUP);
    wait_for("the reload to wait for the directory", || {
        database.is_awaited(DIRECTORY)
    });
    server.signal(Signal::SIGTERM);
    server.wait_event("stopping", |_| true);
    assert_eq!(count(&server, "config_reloaded"), 0, "it waits still");
    drop(lock);
    server.wait_event("config_reloaded", |_| true);
    busy.send("text\r\n");
    assert_eq!(busy.say(".").code, 250);
    assert!(server.exited(60).success());
}

#[test]
fn signals_that_come_during_a_reload_lead_to_another() {
    let database = Postgres::start();
    let server = setup(&database.url(), "").start();
    let lock = database.lock(DIRECTORY);
    server.signal(Signal::SIGHUP);
    wait_for("the reload to wait for the directory", || {
        database.is_awaited(DIRECTORY)
    });
    server.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(500));
    drop(lock);
    wait_for("both reloads", || count(&server, "config_reloaded") == 2);
}
