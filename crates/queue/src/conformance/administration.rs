//! What an administrator looks at and works with: the queue's shape, work in portions, tokens.

use super::*;
use crate::operator::{Ages, ApiToken, ShapeBy, TokenAdded};
use crate::store::StoreError;

pub(super) async fn run(subject: &dyn Subject) {
    much_is_done_in_portions(subject).await;
    senders_are_meant_by_their_domain(subject).await;
    the_shape_is_by_domain_and_age(subject).await;
    tokens_are_kept_and_forgotten(subject).await;
    tokens_are_bounded(subject).await;
    a_store_says_whether_it_can_be_written(subject).await;
}

async fn a_store_says_whether_it_can_be_written(subject: &dyn Subject) {
    let store = subject.fresh().await;
    insert(&store, message(1, &["a@x.example"])).await;
    let before = store.stats().await.unwrap();
    store.writable().await.unwrap();
    assert_eq!(store.stats().await.unwrap().messages, before.messages);
    store.close().await.unwrap();
    assert!(matches!(store.writable().await, Err(StoreError::Closed)));
}

async fn much_is_done_in_portions(subject: &dyn Subject) {
    let store = subject.fresh().await;
    for number in 0..7 {
        let to = if number == 3 { "a@y.example" } else { "a@x.example" };
        insert(&store, message(number, &[to])).await;
    }
    let mut filter = Filter {
        domain: Some("x.example".into()),
        ..Filter::default()
    };
    let mut portions = Vec::new();
    while let Some(last) = store.portion(filter.clone(), 4).await.unwrap() {
        filter.up_to = Some(last);
        portions.push(store.retry(filter.clone(), at(10)).await.unwrap());
        (filter.behind, filter.up_to) = (Some(last), None);
    }
    assert_eq!(portions, [4, 2]);
}

async fn senders_are_meant_by_their_domain(subject: &dyn Subject) {
    let store = subject.fresh().await;
    for sender in [
        Some("ann@X.example"),
        Some("bob@x.example"),
        Some("ann@sub.x.example"),
        Some("ann@ax.example"),
        None,
    ] {
        let mut new = message(0, &["a@y.example"]);
        new.sender = sender.map(address);
        insert(&store, new).await;
    }
    for (sender, expected) in [
        ("@x.example", 2),
        ("@X.Example", 2),
        ("@example", 0),
        ("ANN@x.example", 1),
        ("", 1),
    ] {
        let filter = Filter {
            sender: Some(sender.into()),
            ..Filter::default()
        };
        let found = store.count(filter, State::ALL.to_vec()).await.unwrap();
        assert_eq!(found, expected, "{sender:?}");
    }
}

async fn the_shape_is_by_domain_and_age(subject: &dyn Subject) {
    let store = subject.fresh().await;
    assert_eq!(
        store
            .shape(Filter::default(), ShapeBy::Recipient, at(0))
            .await
            .unwrap(),
        crate::operator::Shape::default()
    );
    insert(&store, message(0, &["a@x.example", "b@y.example"])).await;
    insert(&store, message(80_000, &["a@y.example"])).await;
    let mut new = message(80_000, &["b@y.example"]);
    new.sender = None;
    insert(&store, new).await;
    // Done recipients are not in the queue.
    let claim = claim_all(&store, at(80_000)).await.remove(0);
    finish(&store, attempts(&claim)[0], Outcome::Delivered).await;
    let ages = |counts: &[(usize, u64)]| {
        let mut ages = Ages::default();
        for (place, count) in counts {
            ages[*place] = *count;
        }
        ages
    };
    // The first is 1,338 minutes old, the others 5.
    let shape = |filter, by| store.shape(filter, by, at(80_300));
    let all = shape(Filter::default(), ShapeBy::Recipient).await.unwrap();
    assert_eq!(all.total, ages(&[(1, 2), (9, 1)]));
    assert_eq!(all.domains, [("y.example".to_owned(), ages(&[(1, 2), (9, 1)]))]);
    let by_sender = shape(Filter::default(), ShapeBy::Sender).await.unwrap();
    assert_eq!(
        by_sender.domains,
        [
            ("from.example".to_owned(), ages(&[(1, 1), (9, 1)])),
            (String::new(), ages(&[(1, 1)]))
        ]
    );
    let filter = Filter {
        recipient: Some("b@y.example".into()),
        received_before: Some(at(1)),
        ..Filter::default()
    };
    let some = shape(filter, ShapeBy::Recipient).await.unwrap();
    assert_eq!(some.total, ages(&[(9, 1)]));
}

fn token(name: &str, number: u16) -> ApiToken {
    let mut hash = [7; 32];
    hash[..2].copy_from_slice(&number.to_be_bytes());
    ApiToken {
        name: name.to_owned(),
        hash,
        scope: "operate".into(),
        created: at(1),
        created_by: "admin".into(),
        expires: Some(at(number.into())),
    }
}

async fn tokens_are_kept_and_forgotten(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let (one, other) = (
        token("ci", 1),
        ApiToken {
            expires: None,
            ..token("backup", 2)
        },
    );
    for new in [&one, &other] {
        assert_eq!(store.add_token(new.clone()).await.unwrap(), TokenAdded::Added);
    }
    assert_eq!(store.add_token(token("ci", 3)).await.unwrap(), TokenAdded::Exists);
    let store = subject.crash(store).await;
    assert_eq!(store.tokens().await.unwrap(), [other.clone(), one]);
    assert!(store.remove_token("ci".into()).await.unwrap());
    assert!(!store.remove_token("ci".into()).await.unwrap());
    assert_eq!(store.tokens().await.unwrap(), [other]);
}

async fn tokens_are_bounded(subject: &dyn Subject) {
    let store = subject.fresh().await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..1001 {
        let store = store.clone();
        all.spawn(async move { store.add_token(token(&format!("t{number}"), number)).await });
    }
    let answers = all.join_all().await;
    let refused = answers
        .into_iter()
        .filter(|answer| *answer.as_ref().unwrap() == TokenAdded::TooMany);
    assert_eq!(refused.count(), 1);
}
