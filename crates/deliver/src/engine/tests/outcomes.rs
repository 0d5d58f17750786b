//! What becomes of a recipient, and who is told.

use super::house::{House, smarthost};
use super::server::{Say, Server, polite, say};
use crate::testing::address;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use smtp::Notify;
use smtp_config::{Domain, LocalDelivery};
use smtp_queue::{Body, NewRecipient, QueueId, State};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recipient_has_its_own_outcome_and_the_sender_hears_of_failures() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("RCPT TO:<later@") => say("450 4.2.1 full"),
        _ if command.starts_with("RCPT TO:<never@") => say("550 5.1.1 who is that"),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house
        .submit(&["now@x.test", "later@x.test", "never@x.test"])
        .await;
    let states: Vec<State> = house
        .tried(id)
        .await
        .iter()
        .map(|recipient| recipient.state)
        .collect();
    assert_eq!(states, [State::Delivered, State::Deferred, State::Bounced]);
    let deferred = &house.tried(id).await[1];
    let last = deferred.last_result.clone().unwrap();
    assert!(last.contains("450 4.2.1 full"), "{last}");
    let wait = deferred.due.duration_since(Timestamp::now());
    assert!(
        wait > SignedDuration::from_secs(240) && wait < SignedDuration::from_secs(350),
        "{wait:?}"
    );

    house.until(async || server.messages().len() == 2).await;
    let messages = server.messages();
    assert_eq!(messages[0].content, b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n");
    assert_eq!(messages[1].sender.split(' ').next(), Some("MAIL"));
    assert!(
        messages[1].sender.starts_with("MAIL FROM:<>"),
        "{}",
        messages[1].sender
    );
    assert!(messages[1].recipients[0].starts_with("RCPT TO:<sender@from.test>"));
    let report = String::from_utf8_lossy(&messages[1].content).into_owned();
    assert!(
        report.contains("never@x.test") && report.contains("5.1.1"),
        "{report}"
    );
    assert!(!report.contains("later@x.test"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_that_refuses_for_good_bounces() {
    let server = Server::start(|command, connection| match command {
        "CONNECT" if connection == 1 => Say::Last("554 5.3.2 no mail here\r\n".into()),
        _ => polite(command),
    })
    .await;
    let house = House::open(smarthost(server.address));
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    house.until(async || server.messages().len() == 1).await;
    assert!(String::from_utf8_lossy(&server.messages()[0].content).contains("no mail here"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_expires_and_its_sender_is_told() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("RCPT TO:<a@") => say("451 4.3.0 later"),
        _ => polite(command),
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.expire_after = Duration::ZERO;
    let house = House::open(config);
    let id = house.submit(&["a@x.test"]).await;
    house.gone(id).await;
    // The server took DATA though nobody was left: what it got then is empty.
    let reports = || {
        server
            .messages()
            .into_iter()
            .filter(|got| got.sender.starts_with("MAIL FROM:<>"))
    };
    house.until(async || reports().count() == 1).await;
    let report = String::from_utf8_lossy(&reports().next().unwrap().content).into_owned();
    assert!(
        report.contains("4.4.7") && report.contains("a@x.test"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_arrives_octet_for_octet() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open(smarthost(server.address));
    let mut content = b"Subject: large\r\n\r\n".to_vec();
    for line in 0..60_000 {
        content.extend_from_slice(if line % 3 == 0 {
            b".dots\r\n"
        } else {
            b"a line of text\r\n"
        });
    }
    let id = QueueId::generate();
    let mut writer = house.queue.spool().writer(id);
    writer.write(&content).await.unwrap();
    let body = writer.finish().await.unwrap();
    assert!(matches!(body, Body::File { .. }));
    house.submit_body(id, &["a@x.test"], body).await;
    house.gone(id).await;
    assert!(server.messages()[0].content == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_mail_goes_to_its_maildir_beside_the_rest() {
    let server = Server::start(|command, _| polite(command)).await;
    let mut config = smarthost(server.address);
    let mail = tempfile::tempdir().unwrap();
    let template = format!("maildir:{}", mail.path().join("{local}").display());
    let template = template.trim_start_matches("maildir:").to_owned();
    config.domains.push(Domain {
        recipients: smtp_config::Recipients::Any,
        name: "here.test".into(),
        deliver: LocalDelivery::Maildir(template),
    });
    let house = House::open(config);
    let id = house.submit(&["ann@here.test", "bob@x.test"]).await;
    house.gone(id).await;
    assert_eq!(server.messages().len(), 1);
    assert_eq!(std::fs::read_dir(mail.path().join("ann/new")).unwrap().count(), 1);
    assert!(house.folder.path().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_all_arrive_once() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = std::sync::Arc::new(House::open(smarthost(server.address)));
    let senders: Vec<_> = (0..20)
        .map(|_| {
            let house = house.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    house.submit(&["a@x.test"]).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    house.until(async || server.messages().len() == 2000).await;
    house
        .until(async || house.queue.store().stats().await.unwrap().messages == 0)
        .await;
    assert!(server.connections() <= 21, "{}", server.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_success_hears_that_it_was_relayed() {
    let server = Server::start(|command, _| polite(command)).await;
    let house = House::open(smarthost(server.address));
    let recipient = NewRecipient {
        address: address("a@x.test"),
        notify: Some(Notify::SUCCESS),
        orcpt: None,
    };
    let body = Body::Memory(Bytes::from_static(b"Subject: x\r\n\r\nx\r\n"));
    house
        .submit_whole(QueueId::generate(), Some("s@from.test"), vec![recipient], body)
        .await;
    house.until(async || server.messages().len() == 2).await;
    let report = String::from_utf8_lossy(&server.messages()[1].content).into_owned();
    assert!(report.contains("Action: relayed"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_sender_that_fails_is_shown_to_the_operator_only() {
    let server = Server::start(|command, _| match command {
        _ if command.starts_with("RCPT TO:<ops@") => polite(command),
        _ if command.starts_with("RCPT") => say("550 5.1.1 nobody"),
        _ => polite(command),
    })
    .await;
    let mut config = smarthost(server.address);
    config.delivery.double_bounce_to = Some("ops@x.test".into());
    let house = House::open(config);
    let recipient = NewRecipient {
        address: address("a@x.test"),
        notify: None,
        orcpt: None,
    };
    let body = Body::Memory(Bytes::from_static(b"Subject: x\r\n\r\nx\r\n"));
    let id = QueueId::generate();
    house.submit_whole(id, None, vec![recipient], body).await;
    house.gone(id).await;
    let copies = || {
        server
            .messages()
            .into_iter()
            .filter(|got| !got.content.is_empty())
    };
    house.until(async || copies().count() == 1).await;
    assert!(copies().all(|got| got.sender.starts_with("MAIL FROM:<>")));
    assert!(copies().all(|got| got.recipients[0].starts_with("RCPT TO:<ops@x.test>")));
}
