//! Messages come whole, stay whole, and go with their last recipient.

use super::*;
use smtp::{BodyType, Notify, Orcpt, Ret};
use smtp_observe::TraceContext;

pub(super) async fn run(subject: &dyn Subject) {
    what_went_in_comes_out(subject).await;
    a_lease_is_born_with_the_message(subject).await;
    a_message_goes_with_its_last_recipient(subject).await;
    reports_come_in_the_same_change(subject).await;
    a_refused_message_leaves_nothing(subject).await;
    what_is_stored_survives_a_crash(subject).await;
    an_unreadable_recipient_is_set_aside(subject).await;
    missing_content_is_set_aside(subject).await;
    a_closed_store_says_so(subject).await;
}

async fn what_went_in_comes_out(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let mut new = message(5, &["Ann@To.Example", "\"b b\"@[192.0.2.7]"]);
    new.sender = None;
    new.options = MailOptions {
        body_type: BodyType::EightBitMime,
        smtputf8: true,
        has_8bit: true,
        header_8bit: true,
        ret: Some(Ret::Headers),
        envid: Some("QQ314159".to_owned()),
        account: Some("shop".to_owned()),
        message_id: Some("<1@from.example>".to_owned()),
        traceparent: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        origin: "it's \"quoted\"; DROP TABLE messages; --".to_owned(),
    };
    new.recipients[0].notify = Some(Notify::SUCCESS.with(Notify::DELAY));
    new.recipients[1].notify = Some(Notify::NEVER);
    new.recipients[1].orcpt = Orcpt::parse("rfc822;Bob@Old.Example");
    let (id, options) = (new.id, new.options.clone());
    insert(&store, new).await;
    let claims = claim_all(&store, at(10)).await;
    assert_eq!(claims.len(), 1);
    let stored = &claims[0].message;
    assert_eq!((stored.id, stored.received_at, stored.size), (id, at(5), 24));
    assert_eq!((&stored.options, stored.sender.is_none()), (&options, true));
    let [first, second] = claims[0].recipients.as_slice() else {
        panic!("two recipients")
    };
    assert_eq!(first.recipient.address.as_str(), "Ann@To.Example");
    assert_eq!(first.recipient.notify, Some(Notify::SUCCESS.with(Notify::DELAY)));
    assert_eq!(second.recipient.address.as_str(), "\"b b\"@[192.0.2.7]");
    assert_eq!(second.recipient.notify, Some(Notify::NEVER));
    assert_eq!(
        second.recipient.orcpt.as_ref().map(Orcpt::as_str),
        Some("rfc822;Bob@Old.Example")
    );
    let Body::Memory(content) = store.body(stored).await.unwrap() else {
        panic!("a small body")
    };
    assert_eq!(&content[..], b"Subject: test\r\n\r\nHello\r\n");
    assert!(store.show(QueueId::generate()).await.unwrap().is_none());
}

async fn a_lease_is_born_with_the_message(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let new = message(0, &["a@x.example", "b@y.example"]);
    let id = new.id;
    let claim = store
        .insert(new, Beginning::Leased(minute(at(0))))
        .await
        .unwrap()
        .expect("the lease that was asked for");
    assert_eq!((claim.message.id, claim.recipients.len()), (id, 2));
    assert_eq!(claim.recipients[0].recipient.due, at(60));
    assert_eq!(states(&store, id).await, [State::Leased; 2]);
    assert!(
        claim_all(&store, at(59)).await.is_empty(),
        "nobody else gets it while it is leased"
    );
    let [first, second] = attempts(&claim)[..] else {
        panic!("two recipients")
    };
    assert!(finish(&store, first, Outcome::Delivered).await.fenced.is_empty());
    assert_eq!(finish(&store, second, Outcome::Delivered).await.removed, [id]);
}

async fn a_message_goes_with_its_last_recipient(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@x.example", "c@x.example"])).await;
    let claim = claim_all(&store, at(1)).await.remove(0);
    let [first, second, third] = attempts(&claim)[..] else {
        panic!("three recipients")
    };
    assert!(finish(&store, first, Outcome::Delivered).await.removed.is_empty());
    assert!(finish(&store, second, deferred(at(300))).await.removed.is_empty());
    assert!(finish(&store, third, Outcome::Bounced).await.removed.is_empty());
    assert_eq!(
        states(&store, id).await,
        [State::Delivered, State::Deferred, State::Bounced]
    );
    assert_counted(&store).await;
    assert!(
        store.body(&claim.message).await.is_ok(),
        "its content stays as long as it does"
    );
    let again = claim_all(&store, at(300)).await.remove(0);
    let [last] = again.recipients.as_slice() else {
        panic!("only the one that is left")
    };
    assert_eq!((last.recipient.index, last.recipient.attempts), (1, 1));
    assert_eq!(last.recipient.last_result.as_deref(), Some("relay: 250 2.0.0 Ok"));
    assert_eq!(
        finish(&store, attempts(&again)[0], Outcome::Expired)
            .await
            .removed,
        [id]
    );
    assert!(store.show(id).await.unwrap().is_none());
    assert!(store.body(&claim.message).await.is_err());
    assert_counted(&store).await;
}

