//! PostgreSQL: what large messages on their way may take of a disk that does not say where it ends.

use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup, binary, files, refusal};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Three messages of a MiB fit beside what is kept for one on its way out, with what their headers take, and a fourth does not.
const BOUND: &str = "[limits]\nmax_message_size = 1100000\n[storage]\nscratch_size = 4600000\n";

/// A message of a MiB.
fn content(number: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(62));
    format!("Subject: {number}\r\n\r\n{}", line.repeat(1 << 14))
}

fn large(server: &Server, number: usize) -> (u16, String) {
    let reply = Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], &content(number));
    (reply.code, reply.lines[0].clone())
}

/// A message that has come but for its end: its file is as large as it will be.
fn almost_all(server: &Server, number: usize) -> Wire {
    begin(Wire::hello(server.smtp), number)
}

/// The same from an address of its own.
fn almost_all_from(source: &str, server: &Server, number: usize) -> Wire {
    begin(hello_from(source, server), number)
}

fn hello_from(source: &str, server: &Server) -> Wire {
    let mut wire = Wire::connect_from(source, server.smtp);
    assert_eq!(wire.reply().code, 220);
    wire.expect("EHLO client.test", 250);
    wire
}

fn begin(mut wire: Wire, number: usize) -> Wire {
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.expect("RCPT TO:<b@y.test>", 250);
    wire.expect("DATA", 354);
    wire.send(content(number));
    wire
}

/// What the files of messages take, all but the last piece of each, which is still in memory.
fn on_the_disk(server: &Server) -> u64 {
    let folder = std::fs::read_dir(server.data().join("bodies/tmp")).expect("the folder");
    let sizes = folder.flatten().filter_map(|file| file.metadata().ok());
    sizes.map(|file| file.len()).sum()
}

fn wait_for_files(server: &Server, octets: u64) {
    wait_for("the messages to come", || on_the_disk(server) >= octets);
}

fn refused(server: &Server) -> f64 {
    server.metric("smtp_messages_rejected_total{reason=\"storage_full\"}")
}

#[test]
fn large_messages_beyond_the_bound_wait_for_others_to_be_stored() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let server = setup(&database.url(), &format!("{}{BOUND}", sink.relay_config())).start();
    let mut coming: Vec<Wire> = (0..3).map(|number| almost_all(&server, number)).collect();
    wait_for_files(&server, 3 * 900_000);
    // One more finds no room: at MAIL when it says how large it is, else at its end; and nothing of it stays.
    let mut wire = Wire::hello(server.smtp);
    let reply = wire.expect("MAIL FROM:<a@x.test> SIZE=1000000", 452);
    assert!(reply.lines[0].starts_with("4.3.1 "), "{reply:?}");
    let (code, text) = large(&server, 3);
    assert!(code == 452 && text.starts_with("4.3.1 "), "{code} {text}");
    assert!(on_the_disk(&server) < 3_400_000);
    let used = server.metric("smtp_scratch_used_bytes");
    assert!((2_700_000.0..3_434_464.0).contains(&used), "{used}");
    assert_eq!(server.metric("smtp_scratch_limit_bytes"), 4_600_000.0);
    assert_eq!(files(&server.data().join("bodies")), 3);
    wait_for("the count", || refused(&server) >= 1.0);
    // A small one needs none, and the server is ready.
    assert_eq!(wire.mail("a@x.test", &["b@y.test"], "small\r\n").code, 250);
    assert_eq!(server.get("/health/ready").0, 200);
    for wire in &mut coming {
        assert_eq!(wire.say(".").code, 250);
    }
    sink.wait(4);
    server.wait_empty();
    // Stored and delivered, they have given back what they took.
    for number in 4..8 {
        wait_for("the files to be gone", || {
            files(&server.data().join("bodies")) == 0
        });
        assert_eq!(large(&server, number).0, 250);
    }
    sink.wait(8);
    server.wait_empty();
    wait_for("all to be given back", || {
        server.metric("smtp_scratch_used_bytes") == 0.0
    });
    assert_empty(&database);
}

