//! What only many servers can break: one queue, several processes.

use super::*;
use std::collections::HashSet;
use tokio::task::JoinSet;

/// Makes queues that two servers share.
#[async_trait]
pub trait SharedSubject: Send + Sync {
    /// Two servers of one empty queue.
    async fn pair(&self) -> [Arc<dyn Store>; 2];
    /// This server's process died, and so long ago that the other knows; it has looked after what was left.
    async fn bury(&self, dead: Arc<dyn Store>, other: &Arc<dyn Store>);
}

/// Runs every case; panics with what was not kept.
pub async fn run_shared(subject: &dyn SharedSubject) {
    nothing_is_claimed_twice(subject).await;
    the_last_recipient_takes_the_message_with_it(subject).await;
    who_lost_a_lease_to_another_changes_nothing(subject).await;
    the_dead_hold_nothing_and_the_living_keep_theirs(subject).await;
    what_one_suspends_the_other_knows(subject).await;
}

async fn nothing_is_claimed_twice(subject: &dyn SharedSubject) {
    let stores = subject.pair().await;
    for number in 0..200 {
        insert(&stores[number % 2], message(0, &["a@x.example", "b@y.example"])).await;
    }
    let mut claiming = JoinSet::new();
    for number in 0..8 {
        let store = stores[number % 2].clone();
        claiming.spawn(async move {
            let mut held = Vec::new();
            loop {
                let claims = store.claim(request(at(1), 7)).await.unwrap();
                if claims.is_empty() {
                    return held;
                }
                held.extend(claims.iter().flat_map(attempts));
            }
        });
    }
    let held = claiming.join_all().await.concat();
    let distinct: HashSet<(i64, u32)> = held.iter().map(|one| (one.message, one.recipient)).collect();
    assert!(held.iter().all(|attempt| attempt.epoch == 1));
    // Whoever finds all that is left locked by others goes without; nothing of it is lost.
    let left: usize = claim_all(&stores[0], at(1))
        .await
        .iter()
        .map(|claim| claim.recipients.len())
        .sum();
    assert_eq!((distinct.len(), held.len() + left), (held.len(), 400));
}

async fn the_last_recipient_takes_the_message_with_it(subject: &dyn SharedSubject) {
    let stores = subject.pair().await;
    for _ in 0..50 {
        let id = insert(&stores[0], message(0, &["a@x.example", "b@y.example"])).await;
        let mut held = Vec::new();
        for store in &stores {
            let claims = store.claim(request(at(1), 1)).await.unwrap();
            held.push(attempts(&claims[0])[0]);
        }
        let (one, other) = tokio::join!(
            finish(&stores[0], held[0], Outcome::Delivered),
            finish(&stores[1], held[1], Outcome::Bounced)
        );
        assert_eq!([one.removed, other.removed].concat(), [id], "by one of them");
    }
    assert_eq!(stores[0].stats().await.unwrap().messages, 0);
}

async fn who_lost_a_lease_to_another_changes_nothing(subject: &dyn SharedSubject) {
    let [one, other] = subject.pair().await;
    let id = insert(&one, message(0, &["a@x.example"])).await;
    let lost = attempts(&claim_all(&one, at(0)).await[0])[0];
    assert!(claim_all(&other, at(59)).await.is_empty());
    let held = attempts(&claim_all(&other, at(60)).await[0])[0];
    assert_eq!(one.renew(vec![lost], until(at(500))).await.unwrap(), [lost]);
    assert_eq!(finish(&one, lost, Outcome::Delivered).await.fenced, [lost]);
    assert_eq!(states(&one, id).await, [State::Leased]);
    assert_eq!(finish(&other, held, Outcome::Delivered).await.removed, [id]);
}

async fn the_dead_hold_nothing_and_the_living_keep_theirs(subject: &dyn SharedSubject) {
    let [dead, living] = subject.pair().await;
    let (left, kept) = (
        insert(&dead, message(0, &["a@x.example"])).await,
        insert(&dead, message(1, &["b@x.example"])).await,
    );
    assert_eq!(dead.claim(request(at(0), 1)).await.unwrap().len(), 1);
    assert_eq!(living.claim(request(at(1), 1)).await.unwrap().len(), 1);
    subject.bury(dead, &living).await;
    assert_eq!(states(&living, left).await, [State::Queued]);
    assert_eq!(states(&living, kept).await, [State::Leased]);
    let claims = claim_all(&living, Timestamp::now()).await;
    assert!(claims.iter().any(|claim| claim.message.id == left));
}

async fn what_one_suspends_the_other_knows(subject: &dyn SharedSubject) {
    let [one, other] = subject.pair().await;
    let suspension = crate::operator::Suspension {
        kind: crate::operator::SuspensionKind::Domain,
        name: "x.example".into(),
        reason: String::new(),
        who: "admin".into(),
        since: at(0),
        until: None,
    };
    assert!(one.suspend(suspension.clone()).await.unwrap());
    assert_eq!(other.suspensions().await.unwrap(), [suspension]);
    let id = insert(&one, message(0, &["a@x.example"])).await;
    let filter = by_id(id);
    assert_eq!(other.hold(filter.clone()).await.unwrap(), 1);
    assert!(claim_all(&one, at(1)).await.is_empty());
    assert_eq!(other.delete(filter).await.unwrap(), 1);
    assert!(one.show(id).await.unwrap().is_none());
}
