//! The server stops.

use super::house::{House, smarthost};
use super::server::{Say, Server, polite};
use smtp_queue::State;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_gives_back_what_is_before_its_final_dot() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("MAIL") => Say::Hang,
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let ids = [
        house.submit(&["a@x.test"]).await,
        house.submit(&["b@x.test"]).await,
        house.submit(&["c@x.test", "d@x.test"]).await,
    ];
    house.until(async || server.connections() > 0).await;
    house.delivery.drain(Duration::from_secs(30)).await;
    assert_eq!(house.delivery.figures().in_progress, 0);
    for id in ids {
        for recipient in house.queue.store().show(id).await.unwrap().unwrap().recipients {
            assert_eq!((recipient.state, recipient.attempts), (State::Queued, 0));
        }
    }
    let after = house.submit(&["e@x.test"]).await;
    let kept = house.queue.store().show(after).await.unwrap().unwrap();
    assert_eq!(kept.recipients[0].state, State::Queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_the_reply_after_the_final_dot() {
    let server = Server::start(|command, _| match command {
        "." => {
            std::thread::sleep(Duration::from_millis(300));
            polite(command)
        }
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house.submit(&["a@x.test"]).await;
    house.until(async || server.connections() > 0).await;
    house.delivery.drain(Duration::from_secs(30)).await;
    // Either it was delivered and is gone, or the drain came before its dot: never both.
    match house.queue.store().show(id).await.unwrap() {
        None => assert_eq!(server.messages().len(), 1),
        Some(kept) => {
            assert_eq!(kept.recipients[0].state, State::Queued);
            assert_eq!(server.messages().len(), 0);
        }
    }
}