/// Of 10.5 MB for what comes in one client has a quarter, two messages of a MiB.
#[test]
fn one_client_with_many_slow_messages_leaves_room_for_the_others() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let limits = "[limits]\nmax_message_size = 1100000\n[storage]\nscratch_size = 12000000\n\
        [rate_limiting]\nexempt = []\nrequests_per_minute = 10000\nburst_size = 1000\n";
    let server = setup(&database.url(), &format!("{}{limits}", sink.relay_config())).start();
    let slow = "127.0.0.21";
    let mut coming: Vec<Wire> = (0..2)
        .map(|number| almost_all_from(slow, &server, number))
        .collect();
    wait_for_files(&server, 2 * 900_000);
    for number in 2..12 {
        let mut wire = almost_all_from(slow, &server, number);
        let reply = wire.say(".");
        assert!(
            reply.code == 452 && reply.lines[0].starts_with("4.3.1 "),
            "{reply:?}"
        );
        assert!(reply.text().contains("your address"), "{reply:?}");
        wire.expect("MAIL FROM:<a@x.test> SIZE=1000000", 452);
        // What needs no file passes.
        assert_eq!(wire.mail("a@x.test", &["b@y.test"], "small\r\n").code, 250);
    }
    // That is the client's own doing: nothing is full.
    let own = "smtp_messages_rejected_total{reason=\"rate_limited\"}";
    wait_for("the count", || server.metric(own) >= 20.0);
    assert_eq!(refused(&server), 0.0);
    assert!(server.events("store_failed").is_empty());
    let mut others: Vec<Wire> = (12..15)
        .map(|number| almost_all_from(&format!("127.0.0.{}", 10 + number), &server, number))
        .collect();
    for wire in others.iter_mut().chain(&mut coming) {
        assert_eq!(wire.say(".").code, 250);
    }
    sink.wait(15);
    server.wait_empty();
    // What has been sent on is no part of anybody's share.
    for number in 15..18 {
        wait_for("the files to be gone", || {
            files(&server.data().join("bodies")) == 0
        });
        assert_eq!(almost_all_from(slow, &server, number).say(".").code, 250);
    }
    sink.wait(18);
    server.wait_empty();
    assert_empty(&database);
}

/// What comes in may take half of what there is, a message of the largest size, and keeps the other half free for one that goes out.
#[test]
fn a_large_message_goes_out_however_much_comes_in() {
    let database = Postgres::start();
    let busy = Arc::new(AtomicBool::new(true));
    let sink = Sink::busy_while(&busy);
    let limits = "[limits]\nmax_message_size = 1100000\n[storage]\nscratch_size = 2400000\n[delivery]\nretry_initial = 600\n";
    let setup = Setup::new(format!("{}{limits}", sink.relay_config()));
    let server = setup.env("SMTP_DATABASE_URL", database.url()).start();
    let used = || server.metric("smtp_scratch_used_bytes");
    assert_eq!(large(&server, 0).0, 250);
    wait_for("it to be deferred", || {
        !server.events("delivery").is_empty() && used() == 0.0
    });
    let mut coming: Vec<Wire> = Vec::new();
    while coming.len() < 4 {
        let mut asks = Wire::hello(server.smtp);
        if asks.say("MAIL FROM:<a@x.test> SIZE=1050000").code == 452 {
            break;
        }
        coming.push(almost_all(&server, coming.len() + 1));
        let octets = 900_000 * coming.len() as u64;
        wait_for("it to come", || used() >= octets as f64);
    }
    assert!((1..4).contains(&coming.len()), "{}", coming.len());
    busy.store(false, Ordering::Relaxed);
    server.queue(&["retry", "--all"]);
    assert_eq!(sink.wait(1)[0].field("Subject").as_deref(), Some("0"));
    // Reception was full all the time.
    let mut asks = Wire::hello(server.smtp);
    asks.expect("MAIL FROM:<a@x.test> SIZE=1050000", 452);
    for wire in &mut coming {
        assert_eq!(wire.say(".").code, 250);
    }
    sink.wait(1 + coming.len());
    server.wait_empty();
}

