//! The same promises on the oldest and on the newest PostgreSQL.

use super::cluster::Cluster;
use crate::conformance::directory::run_shelf;
use crate::conformance::outbox::run_outbox;
use crate::conformance::run_all;
use crate::conformance::shared::run_shared;
use real_postgres::Version;

/// Everything, on a version that calls itself so.
async fn keeps_every_promise(version: Version, number: &str) {
    let cluster = Cluster::of(version).await;
    let client = cluster.client("postgres").await;
    let row = client.query_one("SHOW server_version", &[]).await.unwrap();
    assert!(row.get::<_, &str>(0).starts_with(number));
    run_all(&cluster).await;
    run_shared(&cluster).await;
    run_outbox(&cluster).await;
    run_shelf(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_postgresql_keeps_every_promise() {
    keeps_every_promise(Version::Oldest, "14.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_postgresql_keeps_every_promise() {
    keeps_every_promise(Version::Newest, "18.").await;
}
