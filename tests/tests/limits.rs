//! What one client, or many, may take.

use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::time::Duration;

#[test]
fn connections_over_the_limit_are_turned_away() {
    let server = Server::with("[server]\nmax_connections = 3\n");
    let mut held: Vec<Wire> = (0..3).map(|_| Wire::hello(server.smtp)).collect();
    let mut fourth = Wire::connect(server.smtp);
    let reply = fourth.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.3.2"), "{reply:?}");
    assert!(fourth.is_closed());
    assert_eq!(server.metric("smtp_active_connections"), 3.0);
    assert_eq!(
        server.metric("smtp_connections_refused_total{listener=\"smtp\",reason=\"too_many\"}"),
        1.0
    );
    held.pop();
    wait_for("room again", || {
        Wire::connect(server.smtp)
            .try_reply()
            .is_some_and(|reply| reply.code == 220)
    });
}

#[test]
fn a_client_over_its_rate_is_put_off() {
    let server = Server::with(
        "[rate_limiting]\nrequests_per_minute = 60\nburst_size = 5\nexempt = []\n[[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n",
    );
    let mut wire = Wire::hello(server.smtp);
    let mut refused = None;
    for _ in 0..10 {
        let reply = wire.say("MAIL FROM:<a@x.test>");
        if reply.code != 250 {
            refused = Some(reply);
            break;
        }
        wire.expect("RSET", 250);
    }
    let reply = refused.expect("a refusal");
    assert_eq!((reply.code, &reply.lines[0][..5]), (450, "4.7.1"), "{reply:?}");
    let mut next = Wire::connect(server.smtp);
    let reply = next.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.7.0"), "{reply:?}");
    // Tokens come back with time.
    wait_for("a token", || wire.say("MAIL FROM:<a@x.test>").code == 250);
}

#[test]
fn exempt_clients_are_not_limited() {
    let server = Server::with("[rate_limiting]\nrequests_per_minute = 1\nburst_size = 1\n");
    for _ in 0..20 {
        let mut wire = Wire::hello(server.smtp);
        wire.expect("MAIL FROM:<a@x.test>", 250);
    }
}

#[test]
fn an_idle_client_is_sent_away() {
    let server = Server::with("[server]\nconnection_timeout = 1\n");
    let mut wire = Wire::hello(server.smtp);
    let reply = wire.reply();
    assert_eq!((reply.code, &reply.lines[0][..5]), (421, "4.4.2"), "{reply:?}");
    assert!(wire.is_closed());
}

#[test]
fn a_slow_sender_loses_its_slot() {
    let server = Server::with(
        "[server]\nconnection_timeout = 2\n[limits]\nmin_data_rate = 1000\n[[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n",
    );
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@local.test>", 250);
    wire.expect("DATA", 354);
    let mut cut = false;
    for _ in 0..100 {
        if !wire.try_send("x\r\n") || !wire.is_silent(Duration::from_millis(200)) {
            cut = true;
            break;
        }
    }
    assert!(
        cut,
        "a client that sends 15 octets a second kept its slot for 20 seconds"
    );
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
    wait_for("the slot", || server.metric("smtp_active_connections") == 0.0);
}

#[test]
fn a_disconnect_in_the_middle_keeps_nothing() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    for large in [false, true] {
        let mut wire = Wire::hello(server.smtp);
        wire.expect("MAIL FROM:<a@x.test>", 250);
        wire.expect("RCPT TO:<b@y.test>", 250);
        wire.expect("DATA", 354);
        wire.send("Subject: never complete\r\n\r\n");
        if large {
            wire.send("0123456789012345678901234567890123456789\r\n".repeat(100_000));
        }
        wire.send(".");
        drop(wire);
    }
    wait_for("the sessions to end", || {
        server.metric("smtp_active_connections") == 0.0
    });
    wait_for("no file left", || {
        blackbox::server::files(&server.data().join("bodies")) == 0
    });
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
    assert_eq!(sink.count(), 0);
}

#[test]
fn memory_stays_flat_whatever_a_client_sends() {
    let server = Server::with("[[domains]]\nname = \"local.test\"\ndeliver = \"capture\"\n");
    drop(Wire::hello(server.smtp));
    let before = server.resident();
    // A line without an end, as a command.
    let mut wire = Wire::hello(server.smtp);
    for _ in 0..64 {
        wire.send(vec![b'a'; 1 << 20]);
    }
    wire.send("\r\n");
    assert_eq!(wire.reply().code, 500);
    // A line without an end, in DATA.
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@local.test>", 250);
    wire.expect("DATA", 354);
    for _ in 0..64 {
        wire.send(vec![b'a'; 1 << 20]);
    }
    wire.send("\r\n");
    let refused = wire.say(".");
    assert!(refused.code == 552 || refused.code == 554, "{refused:?}");
    // Many tiny chunks.
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@local.test>", 250);
    for _ in 0..2_000 {
        wire.send("BDAT 2\r\n\r\n".repeat(100));
        for _ in 0..100 {
            assert_eq!(wire.reply().code, 250);
        }
    }
    wire.expect("RSET", 250);
    // A header without an end.
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@local.test>", 250);
    wire.expect("DATA", 354);
    for _ in 0..20 {
        wire.send("X-Header: value\r\n".repeat(60_000));
    }
    wire.say(".");
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 12 << 20, "resident memory grew by {} KiB", grown / 1024);
}

#[test]
fn half_of_a_thousand_sessions_vanish() {
    let server = Setup::new("").start();
    let mut sessions: Vec<Wire> = (0..1000).map(|_| Wire::hello(server.smtp)).collect();
    assert_eq!(server.metric("smtp_active_connections"), 1000.0);
    sessions.truncate(500);
    wait_for("500 sessions", || {
        server.metric("smtp_active_connections") == 500.0
    });
    for session in &mut sessions {
        session.expect("NOOP", 250);
    }
}

#[test]
fn both_families_on_one_port() {
    let server = Setup::new("")
        .env("SMTP_HOST", "::")
        .env("SMTP_HTTP__HOST", "127.0.0.1")
        .start();
    for address in ["127.0.0.1", "::1"] {
        let address: std::net::IpAddr = address.parse().expect("address");
        let mut wire = Wire::hello((address, server.smtp.port()).into());
        wire.expect("NOOP", 250);
    }
    // An IPv4 client is not one of IPv6: its address is what rules and logs see.
    server.wait_event("ready", |_| true);
    let mut wire = Wire::hello(([127, 0, 0, 1], server.smtp.port()).into());
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@elsewhere.test>", 554);
    let rejected = server.wait_event("rejected", |_| true);
    assert!(
        rejected["peer"].as_str().expect("peer").starts_with("127.0.0.1:"),
        "{rejected}"
    );
}