#[test]
fn transactions_that_break_off_give_back_what_they_took() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let server = setup(&database.url(), &format!("{}{BOUND}", sink.relay_config())).start();
    for round in 0..3 {
        let coming: Vec<Wire> = (0..3).map(|number| almost_all(&server, number)).collect();
        wait_for_files(&server, 3 * 900_000);
        assert_eq!(large(&server, round).0, 452);
        drop(coming);
        wait_for("the files to be gone", || {
            files(&server.data().join("bodies")) == 0
        });
    }
    assert_eq!(large(&server, 9).0, 250);
    sink.wait(1);
}

/// What waits to be delivered is in the database, and its file has gone: it takes no room from what comes in. Read back it takes
/// room again, and goes when there is some.
#[test]
fn what_is_read_back_is_bounded_too() {
    let database = Postgres::start();
    let tried = AtomicUsize::new(0);
    let sink = Sink::scripted(move |_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") && tried.fetch_add(1, Ordering::Relaxed) < 6 => {
            Act::Say("450 4.2.1 later".into())
        }
        _ => Act::Default,
    });
    let server = setup(&database.url(), &format!("{}{BOUND}", sink.relay_config())).start();
    for number in 0..6 {
        wait_for("room", || large(&server, number).0 == 250);
    }
    sink.wait(6);
    server.wait_empty();
    wait_for("the files to be gone", || {
        files(&server.data().join("bodies")) == 0
    });
}

#[test]
fn a_reload_that_takes_larger_messages_keeps_room_for_one() {
    let (database, sink) = (Postgres::start(), Sink::start());
    let setup = setup(&database.url(), &format!("{}{BOUND}", sink.relay_config()));
    let config = setup.config.clone();
    let mut server = setup.start();
    let of_size = |octets: &str| config.replace("max_message_size = 1100000", octets);
    server.write_config(&of_size("max_message_size = 2000000"));
    server.signal(Signal::SIGHUP);
    server.wait_event("config_reloaded", |_| true);
    // Two fit into what is left, and a third does not any more.
    let mut coming: Vec<Wire> = (0..2).map(|number| almost_all(&server, number)).collect();
    wait_for_files(&server, 2 * 900_000);
    let mut asks = Wire::hello(server.smtp);
    asks.expect("MAIL FROM:<a@x.test> SIZE=1000000", 452);
    for wire in &mut coming {
        assert_eq!(wire.say(".").code, 250);
    }
    sink.wait(2);
    // For one that is too large for the bound there would be none.
    server.write_config(&of_size("max_message_size = 2300000"));
    server.signal(Signal::SIGHUP);
    let refused = server.wait_event("config_refused", |_| true);
    assert!(refused.to_string().contains("storage.scratch_size"), "{refused}");
}

#[test]
fn a_bound_that_does_not_hold_one_message_each_way_is_refused() {
    // Twice the message, and 64 KiB for what is added to each.
    let bound =
        |size: u64| format!("[limits]\nmax_message_size = 1000000\n[storage]\nscratch_size = {size}\n");
    let (code, said) = refusal(&Setup::new(bound(2_131_071)));
    for part in [
        "storage.scratch_size",
        "limits.max_message_size",
        "2131072 octets or more",
    ] {
        assert!(code == 78 && said.contains(part), "{code} {said}");
    }
    let check = |size: u64| {
        let mut check = Command::new(binary());
        check.arg("check").env_clear();
        check.env("SMTP_LIMITS__MAX_MESSAGE_SIZE", "1000000");
        check.env("SMTP_STORAGE__SCRATCH_SIZE", size.to_string());
        check.output().expect("check").status.code()
    };
    assert_eq!(
        (check(2_131_071), check(2_131_072), check(0)),
        (Some(78), Some(0), Some(0))
    );
}
