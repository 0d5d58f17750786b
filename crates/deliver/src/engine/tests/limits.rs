//! What a next hop gets: connections up to a cap that may fall, messages at a rate that may change, and no dot without leave.

use super::house::{House, route, smarthost};
use super::server::{Server, polite};
use crate::engine::moment::End;
use bytes::Bytes;
use jiff::Timestamp;
use smtp_config::{Config, Rate};
use smtp_queue::{Body, QueueId, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

fn reconfigure(house: &House, config: &Config) {
    let prepared = house.delivery.prepare(Arc::new(config.clone())).unwrap();
    house.delivery.take(prepared);
}

/// Connections that are open to the one next hop.
fn connections(house: &House) -> usize {
    let standings = house.delivery.standings();
    standings.iter().map(|(_, one)| one.connections).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_are_busy_end_when_there_may_be_fewer() {
    let server = Server::start(|command, _| {
        if command == "." {
            std::thread::sleep(Duration::from_millis(10));
        }
        polite(command)
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.max_connections_per_destination = 6;
    let house = House::open(config.clone());
    let stop = Arc::new(AtomicBool::new(false));
    // There is always work, so that no lane ends for want of it.
    let submitting = async {
        while !stop.load(Ordering::SeqCst) {
            if house.delivery.figures().in_progress < 100 {
                house.submit(&["a@x.test"]).await;
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let watching = async {
        house.until(async || connections(&house) == 6).await;
        config.delivery.max_connections_per_destination = 2;
        reconfigure(&house, &config);
        house.until(async || connections(&house) == 2).await;
        for _ in 0..100 {
            assert!(connections(&house) <= 2);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        config.delivery.max_connections_per_destination = 4;
        reconfigure(&house, &config);
        house.until(async || connections(&house) == 4).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(submitting, watching);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_wait_for_work_end_when_there_may_be_fewer() {
    // Two messages meet, so that there are two connections.
    let asked = Arc::new(AtomicUsize::new(0));
    let asks = asked.clone();
    let server = Server::start(move |command, _| {
        if command == "DATA" {
            asks.fetch_add(1, Ordering::SeqCst);
            while asks.load(Ordering::SeqCst) < 2 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        polite(command)
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.idle_timeout = Duration::from_secs(300);
    let house = House::open(config.clone());
    let first = house.submit(&["a@x.test"]).await;
    house.until(async || asked.load(Ordering::SeqCst) == 1).await;
    let second = house.submit(&["b@x.test"]).await;
    for id in [first, second] {
        house.gone(id).await;
    }
    assert_eq!(connections(&house), 2);
    config.delivery.max_connections_per_destination = 1;
    reconfigure(&house, &config);
    house.until(async || connections(&house) == 1).await;
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_waits_for_its_rate_goes_back_but_for_what_goes_soon() {
    let server = Server::start(|command, _| polite(command)).await;
    let other = Server::start(|command, _| polite(command)).await;
    let mut config = smarthost(server.address);
    config.delivery.max_in_hand = 100;
    config.delivery.max_rate_per_destination = Rate::parse("1/minute").unwrap();
    route(&mut config, "other.test", other.address);
    let house = House::open(config.clone());
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(house.submit(&["a@x.test"]).await);
    }
    house.until(async || server.messages().len() == 1).await;
    // What goes in half a minute, and two at least.
    house
        .until(async || house.delivery.figures().in_progress == 2)
        .await;
    let id = house.submit(&["a@other.test"]).await;
    house.gone(id).await;
    let engine = &house.delivery.engine;
    house.until(async || engine.hanging.set_apart() == 2).await;
    assert_eq!(
        (
            engine.hanging.in_hand(),
            house.delivery.figures().destinations_paced
        ),
        (0, 1)
    );
    // The others wait in the store, untried, each for its turn.
    house
        .until(async || {
            let all = house.recipients().await;
            let waits = |state| all.iter().filter(move |it| it.state == state);
            let now = Timestamp::now();
            let in_turn = waits(State::Queued)
                .filter(|it| it.due > now && it.attempts == 0)
                .count();
            in_turn == 47 && waits(State::Leased).count() == 2
        })
        .await;
    config.delivery.max_rate_per_destination = Rate::NONE;
    reconfigure(&house, &config);
    house.until(async || server.messages().len() >= 3).await;
    house
        .queue
        .store()
        .retry(Default::default(), Timestamp::now())
        .await
        .unwrap();
    house.queue.retry_now();
    for id in ids {
        house.gone(id).await;
    }
    assert_eq!(server.messages().len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_lease_was_lost_gets_no_dot() {
    // A content of one block, and one of several.
    for large in [false, true] {
        let (asked, goes_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (asks, waits) = (asked.clone(), goes_on.clone());
        let server = Server::start(move |command, _| {
            if command == "DATA" {
                asks.fetch_add(1, Ordering::SeqCst);
                while !waits.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            polite(command)
        })
        .await;
        let house = House::open(smarthost(server.address));
        let content = if large {
            "0123456789abcde\r\n".repeat(20_000)
        } else {
            "x\r\n".into()
        };
        let id = QueueId::generate();
        house
            .submit_body(id, &["a@x.test"], Body::Memory(Bytes::from(content)))
            .await;
        house.until(async || asked.load(Ordering::SeqCst) == 1).await;
        // Another server has it.
        let window = &house.delivery.engine.window;
        let mut later = window.moment();
        later.steady = later.steady + Duration::from_secs(3600);
        for lease in window.ending(later) {
            assert_eq!(
                lease.renewed(End::of_lease(later), &lease.attempts().iter().copied().collect()),
                1
            );
        }
        goes_on.store(true, Ordering::SeqCst);
        house
            .until(async || house.delivery.figures().in_progress == 0)
            .await;
        assert!(server.messages().is_empty(), "it was sent");
        house.until(async || connections(&house) == 0).await;
    }
}
