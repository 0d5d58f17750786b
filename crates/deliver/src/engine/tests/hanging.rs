//! Next hops that hang or crawl: their share, and the room that they make.

use super::house::{House, route, smarthost};
use super::server::{Say, Server, polite};
use crate::engine::Key;
use jiff::Timestamp;
use smtp_config::Config;
use smtp_queue::{Body, QueueId, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Everything goes to the first; each of so many other next hops, `h0.test` and so on, is the second.
fn beside(server: &Server, hops: usize, silent: &Server) -> Config {
    let mut config = smarthost(server.address);
    config.delivery.hang_after = Duration::from_millis(200);
    for hop in 0..hops {
        let mut address = silent.address;
        address.set_ip([127, 0, 2, u8::try_from(hop + 1).unwrap()].into());
        route(&mut config, &format!("h{hop}.test"), address);
    }
    config
}

/// A server that is open on every address, and says nothing until it is let go.
async fn silent() -> (Server, Arc<AtomicBool>) {
    let goes_on = Arc::new(AtomicBool::new(false));
    let asked = goes_on.clone();
    let script = move |command: &str, _: usize| match asked.load(Ordering::SeqCst) {
        true => polite(command),
        false => Say::Hang,
    };
    (Server::start_on("0.0.0.0:0", script).await, goes_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_with_a_long_queue_keeps_a_quarter_of_the_window() {
    let server = Server::start(|command, _| polite(command)).await;
    let (silent, goes_on) = silent().await;
    let mut config = beside(&server, 1, &silent);
    config.delivery.max_in_hand = 400;
    config.delivery.max_connections = 20;
    let house = House::open(config);
    let to: Vec<String> = (0..50).map(|number| format!("{number}@h0.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for _ in 0..40 {
        house.submit(&to).await;
    }
    let engine = &house.delivery.engine;
    house.until(async || engine.hanging.in_hand() > 0).await;
    house
        .until(async || house.delivery.figures().in_progress <= 100)
        .await;
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    assert_eq!(house.queue.store().stats().await.unwrap().messages, 40);
    let set_apart = || {
        let until = engine.excluded.lock().get("h0.test").copied();
        until.is_some_and(|until| until > Instant::now() + Duration::from_secs(2))
    };
    house.until(async || set_apart()).await;
    // Enough for some twenty claims, which would pass over all that waits.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Nobody was tried, so nobody's attempt counts.
    let all = house.recipients().await;
    assert!(
        all.iter()
            .all(|it| it.attempts == 0 && it.state != State::Deferred)
    );
    // Most of it was not even claimed.
    let now = Timestamp::now();
    let untouched = all
        .iter()
        .filter(|it| it.state == State::Queued && it.due <= now)
        .count();
    assert!(untouched > 1000, "{untouched}");
    goes_on.store(true, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_refuses_all_does_not_hang() {
    let server = Server::start(|command, _| match command {
        "CONNECT" => Say::Last("554 5.3.2 no mail here\r\n".into()),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    let entries = house.delivery.engine.entries();
    let hop = entries.iter().find(|entry| matches!(entry.key, Key::Hop(_)));
    assert!(hop.unwrap().state.lock().is_proven());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_hang_share_half_of_the_window() {
    let server = Server::start(|command, _| polite(command)).await;
    let (silent, _) = silent().await;
    let mut config = beside(&server, 100, &silent);
    config.delivery.max_in_hand = 600;
    let house = House::open(config);
    for _ in 0..10 {
        for hop in 0..100 {
            house.submit(&[&format!("a@h{hop}.test")]).await;
        }
    }
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(house.submit(&["a@x.test"]).await);
    }
    for id in ids {
        house.gone(id).await;
    }
    house
        .until(async || house.delivery.figures().in_progress <= 300)
        .await;
    assert_eq!(house.delivery.figures().destinations_down, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_on_which_nothing_moves_make_room_for_others() {
    let server = Server::start(|command, _| polite(command)).await;
    let (silent, _) = silent().await;
    let mut config = beside(&server, 8, &silent);
    config.delivery.max_connections = 4;
    let house = House::open(config);
    for hop in 0..8 {
        house.submit(&[&format!("a@h{hop}.test")]).await;
    }
    // What comes before delivery knows what is suspended is claimed later, in whatever order.
    house
        .until(async || house.delivery.figures().connections == 4)
        .await;
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    assert!(house.delivery.figures().destinations_down > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_slowly_keeps_its_connection_though_others_wait() {
    // Answers each command after a while, always sooner than silence is borne.
    let slow = Server::start(|command, _| {
        std::thread::sleep(Duration::from_millis(150));
        polite(command)
    })
    .await;
    let server = Server::start(|command, _| polite(command)).await;
    let mut config = smarthost(server.address);
    config.delivery.max_connections = 1;
    config.delivery.hang_after = Duration::from_millis(200);
    config.delivery.idle_timeout = Duration::ZERO;
    route(&mut config, "slow.test", slow.address);
    let house = House::open(config);
    let first = house.submit(&["a@slow.test"]).await;
    house.until(async || slow.connections() == 1).await;
    let second = house.submit(&["a@x.test"]).await;
    house.gone(first).await;
    house.gone(second).await;
    assert_eq!((slow.messages().len(), slow.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_content_at_a_crawl_is_given_up() {
    let server = Server::start(|command, _| match command {
        "DATA" => Say::Crawl("354 go on\r\n".into()),
        _ => polite(command),
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.block_timeout = Duration::from_secs(1);
    config.delivery.min_data_rate = 100_000_000;
    let house = House::open(config);
    let id = QueueId::generate();
    let mut writer = house.queue.spool().writer(id);
    for _ in 0..24 {
        writer
            .write(&b"a line of sixteen\r\n".repeat(55_000))
            .await
            .unwrap();
    }
    let body = writer.finish().await.unwrap();
    assert!(matches!(body, Body::File { .. }));
    house.submit_body(id, &["a@x.test"], body).await;
    let recipient = house.tried(id).await.remove(0);
    assert_eq!((recipient.state, recipient.attempts), (State::Deferred, 1));
    let last = recipient.last_result.unwrap();
    assert!(last.contains("too slowly"), "{last}");
}
