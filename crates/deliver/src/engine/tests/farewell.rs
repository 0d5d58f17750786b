//! A server that may not come back.

use super::house::{House, smarthost};
use super::server::{Server, polite};
use smtp_queue::State;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn who_waits_for_room_when_it_is_paused_claims_nothing() {
    let silent = Arc::new(AtomicBool::new(true));
    let is_silent = silent.clone();
    let server = Server::start(move |command, _| {
        // A minute at most, should the test fail before it speaks again.
        let mut looks = 12_000;
        while command == "." && is_silent.load(Ordering::SeqCst) && looks > 0 {
            looks -= 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        polite(command)
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.max_in_hand = 4;
    let house = House::open(config);
    let first = house
        .submit(&["a@x.test", "b@x.test", "c@x.test", "d@x.test"])
        .await;
    house
        .until(async || house.delivery.figures().in_progress == 4)
        .await;
    // It is due, and there is no room: the scheduler waits for it.
    let second = house.submit(&["e@x.test"]).await;
    sleep(Duration::from_millis(200)).await;
    house.delivery.pause();
    silent.store(false, Ordering::SeqCst);
    house.gone(first).await;
    sleep(Duration::from_millis(500)).await;
    let kept = house.queue.store().show(second).await.unwrap().unwrap();
    assert_eq!(
        (kept.recipients[0].state, kept.recipients[0].attempts),
        (State::Queued, 0)
    );
    let before = server.messages().len();
    house.delivery.try_all().await.unwrap();
    house.delivery.nothing_left().await;
    assert_eq!(server.messages().len(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_claimed_beside_a_probe_waits_for_it_and_not_for_a_minute() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let mut config = smarthost(address);
    config.delivery.max_in_hand = 100;
    let house = House::open(config);
    for _ in 0..60 {
        house.submit(&["a@x.test"]).await;
    }
    house
        .until(async || {
            let all = house.recipients().await;
            all.iter().all(|it| it.state == State::Deferred)
        })
        .await;
    // The next hop is back, and takes longer to say so than all that waits takes to be claimed.
    let server = Server::start_on(&address.to_string(), |command, _| {
        if command == "CONNECT" {
            std::thread::sleep(Duration::from_millis(500));
        }
        polite(command)
    })
    .await;
    let began = Instant::now();
    house.delivery.pause();
    house.delivery.try_all().await.unwrap();
    house.delivery.nothing_left().await;
    assert_eq!(server.messages().len(), 60);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
