//! kill -9 at random moments under load: every message that got a 250 arrives at least once.

use blackbox::load::{Clients, arrived};
use blackbox::random::Random;
use blackbox::server::{Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use std::time::Duration;

const KILLS: u64 = 50;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let sink = Sink::start();
    let mut server = Setup::new(format!(
        "{}[delivery]\nretry_initial = 1\nretry_max = 2\n",
        sink.relay_config()
    ))
    .start();
    let clients = Clients::start(8, &[server.smtp]);
    let mut random = Random::default();
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(20 + random.below(400)));
        server.kill();
        clients.load.set_servers(&[]);
        server = server.restart();
        clients.load.set_servers(&[server.smtp]);
    }
    std::thread::sleep(Duration::from_millis(200));
    let acknowledged = clients.end();
    server.wait_empty();
    let copies = arrived(&sink);
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|number| !copies.contains_key(number))
        .collect();
    let repeated = copies.values().filter(|&&count| count > 1).count();
    let extra = copies
        .keys()
        .filter(|number| !acknowledged.contains(number))
        .count();
    println!(
        "{KILLS} kills: {} acknowledged, {} lost, {repeated} arrived more than once (relayed when the kill came, \
         before the result was on disk), {extra} arrived without their 250 having been read (committed when the kill came)",
        acknowledged.len(),
        lost.len()
    );
    assert!(
        acknowledged.len() > 500,
        "the load was real: {}",
        acknowledged.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(
        blackbox::server::files(&server.data().join("bodies")),
        0,
        "bodies go with their messages"
    );
    // What a kill may leave behind is cleared at the next start.
    let server: Server = server.restart();
    assert_eq!(server.metric("smtp_queue_depth"), 0.0);
}

#[test]
fn what_a_killed_server_had_in_hand_and_what_was_taken_from_a_living_one_is_counted() {
    // Its first connection hangs before the dot, its second waits behind it.
    let sink = Sink::scripted(|connection, moment| match moment {
        Moment::Command(line) if line == "DATA" && connection == 1 => Act::Hang,
        Moment::EndOfData(_) if connection == 2 => {
            std::thread::sleep(Duration::from_secs(4));
            Act::Default
        }
        _ => Act::Default,
    });
    let mut server = Server::with(&sink.relay_config());
    let id = queue_id(&Wire::hello(server.smtp).mail("a@x.test", &["b@y.test", "c@y.test"], "text\r\n"));
    wait_for("the delivery to hang", || sink.open() == 1);
    assert_eq!(server.metric("smtp_leases_taken_over_total"), 0.0);
    server.kill();
    let server = server.restart();
    assert_eq!(server.metric("smtp_leases_taken_over_total"), 2.0);
    // It is deleted while the reply to its dot is awaited: nobody wants to know the result.
    wait_for("the second delivery", || sink.connections() == 2);
    wait_for("its dot", || {
        server.json(&["drain", "--status"])[0]
            .to_string()
            .contains("the reply to it is awaited")
    });
    server.done(&["queue", "delete", &id]);
    assert_eq!(server.metric("smtp_leases_lost_total"), 0.0);
    let lost = server.wait_event("leases_lost", |_| true);
    assert_eq!(
        (&lost["recipients"], &lost["what"]),
        (&2.into(), &"result".into()),
        "{lost}"
    );
    assert_eq!(server.metric("smtp_leases_lost_total"), 2.0);
    let server = server.restart();
    assert_eq!(
        server.metric("smtp_leases_taken_over_total"),
        0.0,
        "all was given back"
    );
}
