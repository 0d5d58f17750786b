//! What is due is counted cheaply.

use super::cluster::Cluster;
use crate::postgres::due::COUNT;
use crate::store::Store;

/// Recipients that are due, so many, and one that is not.
fn waiting(due: u32) -> String {
    format!(
        "INSERT INTO recipients (message, idx, address, domain, state, attempts, due, epoch, delay_notified, parked)
         SELECT g, 0, 'a@x.example', 'x.example', g % 2 * 2, 1, CASE WHEN g = 0 THEN 9000000000000 ELSE g END, 1, false, false
         FROM generate_series(0, {due}) AS g"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_that_are_due_are_counted_each_time_and_many_are_not() {
    let cluster = Cluster::start().await;
    for (due, then) in [(4_999, 0), (5_000, 5_000), (60_000, 50_000)] {
        let store = cluster.new_store().await;
        let client = cluster.client_of(&store).await;
        client.batch_execute(&waiting(due)).await.unwrap();
        assert_eq!(store.stats().await.unwrap().due, u64::from(due.min(50_000)));
        client.batch_execute("DELETE FROM recipients").await.unwrap();
        assert_eq!(store.stats().await.unwrap().due, then, "of {due}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_ends_where_enough_is_known_whatever_the_planner_believes() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    client
        .batch_execute("ALTER TABLE recipients SET (autovacuum_enabled = false)")
        .await
        .unwrap();
    let planned = async || {
        let sql = COUNT.replace("$1", "1900000000000").replace("$2", "50000");
        let rows = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        lines.join("\n")
    };
    let ends =
        |plan: &str| plan.contains("Index Only Scan using recipients_unclaimed") && !plan.contains("Sort");
    client.batch_execute(&waiting(200_000)).await.unwrap();
    let unknown = planned().await;
    client.batch_execute("VACUUM ANALYZE recipients").await.unwrap();
    let known = planned().await;
    assert!(ends(&unknown) && ends(&known), "{unknown}\n{known}");
}
