//! Next hops that hang or crawl, and many of them: mail for others goes on.

use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::Wire;
use std::fmt::Write;
use std::time::Duration;

/// A server that relays `good.test` to one sink and `slow1.test`, `slow2.test`… to as many next hops that are all
/// another.
fn server(good: &Sink, slow: &Sink, hops: usize, delivery: &str) -> Server {
    let mut config =
        format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\n[delivery]\nidle_timeout = 1\n{delivery}");
    let mut route = |domain: &str, to: &str| {
        write!(config, "[[routes]]\nmatch = \"{domain}\"\nto = \"smtp://{to}\"\n").expect("a string");
    };
    route("good.test", &good.address.to_string());
    for hop in 1..=hops {
        route(
            &format!("slow{hop}.test"),
            &format!("127.0.1.{hop}:{}", slow.address.port()),
        );
    }
    Setup::new(config).start()
}

/// A sink on every address of loopback that never says a word.
fn silent() -> Sink {
    Sink::on("0.0.0.0:0", &[], |_, _| Act::Hang)
}

#[test]
fn next_hops_that_hang_do_not_fill_the_window() {
    let (good, silent) = (Sink::start(), silent());
    let server = server(&good, &silent, 30, "max_in_hand = 200\nhang_after = 1\n");
    let mut wire = Wire::hello(server.smtp);
    for _ in 0..20 {
        for hop in 1..=30 {
            let reply = wire.mail("a@x.test", &[&format!("b@slow{hop}.test")], "text\r\n");
            assert_eq!(reply.code, 250);
        }
    }
    // More recipients than the few places that are left in any case.
    let to: Vec<String> = (0..20).map(|number| format!("{number}@good.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for _ in 0..5 {
        assert_eq!(wire.mail("a@x.test", &to, "text\r\n").code, 250);
    }
    good.wait(5);
    // Those that hang were not given up for it: they have the time of RFC 5321.
    wait_for("the log lines", || server.events("delivery").len() >= 100);
    assert_eq!(server.events("delivery").len(), 100);
    assert!(server.events("destination_down").is_empty());
    wait_for("the others to leave the queue", || {
        server.metric("smtp_queue_depth") == 600.0
    });
    assert!(server.metric("smtp_delivery_in_progress") <= 200.0);
}

#[test]
fn next_hops_that_hang_make_room_when_others_wait_for_a_connection() {
    let (good, silent) = (Sink::start(), silent());
    let limits = "max_connections = 10\nmax_connections_per_destination = 5\nhang_after = 1\n";
    let server = server(&good, &silent, 30, limits);
    let mut wire = Wire::hello(server.smtp);
    for hop in 1..=30 {
        let reply = wire.mail("a@x.test", &[&format!("b@slow{hop}.test")], "text\r\n");
        assert_eq!(reply.code, 250);
    }
    for _ in 0..5 {
        assert_eq!(wire.mail("a@x.test", &["b@good.test"], "text\r\n").code, 250);
    }
    good.wait(5);
    let down = server.wait_event("destination_down", |_| true);
    let reason = down["reason"].as_str().expect("reason");
    assert!(reason.contains("nothing moved"), "{down}");
    wait_for("the others to leave the queue", || {
        server.metric("smtp_queue_depth") == 30.0
    });
}

#[test]
fn a_next_hop_that_takes_content_at_a_crawl_is_given_up() {
    let slow = Sink::on("0.0.0.0:0", &["SIZE 50000000"], |_, moment| match moment {
        // A megabyte a second.
        Moment::Command(line) if line == "DATA" => Act::Crawl(Duration::from_millis(62)),
        _ => Act::Default,
    });
    let limits = "block_timeout = 3\nmin_data_rate = 10000000\n";
    let server = server(&Sink::start(), &slow, 1, limits);
    let text = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n".repeat(230_000);
    let reply = Wire::hello(server.smtp).mail("a@x.test", &["b@slow1.test"], &text);
    assert_eq!(reply.code, 250);
    let line = server.wait_event("delivery", |_| true);
    assert_eq!(line["status"], "deferred", "{line}");
    let text = line["text"].as_str().expect("text");
    assert!(text.contains("too slowly"), "{text}");
    assert_eq!(slow.count(), 0);
}
