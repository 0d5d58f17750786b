//! What webhooks are told: stored with their events, claimed by one, never forgotten before they were taken.

use super::*;
use crate::outbox::{Call, CallOutcome, CallResult, MOST_CALLS, NewCall, Outbox};

/// Makes stores with an outbox for the suite.
#[async_trait]
pub trait OutboxSubject: Send + Sync {
    /// An empty store, apart from all others.
    async fn fresh(&self) -> Arc<dyn Outbox>;
    /// The same store again, after its process died without closing it.
    async fn crash(&self, store: Arc<dyn Outbox>) -> Arc<dyn Outbox>;
}

/// Runs every case; panics with what was not kept.
pub async fn run_outbox(subject: &dyn OutboxSubject) {
    calls_come_with_results(subject).await;
    calls_come_with_mail_that_is_deferred(subject).await;
    each_is_claimed_by_one(subject).await;
    claims_end(subject).await;
    what_waits_is_made_due(subject).await;
    what_is_added_twice_is_there_once(subject).await;
    a_crash_forgets_nothing(subject).await;
    old_calls_expire(subject).await;
    one_webhook_holds_so_many(subject).await;
}

fn new_call(webhook: &str, body: &str) -> NewCall {
    NewCall {
        webhook: webhook.to_owned(),
        event: QueueId::generate(),
        body: body.to_owned(),
    }
}

async fn claim(store: &Arc<dyn Outbox>, webhook: &str, now: Timestamp, limit: usize) -> Vec<Call> {
    let lease = Duration::from_secs(60);
    store
        .claim_calls(webhook.to_owned(), now, lease, limit)
        .await
        .unwrap()
}

fn bodies(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.body.as_str()).collect()
}

fn ended(call: &Call, outcome: CallOutcome) -> CallResult {
    CallResult {
        key: call.key,
        tries: call.tries,
        outcome,
    }
}

async fn waiting(store: &Arc<dyn Outbox>) -> Vec<(String, u64)> {
    let all = store.calls_waiting().await.unwrap();
    all.into_iter().map(|one| (one.webhook, one.calls)).collect()
}

/// Stores a message and finishes it with these calls.
async fn tell(store: &Arc<dyn Outbox>, calls: Vec<NewCall>) {
    store
        .insert(message(0, &["a@x.example"]), Beginning::Due)
        .await
        .unwrap();
    let claims = store.claim(request(at(10), 1)).await.unwrap();
    let result = RecipientResult {
        calls,
        ..delivered(&claims[0])
    };
    let finished = store.finish(vec![result], Vec::new()).await.unwrap();
    assert_eq!(finished.removed.len(), 1);
}

/// A moment after everything was stored.
fn soon() -> Timestamp {
    in_seconds(Timestamp::now(), 1)
}

async fn calls_come_with_results(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    store
        .insert(message(0, &["a@x.example", "b@x.example"]), Beginning::Due)
        .await
        .unwrap();
    let claims = store.claim(request(at(10), 9)).await.unwrap();
    let late = attempts(&claims[0])[1];
    // The second recipient is claimed again: the first holder's result comes too late, and is told to nobody.
    let renewed = store
        .renew(vec![attempts(&claims[0])[0]], until(at(1000)))
        .await
        .unwrap();
    assert!(renewed.is_empty());
    assert_eq!(store.claim(request(at(200), 9)).await.unwrap().len(), 1);
    let bounced = |attempt, body: &str| RecipientResult {
        calls: vec![new_call("one", body), new_call("two", body)],
        ..result(attempt, Outcome::Bounced)
    };
    let results = vec![bounced(attempts(&claims[0])[0], "first"), bounced(late, "late")];
    let finished = store.finish(results, Vec::new()).await.unwrap();
    assert_eq!(finished.fenced, [late]);
    assert_eq!(waiting(&store).await, [("one".into(), 1), ("two".into(), 1)]);
    let calls = claim(&store, "one", soon(), 9).await;
    assert_eq!((bodies(&calls), calls[0].tries), (vec!["first"], 1));
    assert!(claim(&store, "three", soon(), 9).await.is_empty());
}

async fn calls_come_with_mail_that_is_deferred(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    let deferral = Deferral {
        due: at(500),
        text: "later".to_owned(),
        status: smtp::Enhanced(4, 4, 1),
        calls: vec![new_call("one", "deferred")],
    };
    let new = message(0, &["a@x.example"]);
    store
        .insert(new, Beginning::Deferred(vec![deferral]))
        .await
        .unwrap();
    assert_eq!(bodies(&claim(&store, "one", soon(), 9).await), ["deferred"]);
}

async fn each_is_claimed_by_one(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    let calls = (0..5)
        .map(|number| new_call("one", &number.to_string()))
        .collect();
    tell(&store, calls).await;
    let now = soon();
    let first = claim(&store, "one", now, 3).await;
    let second = claim(&store, "one", now, 3).await;
    assert_eq!(
        (bodies(&first), bodies(&second)),
        (vec!["0", "1", "2"], vec!["3", "4"])
    );
    assert!(claim(&store, "one", now, 3).await.is_empty());
    let results = vec![
        ended(&first[0], CallOutcome::Done),
        ended(&first[1], CallOutcome::Again(in_seconds(now, 5))),
        ended(&first[2], CallOutcome::Released(now)),
    ];
    store.finish_calls(results).await.unwrap();
    assert_eq!(waiting(&store).await, [("one".into(), 4)]);
    assert_eq!(
        store.next_call("one".into()).await.unwrap().map(whole),
        Some(whole(now))
    );
    let again = claim(&store, "one", now, 3).await;
    assert_eq!(
        (bodies(&again), again[0].tries),
        (vec!["2"], 1),
        "a try not made is not counted"
    );
    let again = claim(&store, "one", in_seconds(now, 5), 3).await;
    assert_eq!(
        (bodies(&again), again[0].tries, again[0].event),
        (vec!["1"], 2, first[1].event)
    );
}

