//! PostgreSQL: what large messages on their way may take of a disk that does not say where it ends.

use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::Postgres;
use blackbox::server::{Server, Setup, files, refusal};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Three messages of a MiB fit, with what their headers take, and a fourth does not.
const BOUND: &str = "[limits]\nmax_message_size = 2000000\n[storage]\nscratch_size = 3500000\n";

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
    let mut wire = Wire::hello(server.smtp);
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
    assert!(on_the_disk(&server) < 3_500_000);
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
    assert_empty(&database);
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
fn a_bound_that_holds_no_message_is_refused() {
    let (code, said) = refusal(&Setup::new("[storage]\nscratch_size = 1000000\n"));
    assert!(
        code == 78 && said.contains("limits.max_message_size"),
        "{code} {said}"
    );
}
