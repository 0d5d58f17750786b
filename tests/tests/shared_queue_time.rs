//! One queue in PostgreSQL: servers whose time stood still. Of wrong clocks: `clocks.rs`.

use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::Postgres;
use blackbox::server::Server;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::Signal;
use std::time::Duration;

/// The one line of an event that there is.
fn one_event(server: &Server, event: &str) -> serde_json::Value {
    let mut lines = server.events(event);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn who_stood_still_past_its_lease_delivers_nothing_twice() {
    let database = Postgres::start();
    // The next hop stops the dialog before the dot, until it is told to go on.
    let slow = Sink::scripted(|connection, moment| match moment {
        Moment::Command(line) if line == "DATA" && connection == 1 => Act::Hang,
        _ => Act::Default,
    });
    let mut one = setup(&database.url(), &slow.relay_config()).start();
    let mut client = Wire::hello(one.smtp);
    for number in 0..20 {
        client.mail("a@x.test", &["b@y.test"], &format!("X-Number: {number}\r\n\r\n"));
    }
    // All but the one that hangs are delivered, and that is written.
    wait_for("nineteen deliveries", || {
        slow.count() == 19 && one.metric("smtp_queue_depth") == 1.0
    });
    one.signal(Signal::SIGSTOP);
    let arrived_before = slow.count();
    let sink = Sink::start();
    let other = setup(&database.url(), &sink.relay_config()).start();
    // Its leases end after a minute, and it counts as dead.
    wait_for_secs("the others to take over", 100, || {
        sink.count() + arrived_before >= 20 && other.metric("smtp_queue_depth") == 0.0
    });
    assert_eq!(other.metric("smtp_leases_taken_over_total"), 1.0);
    assert_eq!(one_event(&other, "leases_taken_over")["recipients"], 1);
    one.signal(Signal::SIGCONT);
    wait_for("what it lost to be noticed", || {
        one.metric("smtp_leases_lost_total") == 1.0
    });
    std::thread::sleep(Duration::from_secs(8));
    let mut numbers: Vec<String> = sink
        .messages()
        .iter()
        .chain(&slow.messages())
        .filter_map(|message| message.field("X-Number"))
        .collect();
    let all = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!((all, numbers.len()), (20, 20), "each once");
    // It is one of them again.
    Wire::hello(one.smtp).mail("a@x.test", &["b@y.test"], "X-Number: 99\r\n\r\n");
    wait_for_secs("the two of them", 20, || other.metric("smtp_servers") == 2.0);
    assert!(one.stop().success());
    // Its renewal was refused; that the result was too, was no news.
    assert_eq!(one_event(&one, "leases_lost")["recipients"], 1);
    assert_eq!(other.metric("smtp_leases_lost_total"), 0.0);
    other.wait_empty();
    assert_empty(&database);
}
