//! Statements that nobody waits for any more.

use super::cluster::Cluster;
use crate::store::{Filter, Store};
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_waits_for_no_lock() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let (client, holder) = (cluster.client_of(&store).await, cluster.client_of(&store).await);
    let hold = "BEGIN; LOCK TABLE messages";
    holder.batch_execute(hold).await.unwrap();
    let waiting = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    for _ in 0..10 {
        let asked = store.list(Filter::default(), None, 1);
        assert!(timeout(Duration::from_millis(100), asked).await.is_err());
    }
    // One that was asked just now may be on its way.
    let none = async {
        while waiting().await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), none)
        .await
        .expect("none waits any more");
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(store.list(Filter::default(), None, 1).await.unwrap().is_empty());
}
