//! Results and leases when the store, or the clock, does not go along.

use super::flaky::Flaky;
use super::house::{House, smarthost};
use super::server::{Say, Server, polite};
use crate::engine::moment::{End, Moment};
use crate::engine::window::LEASE;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use smtp_queue::{QueueId, State, Steady, Term};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_written_as_soon_as_a_store_is_back() {
    let server = Server::start(|command, _| polite(command)).await;
    let returns = watch::Sender::new(0);
    // So many pauses would take two minutes if none of them was cut short.
    let house = House::open_with(smarthost(server.address), |store| {
        Flaky::elsewhere(store, 20, returns.clone())
    });
    let id = house.submit(&["a@x.test"]).await;
    let coming_and_going = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(150)).await;
            returns.send_modify(|times| *times += 1);
        }
    });
    house.gone(id).await;
    coming_and_going.abort();
    assert_eq!(server.messages().len(), 1);
}

/// A house whose store never takes the results of messages to `…@poison.test`, of which there are so many, and
/// those messages. And what makes it renew no leases either.
async fn with_poison(server: &Server, count: usize) -> (House, Vec<QueueId>, Arc<AtomicBool>) {
    let keys = Arc::new(Mutex::new(HashSet::new()));
    let keeps_no_leases = Arc::<AtomicBool>::default();
    let house = House::open_with(smarthost(server.address), |store| {
        Flaky::poisoned(store, keys.clone(), keeps_no_leases.clone())
    });
    let mut ids = Vec::new();
    for _ in 0..count {
        // Held until its key is known: no result can come before.
        house.delivery.engine.storing.send_replace(false);
        let id = house.submit(&["a@poison.test"]).await;
        let detail = house.queue.store().show(id).await.unwrap().unwrap();
        keys.lock().insert(detail.message.key);
        ids.push(id);
    }
    house.delivery.engine.storing.send_replace(true);
    house.delivery.engine.wake_scheduler();
    (house, ids, keeps_no_leases)
}

/// For how much longer the message's recipient is leased.
async fn leased(house: &House, id: QueueId) -> SignedDuration {
    let detail = house.queue.store().show(id).await.unwrap().unwrap();
    let recipient = &detail.recipients[0];
    assert_eq!(recipient.state, State::Leased);
    recipient.due.duration_since(Timestamp::now())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_never_taken_holds_up_no_other_and_is_tried_again_later() {
    let server = Server::start(|command, _| polite(command)).await;
    let (house, poisoned, _) = with_poison(&server, 1).await;
    // Alone at first: nothing tells whether it is to blame.
    house.until(async || server.messages().len() == 1).await;
    for _ in 0..20 {
        let id = house.submit(&["a@x.test"]).await;
        house.gone(id).await;
    }
    // It is kept, and comes back in an hour.
    house
        .until(async || leased(&house, poisoned[0]).await > SignedDuration::from_mins(50))
        .await;
    house
        .until(async || house.delivery.figures().in_progress == 0)
        .await;
    assert_eq!(server.messages().len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_results_that_are_never_taken_are_found_among_the_others() {
    let server = Server::start(|command, _| polite(command)).await;
    let (house, poisoned, _) = with_poison(&server, 5).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(house.submit(&["a@x.test"]).await);
    }
    for id in ids {
        house.gone(id).await;
    }
    house
        .until(async || house.delivery.figures().in_progress == 0)
        .await;
    for id in poisoned {
        leased(&house, id).await;
    }
    assert_eq!(server.messages().len(), 105);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_at_all_proves_nothing_against_a_result() {
    let server = Server::start(|command, _| polite(command)).await;
    let (house, poisoned, keeps_no_leases) = with_poison(&server, 1).await;
    let storing = || *house.delivery.engine.storing.borrow();
    house.until(async || !storing()).await;
    house.until(async || storing()).await;
    keeps_no_leases.store(true, Ordering::SeqCst);
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    house
        .until(async || house.delivery.figures().in_progress == 1)
        .await;
    // Still in hand: its result is kept, until the store is well and does not take it.
    assert!(leased(&house, poisoned[0]).await < SignedDuration::from_mins(2));
    keeps_no_leases.store(false, Ordering::SeqCst);
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    house
        .until(async || house.delivery.figures().in_progress == 0)
        .await;
    assert!(leased(&house, poisoned[0]).await > SignedDuration::from_mins(50));
    assert_eq!(server.messages().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_result_is_taken_it_is_the_store_and_delivery_stops() {
    let server = Server::start(|command, _| polite(command)).await;
    let (house, poisoned, _) = with_poison(&server, 17).await;
    house.until(async || server.messages().len() == 17).await;
    house
        .until(async || !*house.delivery.engine.storing.borrow())
        .await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    house.submit(&["a@x.test"]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.messages().len(), 17);
    for id in poisoned {
        let wait = leased(&house, id).await;
        assert!(wait < SignedDuration::from_mins(2), "set aside: {wait:?}");
    }
}

/// Ends every lease in hand, as a clock that is set forward or a machine that stood still does.
async fn end_leases(house: &House) {
    let past = Moment {
        stored: Timestamp::now() - SignedDuration::from_mins(2),
        steady: Steady::START,
    };
    let ended = Term {
        length: LEASE,
        now: Some(past.stored),
    };
    let future = Moment {
        stored: Timestamp::MAX,
        steady: Steady::now(),
    };
    // The store and the books cannot be changed in one moment: nothing is claimed in between.
    house.delivery.engine.storing.send_replace(false);
    let window = &house.delivery.engine.window;
    for lease in window.ending(future) {
        let attempts = lease.attempts().to_vec();
        house.queue.store().renew(attempts, ended).await.unwrap();
        lease.renewed(End::of_lease(past), &HashSet::new());
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_and_not_yet_answered_is_not_taken_for_lost() {
    let server = Server::start(|command, _| polite(command)).await;
    let answers = Arc::new(Semaphore::new(0));
    let house = House::open_with(smarthost(server.address), |store| {
        Flaky::slow_to_answer(store, answers.clone())
    });
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    // A renewal that is answered first finds nothing to renew.
    let engine = &house.delivery.engine;
    let future = Moment {
        stored: Timestamp::MAX,
        steady: Steady::now(),
    };
    let leases = engine.window.ending(future);
    assert_eq!(leases.len(), 1);
    end_leases(&house).await;
    engine.wake_scheduler();
    house
        .until(async || !engine.window.any_ended(engine.window.moment()))
        .await;
    assert!(!leases[0].has_lost(0), "taken for lost");
    drop(leases);
    answers.add_permits(1);
    house
        .until(async || house.delivery.figures().in_progress == 0)
        .await;
}
