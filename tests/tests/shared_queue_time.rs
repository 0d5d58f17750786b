//! One queue in PostgreSQL: servers whose time stood still. Of wrong clocks: `clocks.rs`.

use crate::shared_queue::{assert_empty, setup};
use blackbox::postgres::Postgres;
use blackbox::server::Server;
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The recipients in all lines of an event together.
fn recipients(server: &Server, event: &str) -> u64 {
    let lines = server.events(event);
    lines.iter().filter_map(|line| line["recipients"].as_u64()).sum()
}

/// A next hop that holds up what comes, until it is told to go on.
struct Holding {
    sink: Sink,
    goes_on: Arc<AtomicBool>,
}

impl Holding {
    /// At DATA, before it says 354.
    fn before_content() -> Holding {
        let goes_on = Arc::new(AtomicBool::new(false));
        let asked = goes_on.clone();
        let sink = Sink::scripted(move |_, moment| {
            while *moment == Moment::Command("DATA".into()) && !asked.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Act::Default
        });
        Holding { sink, goes_on }
    }

    /// In the middle of the content.
    fn within_content() -> Holding {
        let goes_on = Arc::new(AtomicBool::new(false));
        let asked = goes_on.clone();
        let sink = Sink::scripted(move |_, moment| match moment {
            Moment::Command(line) if line == "DATA" => Act::Stall(asked.clone()),
            _ => Act::Default,
        });
        Holding { sink, goes_on }
    }

    fn go_on(&self) {
        self.goes_on.store(true, Ordering::SeqCst);
    }
}

#[test]
fn who_stood_still_past_its_lease_delivers_nothing_twice() {
    let (database, prompt) = (Postgres::start(), Sink::start());
    let held = [
        Holding::before_content(),
        Holding::before_content(),
        Holding::within_content(),
    ];
    let mut config = prompt.relay_config();
    for (number, held) in held.iter().enumerate() {
        let to = held.sink.address;
        config += &format!("[[routes]]\nmatch = \"held{number}.test\"\nto = \"smtp://{to}\"\n");
    }
    let mut one = setup(&database.url(), &config).start();
    let mut client = Wire::hello(one.smtp);
    for number in 0..17 {
        client.mail("a@x.test", &["b@y.test"], &format!("X-Number: {number}\r\n\r\n"));
    }
    // More than sockets hold of what nobody reads.
    let large = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n".repeat(280_000);
    for (number, text) in ["", "", &large].into_iter().enumerate() {
        let to = format!("b@held{number}.test");
        client.mail(
            "a@x.test",
            &[&to],
            &format!("X-Number: {}\r\n\r\n{text}", 17 + number),
        );
    }
    wait_for("seventeen deliveries, and three that are held up", || {
        let opened = held.iter().all(|held| held.sink.open() == 1);
        opened && prompt.count() == 17 && one.metric("smtp_queue_depth") == 3.0
    });
    // Until the third has sent all that it can.
    std::thread::sleep(Duration::from_secs(2));
    one.signal(Signal::SIGSTOP);
    let sink = Sink::start();
    let other = setup(&database.url(), &sink.relay_config()).start();
    // Its leases end after a minute, and it counts as dead.
    wait_for_secs("the others to take over", 100, || {
        sink.count() == 3 && other.metric("smtp_queue_depth") == 0.0
    });
    assert_eq!(other.metric("smtp_leases_taken_over_total"), 3.0);
    wait_for("the log lines", || recipients(&other, "leases_taken_over") == 3);
    // One next hop says go on before anybody can have told it that its leases are lost, two after that.
    held[0].go_on();
    one.signal(Signal::SIGCONT);
    wait_for("what it lost to be noticed", || {
        one.metric("smtp_leases_lost_total") >= 2.0
    });
    held[1].go_on();
    held[2].go_on();
    // It sends no dot, and hangs up.
    wait_for("the connections to end", || {
        held.iter().all(|held| held.sink.open() == 0)
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(held.iter().all(|held| held.sink.count() == 0));
    let mut numbers: Vec<String> = sink
        .messages()
        .iter()
        .chain(&prompt.messages())
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
    // Its renewal was refused; that results were too, was no news.
    let lost = recipients(&one, "leases_lost");
    assert!(lost == 2 || lost == 3, "{lost}");
    assert_eq!(other.metric("smtp_leases_lost_total"), 0.0);
    other.wait_empty();
    assert_empty(&database);
}
