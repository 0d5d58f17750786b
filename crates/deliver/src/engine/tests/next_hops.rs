//! Connections and room shared between next hops.

use super::house::{House, route, smarthost};
use super::server::{Say, Server, polite};
use crate::testing::address;
use jiff::Timestamp;
use smtp_queue::{Claim, ClaimedRecipient, MailOptions, Message, QueueId, Recipient, State, Steady};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_used_again() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open(smarthost(server.address));
    for _ in 0..20 {
        let id = house.submit(&["a@x.test"]).await;
        house.gone(id).await;
    }
    assert_eq!(server.messages().len(), 20);
    assert!(server.connections() <= 2, "{}", server.connections());
    house
        .until(async || house.delivery.figures().in_progress == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_next_hop_holds_up_no_other() {
    let dead = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let hanging = Server::start(|_, _| Say::Hang).await;
    let server = Server::start(|command, _| polite(command)).await;
    let mut config = smarthost(server.address);
    route(&mut config, "dead.test", dead);
    route(&mut config, "hangs.test", hanging.address);
    let house = House::open(config);
    let mut dead_ids = Vec::new();
    for _ in 0..20 {
        dead_ids.push(house.submit(&["a@dead.test"]).await);
        house.submit(&["a@hangs.test"]).await;
    }
    let both = house.submit(&["b@dead.test", "b@x.test"]).await;
    house.until(async || server.messages().len() == 1).await;
    for id in dead_ids {
        assert_eq!(house.tried(id).await[0].state, State::Deferred);
    }
    let states: Vec<State> = house
        .tried(both)
        .await
        .iter()
        .map(|recipient| recipient.state)
        .collect();
    assert_eq!(states, [State::Deferred, State::Delivered]);
    assert_eq!(house.delivery.figures().destinations_down, 1);

    // It is stored as deferred at once, and not touched again.
    let late = house.submit(&["late@dead.test"]).await;
    let stored = house.queue.store().show(late).await.unwrap().unwrap();
    let recipient = &stored.recipients[0];
    assert_eq!((recipient.state, recipient.attempts), (State::Deferred, 1));
    let last = recipient.last_result.as_deref().unwrap();
    assert!(last.contains("suspended"), "{last}");
    // Beside one that can be sent it is not.
    let both = house.submit(&["late@dead.test", "late@x.test"]).await;
    house.until(async || server.messages().len() == 2).await;
    assert_eq!(house.tried(both).await[0].state, State::Deferred);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_hop_that_comes_back_gets_everything() {
    let server = Server::start(|command, connection| match command {
        "CONNECT" if connection <= 3 => Say::Last("421 4.3.2 not now\r\n".into()),
        _ => polite(command),
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.retry_initial = Duration::from_millis(50);
    config.delivery.retry_max = Duration::from_millis(100);
    let house = House::open(config);
    for _ in 0..30 {
        house.submit(&["a@x.test"]).await;
    }
    house.until(async || server.messages().len() == 30).await;
    house
        .until(async || house.queue.store().stats().await.unwrap().messages == 0)
        .await;
    assert_eq!(house.delivery.figures().destinations_down, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_hops_share_the_places_for_connections() {
    let server = Server::start(|command, _| polite(command)).await;
    let others = [
        Server::start(|command, _| polite(command)).await,
        Server::start(|_, _| Say::Hang).await,
    ];
    let mut config = smarthost(server.address);
    config.delivery.max_connections = 2;
    route(&mut config, "other.test", others[0].address);
    route(&mut config, "hangs.test", others[1].address);
    let house = House::open(config);
    house.submit(&["a@hangs.test"]).await;
    for _ in 0..50 {
        house.submit(&["a@x.test", "a@other.test"]).await;
    }
    house
        .until(async || server.messages().len() == 50 && others[0].messages().len() == 50)
        .await;
    assert!(house.delivery.figures().connections <= 2);
}

/// A claim on so many recipients of no message in particular.
fn filler(recipients: usize) -> Claim {
    let claimed = |index| ClaimedRecipient {
        recipient: Recipient {
            index,
            address: address("a@filler.test"),
            notify: None,
            orcpt: None,
            state: State::Leased,
            attempts: 0,
            due: Timestamp::MAX,
            delay_notified: false,
            last_result: None,
            parked: false,
        },
        epoch: 1,
    };
    let message = Message {
        key: i64::MAX,
        id: QueueId::generate(),
        received_at: Timestamp::now(),
        sender: None,
        options: MailOptions::default(),
        size: 0,
    };
    Claim {
        message: Arc::new(message),
        recipients: (0..).take(recipients).map(claimed).collect(),
        body: None,
        until: Steady::now() + Duration::MAX,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_next_hops_leave_what_little_room_there_is_to_the_others() {
    let server = Server::start(|command, _| polite(command)).await;
    let hanging = Server::start(|_, _| Say::Hang).await;
    let mut config = smarthost(server.address);
    route(&mut config, "hangs.test", hanging.address);
    let house = House::open(config);
    let to = |domain: &str| -> Vec<String> { (0..100).map(|number| format!("{number}@{domain}")).collect() };
    let to = [to("hangs.test"), to("x.test")];
    let [slow, quick] = to
        .each_ref()
        .map(|to| to.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..10 {
        house.submit(&slow).await;
    }
    let window = &house.delivery.engine.window;
    let _held = window.lease(&filler(window.free() - 30));
    // More than there is room for: it has to be claimed, piece by piece.
    let id = house.submit(&quick).await;
    house.gone(id).await;
}
