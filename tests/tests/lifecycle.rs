//! Start, reload, stop.

use crate::shared_queue_outage::Slow;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use std::time::Duration;

#[test]
fn a_stop_lets_the_transaction_finish_and_turns_others_away() {
    let sink = Sink::start();
    let mut server = Server::with(&sink.relay_config());
    let mut idle = Wire::hello(server.smtp);
    let mut busy = Wire::hello(server.smtp);
    busy.expect("MAIL FROM:<a@x.test>", 250);
    busy.expect("RCPT TO:<b@y.test>", 250);
    busy.expect("DATA", 354);
    server.signal(Signal::SIGTERM);
    wait_for("not ready", || server.get("/health/ready").0 == 503);
    assert_eq!(server.get("/health/live").0, 200);
    assert_eq!(server.metric("smtp_draining"), 1.0);
    let mut late = Wire::connect(server.smtp);
    let reply = late.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.3.2"), "{reply:?}");
    assert!(late.is_closed());
    // The idle session is told at once or at its next command.
    idle.try_send("NOOP\r\n");
    assert_eq!(idle.try_reply().map(|reply| reply.code), Some(421));
    busy.send("Subject: in progress\r\n\r\ntext\r\n");
    assert_eq!(busy.say(".").code, 250);
    let next = busy.say("MAIL FROM:<a@x.test>");
    assert_eq!(next.code, 421);
    assert!(server.exited(30).success());
    let stopped = server.wait_event("stopped", |_| true);
    assert_eq!(stopped["received"], 1, "{stopped}");
    // It was kept, or had gone already.
    let server = server.restart();
    sink.wait(1);
    server.wait_empty();
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_stop_gives_deliveries_back_uncounted() {
    // It hangs twice in the middle of a transaction.
    let sink = Sink::scripted(|connection, moment| match moment {
        Moment::Command(line) if connection <= 2 && line.starts_with("MAIL") => Act::Hang,
        _ => Act::Default,
    });
    let mut server = Server::with(&sink.relay_config());
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "text\r\n");
    wait_for("the attempt", || sink.connections() == 1);
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.stop().success());
    let mut server = server.restart();
    wait_for("the second attempt", || sink.connections() == 2);
    // The stop gave it back, not the start.
    let recovered = server.wait_event("recovered", |_| true);
    assert_eq!(recovered["leases_released"], 0, "{recovered}");
    let queue = server.queue(&["list"]);
    assert_eq!(queue[0]["recipients"][0]["attempts"], 0, "{queue:?}");
    assert!(server.stop().success());
    let server = server.restart();
    sink.wait(1);
    server.wait_empty();
    wait_for("the only attempt", || !server.events("delivery").is_empty());
    let attempts = server.events("delivery");
    assert!(
        attempts.len() == 1 && attempts[0]["status"] == "sent",
        "{attempts:?}"
    );
}

#[test]
fn a_stop_waits_for_the_reply_after_the_final_dot() {
    let slow = Slow::start();
    let sink = &slow.sink;
    let mut server = Server::with(&sink.relay_config());
    Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "text\r\n");
    slow.wait_held(1);
    server.signal(Signal::SIGTERM);
    server.wait_event("stopping", |_| true);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(server.get("/health/live").0, 200, "it waits");
    slow.speak();
    assert!(server.exited(30).success());
    assert!(
        server
            .events("delivery")
            .iter()
            .any(|line| line["status"] == "sent"),
        "{:?}",
        server.events("delivery")
    );
    let server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
    assert_eq!(sink.count(), 1, "no duplicate");
}

#[test]
fn a_second_signal_skips_to_the_end() {
    let mut server = Server::with("");
    let mut busy = Wire::hello(server.smtp);
    busy.expect("MAIL FROM:<a@x.test>", 250);
    server.signal(Signal::SIGTERM);
    wait_for("the drain", || server.get("/health/ready").0 == 503);
    server.signal(Signal::SIGINT);
    assert!(server.exited(10).success());
    server.wait_event("stopped", |_| true);
}

#[test]
fn a_reload_applies_what_it_can_and_says_what_it_cannot() {
    let mut server = Server::with("[[domains]]\nname = \"one.test\"\ndeliver = \"capture\"\n");
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@two.test>", 554);
    server.write_config("[server]\nport = 2599\n[[domains]]\nname = \"two.test\"\ndeliver = \"capture\"\n");
    server.signal(Signal::SIGHUP);
    let line = server.wait_event("config_reloaded", |_| true);
    assert!(line["changed"].to_string().contains("domains"), "{line}");
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@two.test>", 250);
    wire.expect("RCPT TO:<b@one.test>", 554);
    // A bad one is refused whole; the old one stays.
    server.write_config(
        "[[domains]]\nname = \"three.test\"\ndeliver = \"capture\"\n[limits]\nmax_recipients = \"many\"\n",
    );
    server.signal(Signal::SIGHUP);
    let line = server.wait_event("config_refused", |_| true);
    assert!(
        line["error"]
            .as_str()
            .expect("error")
            .contains("limits.max_recipients"),
        "{line}"
    );
    assert_eq!(server.metric("smtp_config_last_reload_success"), 0.0);
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@two.test>", 250);
    wire.expect("RCPT TO:<b@three.test>", 554);
}

#[test]
fn a_port_that_needs_a_restart_is_named() {
    let setup = Setup::new("[limits]\nmax_recipients = 5\n")
        .without("SMTP_PORT")
        .env("SMTP_SERVER__PORT", "0");
    let mut server = setup.start();
    server.write_config("[limits]\nmax_recipients = 6\n[storage]\nmin_free = 1000\n");
    server.signal(Signal::SIGHUP);
    let line = server.wait_event("config_reloaded", |_| true);
    assert!(
        line["changed"].to_string().contains("limits.max_recipients"),
        "{line}"
    );
    assert!(
        line["needs_restart"].to_string().contains("storage.min_free"),
        "{line}"
    );
    let ehlo = {
        let mut wire = Wire::connect(server.smtp);
        wire.reply();
        wire.say("EHLO client.test").text()
    };
    assert!(ehlo.contains("RCPTMAX=6"), "{ehlo}");
}

#[test]
fn development_needs_nothing_and_keeps_everything_here() {
    let setup = Setup::new("")
        .without("SMTP_PROFILE")
        .without("SMTP_HOSTNAME")
        .without("SMTP_ADMIN_PASSWORD");
    let server = setup.start();
    let mut wire = Wire::hello(server.smtp);
    let reply = wire.mail(
        "app@anywhere.test",
        &["ann@example.com", "bob@example.org"],
        "Subject: hi\r\n\r\ntext\r\n",
    );
    assert_eq!(reply.code, 250);
    let captured = server.data().join("capture");
    wait_for("two captured messages", || {
        blackbox::tools::maildir(&captured).len() == 2
    });
    server.wait_empty();
    let text = String::from_utf8_lossy(&blackbox::tools::maildir(&captured)[0]).into_owned();
    assert!(text.contains("Subject: hi\n"), "{text}");
    // It listens on loopback only.
    let addresses: Vec<String> = server
        .events("listening")
        .iter()
        .map(|l| l["address"].as_str().expect("address").to_string())
        .collect();
    assert!(
        addresses
            .iter()
            .all(|a| a.starts_with("127.0.0.1:") || a.starts_with("[::1]:")),
        "{addresses:?}"
    );
    assert!(addresses.iter().any(|a| a.starts_with("[::1]:")), "{addresses:?}");
}
