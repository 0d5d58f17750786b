//! kill -9 at random moments under load: every message that got a 250 arrives at least once.

use blackbox::load::{Clients, Random, arrived};
use blackbox::server::{Server, Setup};
use blackbox::sink::Sink;
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
