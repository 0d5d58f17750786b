//! The engine against servers that behave, and servers that do not.

mod flaky;
mod house;
mod server;

use crate::testing::address;
use bytes::Bytes;
use flaky::Flaky;
use house::{House, route, smarthost};
use jiff::{SignedDuration, Timestamp};
use server::{Say, Server, polite, say};
use smtp::Notify;
use smtp_config::{Domain, LocalDelivery};
use smtp_queue::{
    Body, Claim, ClaimedRecipient, MailOptions, Message, NewRecipient, QueueId, Recipient, State,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

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

    let late = house.submit(&["late@dead.test"]).await;
    let last = house.tried(late).await[0].last_result.clone().unwrap();
    assert!(last.contains("suspended"), "{last}");
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

/// Ends every lease in hand, as a clock that is set forward or a machine that stood still does.
async fn end_leases(house: &House) {
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    let window = &house.delivery.engine.window;
    for lease in window.ending(Timestamp::MAX) {
        let attempts = lease.attempts().to_vec();
        house.queue.store().renew(attempts, past).await.unwrap();
        lease.renewed(past, &[]);
    }
    window.look_for_first_end();
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
        until: Timestamp::MAX,
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
