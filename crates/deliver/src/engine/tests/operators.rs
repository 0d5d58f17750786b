//! What operators do while mail is on its way: suspend, resume, give up.

use super::flaky::Flaky;
use super::house::{House, smarthost};
use super::server::{Server, polite};
use jiff::{SignedDuration, Timestamp};
use smtp_queue::{Filter, State, Suspension, SuspensionKind};
use std::time::Duration;

fn suspension(kind: SuspensionKind, name: &str, until: Option<Timestamp>) -> Suspension {
    Suspension {
        kind,
        name: name.into(),
        reason: "their server is moved".into(),
        who: "admin".into(),
        since: Timestamp::now(),
        until,
    }
}

async fn suspend(house: &House, kind: SuspensionKind, name: &str, until: Option<Timestamp>) {
    let one = suspension(kind, name, until);
    assert!(house.queue.store().suspend(one).await.unwrap());
    house.delivery.suspensions_changed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_mail_waits_and_others_do_not() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open(smarthost(server.address));
    suspend(&house, SuspensionKind::Domain, "moved.test", None).await;
    let alone = house.submit(&["a@Moved.test"]).await;
    let mixed = house.submit(&["b@moved.test", "b@x.test"]).await;
    house.until(async || server.messages().len() == 1).await;
    let show = async |id| house.queue.store().show(id).await.unwrap().unwrap().recipients;
    house.until(async || show(mixed).await[0].parked).await;
    for recipient in [&show(alone).await[0], &show(mixed).await[0]] {
        assert_eq!((recipient.state, recipient.attempts), (State::Queued, 0));
        assert!(recipient.parked && recipient.due > Timestamp::now() + SignedDuration::from_hours(24));
    }
    house
        .until(async || show(mixed).await[1].state == State::Delivered)
        .await;
    let name = "moved.test".to_owned();
    let resumed = house
        .queue
        .store()
        .resume(SuspensionKind::Domain, name, Timestamp::now());
    assert_eq!(resumed.await.unwrap(), Some(2));
    house.delivery.suspensions_changed().await.unwrap();
    house.queue.retry_now();
    house.gone(alone).await;
    house.gone(mixed).await;
    assert_eq!(server.messages().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_a_suspension_does_not_end_it() {
    let server = Server::start(|command, _| polite(command)).await;
    let slow = Duration::from_millis(400);
    let house = House::open_with(smarthost(server.address), |store| {
        Flaky::slow_to_tell(store, slow)
    });
    // The first look has its answer, and is not done with it.
    tokio::time::sleep(slow / 2).await;
    suspend(&house, SuspensionKind::Domain, "moved.test", None).await;
    tokio::time::sleep(slow).await;
    house.submit(&["a@moved.test"]).await;
    tokio::time::sleep(slow / 2).await;
    assert!(server.messages().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_ends_by_itself() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open(smarthost(server.address));
    let until = Timestamp::now() + SignedDuration::from_millis(1500);
    suspend(&house, SuspensionKind::Sender, "@from.test", Some(until)).await;
    let id = house.submit(&["a@x.test"]).await;
    let stored = house.queue.store().show(id).await.unwrap().unwrap();
    assert!(stored.recipients[0].parked);
    house.gone(id).await;
    assert!(Timestamp::now() >= until);
    assert_eq!(server.messages().len(), 1);
    house
        .until(async || house.queue.store().suspensions().await.unwrap().is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_is_given_up_bounces_with_the_operators_words() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open(smarthost(server.address));
    suspend(&house, SuspensionKind::Domain, "moved.test", None).await;
    let mut ids = Vec::new();
    for _ in 0..450 {
        ids.push(house.submit(&["a@moved.test"]).await);
    }
    let filter = Filter {
        domain: Some("moved.test".into()),
        ..Filter::default()
    };
    let bounced = house
        .delivery
        .bounce(&filter, Some("nobody reads this any more"))
        .await;
    assert_eq!(bounced.unwrap(), (450, false));
    for id in ids {
        house.gone(id).await;
    }
    // The reports go to their sender.
    house.until(async || server.messages().len() == 450).await;
    let report = String::from_utf8(server.messages().remove(0).content).unwrap();
    assert!(report.contains("nobody reads this any more"), "{report}");
    assert!(report.contains("Status: 5.7.1"), "{report}");
    assert_eq!(house.delivery.bounce(&filter, None).await.unwrap(), (0, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_mail_of_a_next_hop_that_is_down_is_no_attempt_either() {
    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = away.local_addr().unwrap();
    drop(away);
    let house = House::open(smarthost(address));
    let id = house.submit(&["a@moved.test", "b@x.test"]).await;
    assert_eq!(house.tried(id).await[0].attempts, 1);
    suspend(&house, SuspensionKind::Domain, "moved.test", None).await;
    let everything = Filter::default();
    // Without ending the back-off: what comes for this next hop is deferred at once.
    assert_eq!(
        house
            .queue
            .store()
            .retry(everything, Timestamp::now())
            .await
            .unwrap(),
        1
    );
    house.submit(&["c@x.test", "c@moved.test"]).await;
    let show = async || house.queue.store().show(id).await.unwrap().unwrap().recipients;
    house.until(async || show().await[0].parked).await;
    house.until(async || show().await[1].attempts == 2).await;
    assert_eq!(
        (show().await[0].state, show().await[0].attempts),
        (State::Deferred, 1)
    );
}
