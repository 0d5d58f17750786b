//! `delivery.max_rate_per_destination`: no more goes to a next hop than that, all goes in the end, and others do not wait for it.

use crate::shared_queue_limits::{assert_each_once, fill};
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use nix::sys::signal::Signal;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Next hops beside the one that waits: more than are in hand at once.
const OTHERS: usize = 120;

/// Everything goes to one sink, but `other1.test`, `other2.test`… to as many next hops that are all another.
fn config(sink: &Sink, other: &Sink, rate: &str) -> String {
    let mut config = format!(
        "{}[delivery]\nmax_in_hand = 100\nmax_rate_per_destination = \"{rate}\"\n",
        sink.relay_config()
    );
    for number in 1..=OTHERS {
        let to = format!("127.0.1.{number}:{}", other.address.port());
        write!(
            config,
            "[[routes]]\nmatch = \"other{number}.test\"\nto = \"smtp://{to}\"\n"
        )
        .expect("a string");
    }
    config
}

/// How often its threads have gone to sleep.
fn sleeps(server: &Server) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("tasks");
    let sleeps = tasks.flatten().filter_map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    sleeps.sum()
}

/// Processor time that it has used.
fn used(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("stat");
    let (_, after_name) = stat.rsplit_once(") ").expect("stat");
    let ticks = after_name.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

fn reload(server: &mut Server, config: &str) {
    let generation = server.metric("smtp_config_generation");
    server.write_config(config);
    server.signal(Signal::SIGHUP);
    wait_for("the reload", || {
        server.metric("smtp_config_generation") > generation
    });
}

#[test]
fn no_more_goes_to_a_next_hop_than_its_rate() {
    const MESSAGES: usize = 80;
    let sink = Sink::start();
    let server = Setup::new(config(&sink, &sink, "10/second")).start();
    let began = Instant::now();
    fill(&server, MESSAGES);
    sink.wait(MESSAGES);
    sink.assert_pace(began, 10.0, 10.0);
    server.wait_empty();
    assert_each_once(&sink, MESSAGES);
    // The pause between two messages is shorter than a connection is kept.
    assert!(sink.connections() <= 20, "{} connections", sink.connections());
}

#[test]
fn what_waits_for_its_rate_holds_up_nobody_and_goes_when_the_rate_is_another() {
    const MESSAGES: usize = 300;
    let (sink, other) = (Sink::start(), Sink::on("0.0.0.0:0", &[], |_, _| Act::Default));
    let mut server = Setup::new(config(&sink, &other, "1/hour")).start();
    fill(&server, MESSAGES);
    sink.wait(1);
    // Others have room. Each gets one message for one recipient: several may be claimed, and sent, one after the other, and the second message
    // would wait for an hour.
    let mut wire = Wire::hello(server.smtp);
    for number in 1..=OTHERS {
        let to = format!("b@other{number}.test");
        wire.mail("a@x.test", &[&to], "Subject: other\r\n\r\n");
    }
    other.wait(OTHERS);
    wait_for("the others to leave the queue", || {
        server.metric("smtp_queue_depth") == (MESSAGES - 1) as f64
    });
    // It is seen why it waits.
    assert_eq!(server.metric("smtp_delivery_destinations_paced"), 1.0);
    assert_eq!(server.metric("smtp_delivery_destinations_down"), 0.0);
    let name = sink.address.to_string();
    let seen = server.json(&["destinations"]);
    let waits = |name: &str| {
        let one = seen.iter().find(|one| one["name"] == name);
        one.expect("the next hop")["waits_for_rate"].clone()
    };
    let one_other = format!("127.0.1.1:{}", other.address.port());
    assert_eq!((waits(&name), waits(&one_other)), (true.into(), false.into()));
    let table = server.done(&["destinations"]);
    assert!(
        table.contains("waits for its rate: 1 messages an hour"),
        "{table}"
    );
    // Nobody looks again and again, and no connection is kept for it.
    wait_for("its connection to end", || sink.open() == 0);
    let before = (used(&server), sleeps(&server));
    std::thread::sleep(Duration::from_secs(3));
    let busy = used(&server) - before.0;
    let slept = sleeps(&server).saturating_sub(before.1);
    // At rest it goes to sleep some twenty times a second.
    assert!(
        busy < Duration::from_millis(600) && slept < 1000,
        "{busy:?} of 3 s, {slept} times to sleep"
    );
    assert_eq!(sink.count(), 1);
    wait_for("a line for each", || server.events("delivery").len() > OTHERS);
    let attempts = server.events("delivery");
    assert_eq!(attempts.len(), OTHERS + 1);
    assert!(
        attempts.iter().all(|line| line["status"] == "sent"),
        "{attempts:?}"
    );
    // Another rate is in force at once, for what waits in hand; what went back to the store an operator makes due.
    reload(&mut server, &config(&sink, &other, "none"));
    sink.wait(3);
    server.done(&["queue", "retry", "--all"]);
    sink.wait(MESSAGES);
    server.wait_empty();
    assert_each_once(&sink, MESSAGES);
    assert_eq!(server.metric("smtp_delivery_destinations_paced"), 0.0);
}
