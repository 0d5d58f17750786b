//! What an operator does: list, retry, delete, release.

use super::*;

pub(super) async fn run(subject: &dyn Subject) {
    listings_have_pages(subject).await;
    filters_choose(subject).await;
    retry_makes_due(subject).await;
    delete_fences_who_holds_it(subject).await;
    large_deletions_are_complete(subject).await;
    what_was_mended_is_released(subject).await;
    what_is_still_damaged_stays(subject).await;
}

async fn listings_have_pages(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let mut expected = Vec::new();
    for _ in 0..25 {
        expected.push(insert(&store, message(0, &["a@x.example"])).await);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(Filter::default(), after, 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.message.id);
        seen.extend(page.iter().map(|line| line.message.id));
    }
    assert_eq!(seen, expected);
    let many: Vec<String> = (0..150).map(|number| format!("r{number}@x.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let id = insert(&store, message(0, &many)).await;
    let page = store.list(by_id(id), None, 10).await.unwrap();
    assert_eq!((page.len(), page[0].recipients.len()), (1, 100));
    assert_eq!(show(&store, id).await.recipients.len(), 150);
}

async fn filters_choose(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let plain = insert(&store, message(0, &["a@one.example", "b@two.example"])).await;
    let mut new = message(0, &["a@two.example"]);
    new.sender = None;
    let bounce = insert(&store, new).await;
    let claims = claim_all(&store, at(1)).await;
    let claim = claims.iter().find(|claim| claim.message.id == plain).unwrap();
    finish(&store, attempts(claim)[0], deferred(at(500))).await;
    let check = async |filter: Filter, expected: &[QueueId]| {
        let found = store.list(filter.clone(), None, 10).await.unwrap();
        let found: Vec<QueueId> = found.iter().map(|line| line.message.id).collect();
        assert_eq!(found, expected, "{filter:?}");
    };
    let domain = |domain: &str| Filter {
        domain: Some(domain.to_owned()),
        ..Filter::default()
    };
    let sender = |sender: &str| Filter {
        sender: Some(sender.to_owned()),
        ..Filter::default()
    };
    check(domain("TWO.example"), &[plain, bounce]).await;
    check(domain("one.example"), &[plain]).await;
    check(domain("x' OR '1'='1"), &[]).await;
    check(domain("%"), &[]).await;
    check(sender(""), &[bounce]).await;
    check(sender("sender@from.example"), &[plain]).await;
    check(sender("?"), &[]).await;
    check(
        Filter {
            state: Some(State::Deferred),
            ..domain("one.example")
        },
        &[plain],
    )
    .await;
    check(
        Filter {
            state: Some(State::Deferred),
            ..domain("two.example")
        },
        &[],
    )
    .await;
    check(
        Filter {
            state: Some(State::Leased),
            ..Filter::default()
        },
        &[plain, bounce],
    )
    .await;
    check(
        Filter {
            ids: vec![bounce, QueueId::generate()],
            ..Filter::default()
        },
        &[bounce],
    )
    .await;
    check(
        Filter {
            ids: vec![bounce],
            ..sender("sender@from.example")
        },
        &[],
    )
    .await;
}

async fn retry_makes_due(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@x.example"])).await;
    let other = insert(&store, message(0, &["c@x.example"])).await;
    for claim in claim_all(&store, at(1)).await {
        finish(&store, attempts(&claim)[0], deferred(at(3600))).await;
    }
    let filter = by_id(id);
    assert_eq!(store.retry(filter, at(10)).await.unwrap(), 1);
    assert_eq!(
        states(&store, id).await,
        [State::Queued, State::Leased],
        "a lease is not touched"
    );
    let claims = claim_all(&store, at(10)).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(
        claims[0].recipients[0].recipient.attempts, 1,
        "what it was through stays known"
    );
    assert_eq!(states(&store, other).await, [State::Deferred]);
    assert_eq!(store.retry(Filter::default(), at(10)).await.unwrap(), 1);
    assert_counted(&store).await;
}

async fn delete_fences_who_holds_it(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@x.example"])).await;
    let kept = insert(&store, message(0, &["a@x.example"])).await;
    let claims = claim_all(&store, at(1)).await;
    let claim = claims.iter().find(|claim| claim.message.id == id).unwrap();
    assert_eq!(store.delete(by_id(id)).await.unwrap(), 1);
    assert_eq!(store.delete(by_id(id)).await.unwrap(), 0);
    assert!(store.show(id).await.unwrap().is_none());
    let attempt = attempts(claim)[0];
    assert_eq!(
        finish(&store, attempt, Outcome::Delivered).await.fenced,
        [attempt]
    );
    assert_eq!(states(&store, kept).await, [State::Leased]);
    assert_counted(&store).await;
}

async fn large_deletions_are_complete(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let inserts: Vec<_> = (0..1100)
        .map(|number| {
            let store = Arc::clone(&store);
            let to = if number % 11 == 0 {
                "a@keep.example"
            } else {
                "a@drop.example"
            };
            tokio::spawn(async move { store.insert(message(0, &[to]), Beginning::Due).await })
        })
        .collect();
    for insert in inserts {
        insert.await.unwrap().unwrap();
    }
    let filter = Filter {
        domain: Some("drop.example".to_owned()),
        ..Filter::default()
    };
    assert_eq!(store.delete(filter).await.unwrap(), 1000);
    assert_eq!(store.stats().await.unwrap().messages, 100);
    assert_eq!(store.delete(Filter::default()).await.unwrap(), 100);
    assert_counted(&store).await;
}

async fn what_was_mended_is_released(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@y.example"])).await;
    let other = insert(&store, message(0, &["c@x.example"])).await;
    let claims = claim_all(&store, at(1)).await;
    let claim = claims.iter().find(|claim| claim.message.id == id).unwrap();
    subject.spoil_content(&store, claim.message.key).await;
    assert!(store.body(&claim.message).await.is_err());
    let released = store.release(Filter::default(), at(9)).await.unwrap();
    assert_eq!((released.messages, released.still), (0, 1));
    assert_eq!(released.unreadable[0].id, id.to_string());
    assert_eq!(states(&store, id).await, [State::Quarantined; 2]);
    let content = b"Subject: test\r\n\r\nHello\r\n";
    subject.mend_content(&store, claim.message.key, content).await;
    let nobody = Filter {
        domain: Some("z.example".to_owned()),
        ..Filter::default()
    };
    assert_eq!(store.release(nobody, at(9)).await.unwrap().messages, 0);
    let released = store.release(Filter::default(), at(9)).await.unwrap();
    assert_eq!((released.messages, released.still), (1, 0));
    assert_eq!(states(&store, id).await, [State::Queued; 2]);
    assert_eq!(
        states(&store, other).await,
        [State::Leased],
        "a lease is not touched"
    );
    assert_counted(&store).await;
    let late = finish(&store, attempts(claim)[0], Outcome::Delivered).await;
    assert_eq!(late.fenced.len(), 1, "who held it then does not hold it now");
    assert!(claim_all(&store, at(8)).await.is_empty());
    let claim = claim_all(&store, at(9)).await.remove(0);
    assert_eq!((claim.message.id, claim.recipients.len()), (id, 2));
    assert!(store.body(&claim.message).await.is_ok());
}

async fn what_is_still_damaged_stays(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let id = insert(&store, message(0, &["a@x.example", "b@x.example"])).await;
    let key = show(&store, id).await.message.key;
    subject.spoil_address(&store, key, 0).await;
    let claim = claim_all(&store, at(1)).await.remove(0);
    finish(&store, attempts(&claim)[0], deferred(at(500))).await;
    let released = store.release(Filter::default(), at(9)).await.unwrap();
    assert_eq!((released.messages, released.still), (0, 1));
    assert!(
        released.unreadable[0].reason.contains("recipient 0"),
        "{released:?}"
    );
    assert_eq!(
        states(&store, id).await,
        [State::Quarantined, State::Deferred],
        "and the others are left alone"
    );
    assert_counted(&store).await;
}