async fn reports_come_in_the_same_change(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let failed = insert(&store, message(0, &["a@x.example"])).await;
    let claim = claim_all(&store, at(1)).await.remove(0);
    let bounced = || vec![ended(&claim, Outcome::Bounced)];
    let report = message(1, &["sender@from.example"]);
    let first = report.id;
    let finished = store.finish(bounced(), vec![report]).await.unwrap();
    assert_eq!((finished.removed, finished.fenced.len()), (vec![failed], 0));
    assert_eq!(states(&store, first).await, [State::Queued]);
    let report = message(1, &["sender@from.example"]);
    let second = report.id;
    let finished = store.finish(bounced(), vec![report]).await.unwrap();
    assert_eq!(finished.fenced, attempts(&claim));
    assert_eq!(
        states(&store, second).await,
        [State::Queued],
        "a fenced result's report is stored too"
    );
    // A report that cannot be stored takes its results with it.
    let mut twice = message(1, &["sender@from.example"]);
    twice.id = second;
    let claim = claim_all(&store, at(1)).await.remove(0);
    let results = vec![ended(&claim, Outcome::Bounced)];
    assert!(store.finish(results, vec![twice]).await.is_err());
    assert_eq!(states(&store, claim.message.id).await, [State::Leased]);
}

async fn a_refused_message_leaves_nothing(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example"])).await;
    let mut twice = message(0, &["b@x.example", "c@x.example"]);
    twice.id = id;
    // Together with others, so that they share its transaction where there is one.
    let (refused, good) = tokio::join!(store.insert(twice, Beginning::Due), async {
        let all = (0..20).map(|_| store.insert(message(0, &["d@x.example"]), Beginning::Due));
        let mut stored = 0;
        for one in all {
            one.await.unwrap();
            stored += 1;
        }
        stored
    });
    assert!(refused.is_err(), "an id names one message");
    assert!(
        store.insert(message(0, &[]), Beginning::Due).await.is_err(),
        "nobody to deliver it to"
    );
    assert_eq!(good, 20);
    assert_eq!(states(&store, id).await.len(), 1);
    assert_counted(&store).await;
    assert_eq!(store.stats().await.unwrap().messages, 21);
}

async fn what_is_stored_survives_a_crash(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let waiting = insert(&store, message(0, &["a@x.example"])).await;
    let leased = message(0, &["b@x.example"]);
    let leased_id = leased.id;
    store
        .insert(leased, Beginning::Leased(Term::of(Duration::from_secs(3600))))
        .await
        .unwrap();
    let done = message(0, &["c@x.example"]);
    let done_id = done.id;
    let claim = store
        .insert(done, Beginning::Leased(minute(at(0))))
        .await
        .unwrap()
        .unwrap();
    finish(&store, attempts(&claim)[0], Outcome::Delivered).await;
    let store = subject.crash(store).await;
    assert_eq!(states(&store, waiting).await, [State::Queued]);
    assert!(store.show(leased_id).await.unwrap().is_some());
    assert!(
        store.show(done_id).await.unwrap().is_none(),
        "a result that was confirmed stays"
    );
    assert_counted(&store).await;
    // A lease ends, at the latest when it said it would.
    let claims = claim_all(&store, in_seconds(Timestamp::now(), 3601)).await;
    assert_eq!(claims.len(), 2);
    assert!(
        claims
            .iter()
            .all(|claim| claim.recipients[0].recipient.attempts == 0)
    );
}

async fn an_unreadable_recipient_is_set_aside(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let new = message(0, &["good@x.example", "bad@x.example"]);
    let id = insert(&store, new).await;
    insert(&store, message(1, &["other@x.example"])).await;
    let key = show(&store, id).await.message.key;
    subject.spoil_address(&store, key, 1).await;
    let claims = claim_all(&store, at(10)).await;
    let claimed: Vec<_> = claims.iter().flat_map(|claim| &claim.recipients).collect();
    assert_eq!(claimed.len(), 2, "the others are not affected");
    assert_eq!(states(&store, id).await, [State::Leased, State::Quarantined]);
    assert_counted(&store).await;
    assert!(
        claim_all(&store, at(1000))
            .await
            .iter()
            .all(|claim| claim.recipients.len() == 1)
    );
    let attempt = attempts(&claims[0])[0];
    let again = Attempt {
        epoch: attempt.epoch + 1,
        ..attempt
    };
    assert!(
        finish(&store, again, Outcome::Delivered).await.removed.is_empty(),
        "it is kept"
    );
    let listed = store
        .list(crate::store::Filter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(listed[0].recipients.len(), 1, "an operator sees it");
}

async fn missing_content_is_set_aside(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@x.example"])).await;
    let claim = claim_all(&store, at(1)).await.remove(0);
    subject.spoil_content(&store, claim.message.key).await;
    assert!(matches!(
        store.body(&claim.message).await,
        Err(crate::StoreError::Damaged(_))
    ));
    assert_eq!(states(&store, id).await, [State::Quarantined; 2]);
    let finished = finish(&store, attempts(&claim)[0], Outcome::Delivered).await;
    assert_eq!(finished.fenced.len(), 1);
    assert!(claim_all(&store, at(1000)).await.is_empty());
    assert_counted(&store).await;
    assert_eq!(store.delete(by_id(id)).await.unwrap(), 1);
    assert_counted(&store).await;
}

async fn a_closed_store_says_so(subject: &dyn Subject) {
    let store = subject.fresh().await;
    store.close().await.unwrap();
    let insert = store.insert(message(0, &["a@x.example"]), Beginning::Due).await;
    assert!(matches!(insert, Err(crate::StoreError::Closed)));
    assert!(matches!(store.stats().await, Err(crate::StoreError::Closed)));
    assert!(matches!(store.close().await, Err(crate::StoreError::Closed)));
}
