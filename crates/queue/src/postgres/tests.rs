//! The suite of promises, against a real PostgreSQL.

mod asked;
mod choice;
pub(super) mod cluster;
mod deadlocks;
mod due;
mod durable;
mod growing;
mod hints;
mod history;
mod large;
mod left;
mod manual;
mod meanwhile;
mod passed_over;
mod prepared;
mod pulse;
mod reconnecting;
mod samples;
mod silence;
mod tables;
mod time;
mod versions;
mod waiting;

use super::*;
use crate::conformance::directory::run_shelf;
use crate::conformance::outbox::run_outbox;
use crate::conformance::shared::run_shared;
use crate::conformance::{due_now, run_all};
use crate::message::{Beginning, Claim};
use crate::outbox::{NewCall, Outbox};
use crate::store::Store;
use cluster::Cluster;
use smtp_observe::Observer;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_keep_every_promise() {
    run_shared(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_migrate_once() {
    let cluster = Cluster::start().await;
    cluster.sql("postgres", "CREATE DATABASE together").await;
    let opened = tokio::join!(
        cluster.open("together".into()),
        cluster.open("together".into()),
        cluster.open("together".into())
    );
    assert!(opened.0.stats().await.is_ok() && opened.2.stats().await.is_ok());
    // One that leaves in good order leaves nothing behind.
    let client = cluster.client("together").await;
    let servers = async || client.query("SELECT id FROM servers", &[]).await.unwrap().len();
    assert_eq!(servers().await, 3);
    opened.1.close().await.unwrap();
    assert_eq!(servers().await, 2);
    assert!(matches!(opened.1.stats().await, Err(StoreError::Closed)));
    cluster
        .sql("together", "UPDATE schema_version SET version = 99")
        .await;
    let newer = PostgresStore::open(cluster.settings("together"), Observer::silent(), Patience::NONE).await;
    let error = newer.unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
    // One that cannot say that it leaves is closed all the same.
    cluster
        .sql("together", "ALTER TABLE servers RENAME TO away")
        .await;
    assert!(opened.2.close().await.is_err());
    assert!(matches!(opened.2.stats().await, Err(StoreError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_migration_however_long_it_takes() {
    let cluster = Cluster::start().await;
    cluster.sql("postgres", "CREATE DATABASE slow").await;
    // Another server migrates, for longer than any other statement may take.
    let other = cluster.client("slow").await;
    let locked = format!("SELECT pg_advisory_lock({})", schema::LOCK);
    other.batch_execute(&locked).await.unwrap();
    let (opened, ()) = tokio::join!(cluster.open("slow".into()), async {
        tokio::time::sleep(client::PATIENCE + Duration::from_secs(2)).await;
        drop(other);
    });
    assert!(opened.stats().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_mean_something_to_sql_mean_nothing() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    for text in [
        "'; DROP TABLE messages; --",
        "%' OR '1'='1",
        "$1",
        "\\",
        "\0",
        "\u{0}x",
        "$$;DELETE FROM recipients;$$",
    ] {
        let filters = [
            Filter {
                domain: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                sender: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                sender: Some(format!("@{text}")),
                ..Filter::default()
            },
            Filter {
                recipient: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                reason: Some(text.into()),
                ..Filter::default()
            },
            Filter {
                account: Some(text.into()),
                ..Filter::default()
            },
        ];
        for filter in filters {
            assert!(store.list(filter.clone(), None, 10).await.unwrap().is_empty());
            assert_eq!(store.delete(filter.clone()).await.unwrap(), 0);
            assert_eq!(store.hold(filter).await.unwrap(), 0);
        }
        assert!(!store.remove_token(text.into()).await.unwrap());
        assert!(store.next_call(text.into()).await.unwrap().is_none());
    }
    assert_eq!(store.stats().await.unwrap().messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_every_promise() {
    run_all(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_every_promise_without_prepared_statements() {
    let mut cluster = Cluster::start().await;
    cluster.pooler = true;
    run_all(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_keeps_every_promise() {
    let cluster = Cluster::start().await;
    run_outbox(&cluster).await;
    a_call_that_is_just_being_added_is_waited_for(&cluster).await;
}

/// By a move that was killed after it had asked for its COMMIT.
async fn a_call_that_is_just_being_added_is_waited_for(cluster: &Cluster) {
    let store = cluster.new_store().await;
    let killed = cluster.client_of(&store).await;
    let call = NewCall {
        webhook: "one".into(),
        event: crate::QueueId::generate(),
        body: "{}".into(),
    };
    let event = call.event.to_bytes();
    killed.batch_execute("BEGIN").await.unwrap();
    let sql = "INSERT INTO webhook_calls (webhook, event, created, due, tries, body) VALUES ('one', $1, 0, 0, 0, '{}')";
    killed.execute(sql, &[&event.as_slice()]).await.unwrap();
    let (added, ()) = tokio::join!(store.add_calls(vec![call]), async {
        let waits =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'webhook_calls'::regclass";
        let mut seen = 0_i64;
        for _ in 0..200 {
            seen = killed.query_one(waits, &[]).await.unwrap().get(0);
            if seen > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        killed.batch_execute("COMMIT").await.unwrap();
        assert_eq!(seen, 1, "nobody waited");
    });
    added.unwrap();
    assert_eq!(store.calls_waiting().await.unwrap()[0].calls, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shelf_keeps_every_promise() {
    run_shelf(&Cluster::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_claims_are_by_domain_the_longest_due_first() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    for number in 0..300 {
        let to = format!("b@{}.example", ["x", "y", "z"][number % 3]);
        let new = crate::conformance::message(i64::try_from(number).unwrap() / 100, &[&to]);
        store.insert(new, Beginning::Due).await.unwrap();
    }
    let domains = |claims: &[Claim]| -> Vec<String> {
        let of = |claim: &Claim| claim.recipients[0].recipient.address.domain().to_owned();
        let mut all: Vec<String> = claims.iter().map(of).collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(domains(&store.claim(due_now(100)).await.unwrap()).len(), 1);
    assert_eq!(domains(&store.claim(due_now(100)).await.unwrap()).len(), 1);
    // A small one takes what is due longest, whatever it is.
    let rest = store.claim(due_now(63)).await.unwrap();
    assert_eq!(
        (rest.len(), store.claim(due_now(100)).await.unwrap().len()),
        (63, 37)
    );
}