/// As a store keeps it.
fn whole(moment: Timestamp) -> i64 {
    moment.as_millisecond()
}

async fn what_waits_is_made_due(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    tell(
        &store,
        (0..600)
            .map(|_| new_call("one", "x"))
            .chain([new_call("two", "x")])
            .collect(),
    )
    .await;
    let now = soon();
    let later = in_seconds(now, 500);
    let calls = claim(&store, "one", now, 599).await;
    let results = calls.iter().map(|call| ended(call, CallOutcome::Again(later)));
    store.finish_calls(results.collect()).await.unwrap();
    assert_eq!(claim(&store, "one", now, 1).await.len(), 1);
    let again = in_seconds(now, 1);
    assert_eq!(
        store.retry_calls("one".into(), again).await.unwrap(),
        599,
        "the claimed one is not touched"
    );
    assert_eq!(claim(&store, "one", again, 1000).await.len(), 599);
    assert_eq!(store.retry_calls("none".into(), again).await.unwrap(), 0);
}

async fn claims_end(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    tell(&store, vec![new_call("one", "x")]).await;
    let now = soon();
    let first = claim(&store, "one", now, 3).await;
    let second = claim(&store, "one", in_seconds(now, 61), 3).await;
    assert_eq!((second[0].key, second[0].tries), (first[0].key, 2));
    // Whoever had it before changes nothing any more.
    for outcome in [
        CallOutcome::Done,
        CallOutcome::Again(now),
        CallOutcome::Released(now),
    ] {
        store.finish_calls(vec![ended(&first[0], outcome)]).await.unwrap();
    }
    assert_eq!(waiting(&store).await, [("one".into(), 1)]);
    assert!(claim(&store, "one", in_seconds(now, 62), 3).await.is_empty());
    store
        .finish_calls(vec![ended(&second[0], CallOutcome::Done)])
        .await
        .unwrap();
    assert_eq!(waiting(&store).await, []);
    assert_eq!(store.next_call("one".into()).await.unwrap(), None);
}

/// As a move does that was killed between two stores.
async fn what_is_added_twice_is_there_once(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    let calls = ["first", "second"].map(|body| new_call("one", body));
    let others = NewCall {
        webhook: "two".to_owned(),
        ..calls[0].clone()
    };
    store.add_calls(vec![calls[0].clone(), others]).await.unwrap();
    assert_eq!(claim(&store, "one", soon(), 9).await.len(), 1);
    store.add_calls(calls.to_vec()).await.unwrap();
    assert_eq!(waiting(&store).await, [("one".into(), 2), ("two".into(), 1)]);
    assert_eq!(bodies(&claim(&store, "one", soon(), 9).await), ["second"]);
}

async fn a_crash_forgets_nothing(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    tell(
        &store,
        vec![
            new_call("one", "taken"),
            new_call("one", "claimed"),
            new_call("one", "waits"),
        ],
    )
    .await;
    let calls = claim(&store, "one", soon(), 2).await;
    store
        .finish_calls(vec![ended(&calls[0], CallOutcome::Done)])
        .await
        .unwrap();
    let store = subject.crash(store).await;
    assert_eq!(waiting(&store).await, [("one".into(), 2)]);
    let again = claim(&store, "one", soon(), 9).await;
    assert_eq!(
        bodies(&again),
        ["claimed", "waits"],
        "nobody holds a dead process' claims"
    );
    assert_eq!(again[0].event, calls[1].event);
}

async fn old_calls_expire(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    tell(
        &store,
        vec![new_call("gone", "x"), new_call("one", "y"), new_call("one", "z")],
    )
    .await;
    let before = in_seconds(Timestamp::now(), -60);
    assert_eq!(store.expire_calls(before).await.unwrap(), []);
    let expired = store.expire_calls(soon()).await.unwrap();
    assert_eq!(expired, [("gone".into(), 1), ("one".into(), 2)]);
    assert_eq!(waiting(&store).await, []);
}

async fn one_webhook_holds_so_many(subject: &dyn OutboxSubject) {
    let store = subject.fresh().await;
    let many = |count: u64| (0..count).map(|_| new_call("slow", "x")).collect::<Vec<_>>();
    tell(&store, many(MOST_CALLS - 1)).await;
    let mut more = many(2);
    more.push(new_call("other", "x"));
    tell(&store, more).await;
    assert_eq!(
        waiting(&store).await,
        [("other".into(), 1), ("slow".into(), MOST_CALLS)]
    );
    let calls = claim(&store, "slow", soon(), 1).await;
    store
        .finish_calls(vec![ended(&calls[0], CallOutcome::Done)])
        .await
        .unwrap();
    tell(&store, many(1)).await;
    store
        .add_calls(vec![new_call("slow", "x"), new_call("other", "x")])
        .await
        .unwrap();
    assert_eq!(
        waiting(&store).await,
        [("other".into(), 2), ("slow".into(), MOST_CALLS)]
    );
}
