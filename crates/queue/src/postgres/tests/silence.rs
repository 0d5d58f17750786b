//! Nobody is taken for dead because the database was away.

use super::cluster::Cluster;
use crate::conformance::{message, request};
use crate::id::QueueId;
use crate::message::Beginning;
use crate::outbox::{Call, NewCall, Outbox};
use crate::postgres::{PostgresStore, client};
use crate::store::Store;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The database was away for so long: nobody was heard of.
const AWAY: &str = "UPDATE servers SET seen = seen - 75000";

fn new_call(body: &str) -> NewCall {
    NewCall {
        webhook: "hook".into(),
        event: QueueId::generate(),
        body: body.into(),
    }
}

/// What it claims of a webhook's calls, for an instant.
async fn calls(store: &PostgresStore, now: Timestamp) -> Vec<String> {
    let claimed = store.claim_calls("hook".into(), now, Duration::ZERO, 10).await;
    claimed.unwrap().into_iter().map(|call: Call| call.body).collect()
}

/// A store that has leases which ended, of messages that it may have delivered; and its database.
async fn holding(cluster: &Cluster) -> (Arc<PostgresStore>, String) {
    let store = cluster.new_store().await;
    store
        .insert(message(0, &["a@x.example"]), Beginning::Due)
        .await
        .unwrap();
    store.add_calls(vec![new_call("held")]).await.unwrap();
    let before = Timestamp::now() - SignedDuration::from_secs(90);
    assert_eq!(store.claim(request(before, 10)).await.unwrap().len(), 1);
    assert_eq!(calls(&store, store.now()).await.len(), 1);
    let database = cluster.database_of(&store);
    (store, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_silence_nobody_is_judged_for_a_while() {
    let cluster = Cluster::start().await;
    let (holder, database) = holding(&cluster).await;
    cluster.sql(&database, AWAY).await;
    let first = cluster.open(database.clone()).await;
    // It counts the other one too, and leaves it what it has; what is new it takes.
    assert_eq!(first.shared().unwrap().borrow().servers, 2);
    assert_eq!(first.servers().await.unwrap().unwrap().len(), 2);
    assert_eq!(first.next_due().await.unwrap(), None);
    first
        .insert(message(1, &["new@x.example"]), Beginning::Due)
        .await
        .unwrap();
    let claims = first.claim(request(Timestamp::now(), 10)).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(
        claims[0].recipients[0].recipient.address.as_str(),
        "new@x.example"
    );
    assert!(first.next_due().await.unwrap().is_none());
    // Of what webhooks are told the same: it may have been told, and who did could not write that down.
    let next = async || first.next_call("hook".into()).await.unwrap();
    assert_eq!((calls(&first, first.now()).await, next().await), (vec![], None));
    first.add_calls(vec![new_call("new")]).await.unwrap();
    assert!(next().await.is_some());
    assert_eq!(calls(&first, first.now()).await, ["new"]);
    // Half a minute later who has not come back is dead.
    cluster
        .sql(
            &database,
            "UPDATE signals SET number = number - 30000 WHERE name = 'silence'",
        )
        .await;
    let taken = async {
        while first
            .claim(request(Timestamp::now(), 10))
            .await
            .unwrap()
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), taken).await.unwrap();
    assert_eq!(calls(&first, first.now()).await, ["held", "new"]);
    drop(holder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_one_was_heard_of_who_was_not_is_dead() {
    let cluster = Cluster::start().await;
    let (holder, database) = holding(&cluster).await;
    let witness = cluster.open(database.clone()).await;
    let gone = format!("{AWAY} WHERE id = '{}'", holder.id());
    cluster.sql(&database, &gone).await;
    let first = cluster.open(database.clone()).await;
    let ids: Vec<String> = first
        .servers()
        .await
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|server| server.id)
        .collect();
    assert!(ids.len() == 2 && !ids.contains(&holder.id().to_string()));
    assert_eq!(first.claim(request(Timestamp::now(), 10)).await.unwrap().len(), 1);
    drop(witness);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_connection_breaks_nobody_tries_the_idle_ones_first() {
    let cluster = Cluster::start().await;
    cluster.sql("postgres", "CREATE DATABASE idle").await;
    // It hardly looks.
    let store = cluster
        .open_looking("idle".into(), Duration::from_secs(3600))
        .await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(store.client().await.unwrap());
    }
    let mut pids: Vec<i32> = Vec::new();
    for client in &clients {
        let row = client::query_one(client, "SELECT pg_backend_pid()", &[])
            .await
            .unwrap();
        pids.push(row.get(0));
    }
    let observer = cluster.client("idle").await;
    // It looks once when it begins, and once when it hears: then nobody else takes a connection.
    let hears = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'idle' AND application_name LIKE '% hints' AND state = 'idle'";
    let mut quiet = 0;
    while quiet < 10 {
        let (lent, heard) = (store.link.pool.status(), observer.query_one(hears, &[]).await);
        let nobody_else = lent.size - lent.available == clients.len();
        let at_rest = nobody_else && heard.unwrap().get::<_, i64>(0) == 1;
        quiet = if at_rest { quiet + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let breaks = clients.pop().unwrap();
    let ended = format!("SELECT pg_terminate_backend({})", pids[3]);
    // The others are idle from here on.
    drop(clients);
    cluster.sql("idle", &ended).await;
    assert!(client::query(&breaks, "SELECT 1", &[]).await.is_err());
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(ARRAY{pids:?})");
    let gone = async {
        while observer.query_one(&there, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}
