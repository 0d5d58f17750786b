//! Servers that break off, hang, answer nonsense, or whose TLS fails.

use super::house::{House, smarthost};
use super::server::{Say, Server, polite, say};
use jiff::{SignedDuration, Timestamp};
use smtp_queue::State;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_server_closed_while_idle_costs_nothing() {
    let server = Server::start(|command, _| match command {
        "." => Say::Text("250 2.0.0 taken\r\n421 4.4.2 bye\r\n".into()),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    for _ in 0..3 {
        let id = house.submit(&["a@x.test"]).await;
        house.gone(id).await;
    }
    assert_eq!(server.messages().len(), 3);
    assert_eq!(house.delivery.figures().destinations_down, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_after_the_final_dot_may_have_the_message() {
    let server = Server::start(|command, _| {
        if command == "." {
            Say::Hang
        } else {
            polite(command)
        }
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.final_timeout = Duration::from_millis(200);
    config.delivery.retry_initial = Duration::from_secs(1);
    let house = House::open(config);
    let id = house.submit(&["a@x.test"]).await;
    let recipient = house.tried(id).await.remove(0);
    assert_eq!((recipient.state, recipient.attempts), (State::Deferred, 1));
    let last = recipient.last_result.unwrap();
    assert!(last.contains("more than once"), "{last}");
    assert!(recipient.due.duration_since(Timestamp::now()) > SignedDuration::from_secs(240));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_in_the_middle_of_a_reply_does_not_have_the_message() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("MAIL") => Say::Last("250-2.1.0 o".into()),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house.submit(&["a@x.test"]).await;
    let recipient = house.tried(id).await.remove(0);
    assert_eq!(recipient.state, State::Deferred);
    let last = recipient.last_result.unwrap();
    assert!(
        last.contains("lost connection") && !last.contains("more than once"),
        "{last}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_ten_megabytes_is_cut_short() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("EHLO") => say(&format!("250 {}", "x".repeat(10_000_000))),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house.submit(&["a@x.test"]).await;
    let recipient = house.tried(id).await.remove(0);
    assert_eq!(recipient.state, State::Deferred);
    let last = recipient.last_result.unwrap();
    assert!(last.contains("too long"), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_fails_is_done_without_when_it_need_not_be() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("EHLO") => say("250-fake.test\r\n250 STARTTLS"),
        "STARTTLS" => Say::Last("220 go on\r\n".into()),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    assert_eq!((server.messages().len(), server.connections()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_tls_that_is_not_offered_defers() {
    let server = Server::start(|command, _| polite(command)).await;
    let mut config = smarthost(server.address);
    config.relay.tls = smtp_config::TlsPolicy::Required;
    let house = House::open(config);
    let id = house.submit(&["a@x.test"]).await;
    let recipient = house.tried(id).await.remove(0);
    assert_eq!(recipient.state, State::Deferred);
    let last = recipient.last_result.unwrap();
    assert!(last.contains("TLS is required"), "{last}");
}
