//! What another session is just changing results wait for, and then they are written to what there is.

use super::cluster::Cluster;
use crate::conformance::{delivered, due_now, ended, message};
use crate::message::{Beginning, Outcome};
use crate::store::{Filter, Store};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// A lease is renewed while the results of all that it is of are written: of one recipient who is done, and of one who is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_written_to_leases_that_are_just_renewed() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    for number in 0..2 {
        let new = message(number, &["a@x.example"]);
        store.insert(new, Beginning::Due).await.unwrap();
    }
    let claims = store.claim(due_now(2)).await.unwrap();
    let later = Outcome::Deferred {
        due: Timestamp::now(),
        delay_notified: false,
    };
    let results = vec![delivered(&claims[0]), ended(&claims[1], later)];
    let (renewing, looking) = (cluster.client_of(&store).await, cluster.client_of(&store).await);
    let renew = "BEGIN; UPDATE recipients SET due = due + 1";
    renewing.batch_execute(renew).await.unwrap();
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.finish(results, Vec::new()).await }
    });
    let waits = async {
        while looking.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), waits).await.expect("it waits");
    renewing.batch_execute("COMMIT").await.unwrap();
    let finished = writing.await.unwrap().unwrap();
    assert!(finished.fenced.is_empty(), "{finished:?}");
    assert_eq!(finished.removed, [claims[0].message.id]);
    let left = store.list(Filter::default(), None, 9).await.unwrap();
    assert_eq!(
        left.iter().map(|one| one.message.id).collect::<Vec<_>>(),
        [claims[1].message.id]
    );
}
