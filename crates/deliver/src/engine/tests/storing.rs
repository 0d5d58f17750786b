//! Results and leases when the store, or the clock, does not go along.

use super::flaky::Flaky;
use super::house::{House, smarthost};
use super::server::{Say, Server, polite};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_the_store_does_not_take_are_kept_and_nothing_new_begins() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open_with(smarthost(server.address), |store| Flaky::wrap(store, 3));
    let first = house.submit(&["a@x.test"]).await;
    house.until(async || server.messages().len() == 1).await;
    let second = house.submit(&["b@x.test"]).await;
    house.gone(first).await;
    house.gone(second).await;
    assert_eq!(server.messages().len(), 2);
    house
        .until(async || house.delivery.figures().in_progress == 0)
        .await;
}

/// Ends every lease in hand, as a clock that is set forward or a machine that stood still does.
async fn end_leases(house: &House) {
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    // The store and the books cannot be changed in one moment: nothing is claimed in between.
    house.delivery.engine.storing.send_replace(false);
    let window = &house.delivery.engine.window;
    for lease in window.ending(Timestamp::MAX) {
        let attempts = lease.attempts().to_vec();
        house.queue.store().renew(attempts, past).await.unwrap();
        lease.renewed(past, &[]);
    }
    window.look_for_first_end();
    house.delivery.engine.storing.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_hand_is_not_claimed_again_when_its_lease_ended() {
    let dots = Arc::new(AtomicUsize::new(0));
    let seen = dots.clone();
    let server = Server::start(move |command, _| {
        if command == "." {
            seen.fetch_add(1, Ordering::SeqCst);
            Say::Hang
        } else {
            polite(command)
        }
    })
    .await;
    let house = House::open(smarthost(server.address));
    house.submit(&["a@x.test"]).await;
    house.until(async || dots.load(Ordering::SeqCst) == 1).await;
    end_leases(&house).await;
    house.delivery.engine.wake_scheduler();
    let renewed = async || {
        let due = house.queue.store().next_due().await.unwrap();
        due.is_some_and(|due| due > Timestamp::now())
    };
    house.until(renewed).await;
    house.delivery.engine.wake_scheduler();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(dots.load(Ordering::SeqCst), 1, "sent again while it is in hand");
}
