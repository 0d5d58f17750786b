//! Two who each wait for what the other has: the database breaks one of them off, which does it again.

use super::cluster::Cluster;
use crate::QueueId;
use crate::conformance::message;
use crate::message::{Attempt, Beginning, Outcome, RecipientResult};
use crate::outbox::{NewCall, Outbox};
use crate::store::{Store, Term};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

/// What the store has in hand.
const TERM: Duration = Duration::from_secs(60);

/// Asks a store for something for which it waits until it is broken off: `row` is had by somebody, who then waits for `table`, of which the store has
/// something. Gives what comes of it in the end.
async fn broken_off<T>(
    [somebody, looker]: [&Client; 2],
    [row, table]: [&str; 2],
    asked: impl Future<Output = T>,
) -> T {
    // Whoever looks first for a deadlock that he is in is broken off: others do after a second.
    let begin = format!("SET deadlock_timeout = '60s'; BEGIN; {row}");
    somebody.batch_execute(&begin).await.unwrap();
    let others = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        while looker.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        // Had while the row still is: so it was the store that gave way.
        let take = format!("LOCK TABLE {table}");
        somebody.batch_execute(&take).await.unwrap();
        somebody.batch_execute("COMMIT").await.unwrap();
    };
    let both = async { tokio::join!(asked, others).0 };
    timeout(Duration::from_secs(30), both).await.expect("an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gave_way_is_done_again() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let (somebody, looker) = (cluster.client_of(&store).await, cluster.client_of(&store).await);
    let others = [&somebody, &looker];
    let leased = Beginning::Leased(Term::of(TERM));
    let claim = store
        .insert(message(0, &["a@x.example"]), leased)
        .await
        .unwrap()
        .unwrap();
    let attempt = Attempt {
        message: claim.message.key,
        recipient: 0,
        epoch: claim.recipients[0].epoch,
    };
    // Statements that nobody else does again.
    let renewed = store.renew(vec![attempt], Term::of(TERM));
    let renewed = broken_off(
        others,
        ["SELECT FROM recipients FOR UPDATE", "recipients"],
        renewed,
    )
    .await;
    assert!(renewed.unwrap().is_empty(), "no lease is lost");
    // A transaction of several, by a lane.
    let call = NewCall {
        webhook: "told".into(),
        event: QueueId::generate(),
        body: "{}".into(),
    };
    let result = RecipientResult {
        attempt,
        outcome: Outcome::Delivered,
        text: String::new(),
        calls: vec![call],
    };
    let finished = store.finish(vec![result], Vec::new());
    let finished = broken_off(others, ["SELECT FROM messages FOR UPDATE", "lanes"], finished)
        .await
        .unwrap();
    assert_eq!((finished.removed.len(), finished.fenced.len()), (1, 0));
    let waiting = store.calls_waiting().await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.calls).collect::<Vec<_>>(), [1]);
}
