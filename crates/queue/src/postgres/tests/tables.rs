//! What the tables are like: contents are stored as they came, and where rows come and go fast the dead ones are cleared away early.

use super::cluster::Cluster;
use crate::QueueId;
use crate::conformance::{delivered, message};
use crate::message::{Beginning, Body, NewMessage, RecipientResult};
use crate::outbox::{CallOutcome, CallResult, NewCall, Outbox};
use crate::postgres::{PostgresStore, pulse};
use crate::store::{Store, Term};
use jiff::{SignedDuration, Timestamp};
use smtp_history::{Addition, Archive, Old};
use std::sync::Arc;
use std::time::Duration;

/// Messages that pass.
const MESSAGES: usize = 300;

fn of(body: Body) -> NewMessage {
    NewMessage {
        body,
        ..message(0, &["a@x.example"])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_are_stored_as_they_came_and_small_ones_in_their_row() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    let number = async |sql: &str| -> i64 { client.query_one(sql, &[]).await.unwrap().get(0) };
    // It would be a hundredth of its size.
    let content = |size: usize| {
        Body::Memory(
            b"Well then. "
                .iter()
                .copied()
                .cycle()
                .take(size)
                .collect::<Vec<_>>()
                .into(),
        )
    };
    for _ in 0..20 {
        store.insert(of(content(7_500)), Beginning::Due).await.unwrap();
    }
    let apart = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'messages'";
    assert_eq!(number(apart).await, 0, "what is small is on the page of its row");
    store.insert(of(content(200_000)), Beginning::Due).await.unwrap();
    assert!(number(apart).await >= 200_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 600_000]).unwrap();
    let large = Body::file(file.path().to_owned(), 600_000);
    store.insert(of(large), Beginning::Due).await.unwrap();
    for (table, octets) in [("messages", 350_000), ("bodies", 600_000)] {
        let sizes = format!(
            "SELECT sum(octet_length(content))::bigint, sum(pg_column_size(content))::bigint FROM {table}"
        );
        let row = client.query_one(&sizes, &[]).await.unwrap();
        let (content, stored): (i64, i64) = (row.get(0), row.get(1));
        assert!(
            content == octets && stored >= content,
            "{table}: {content} octets take {stored}"
        );
        let way = format!(
            "SELECT attstorage::text FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = 'content'"
        );
        let way: String = client.query_one(&way, &[]).await.unwrap().get(0);
        assert_eq!(way, "e", "{table}");
    }
}

/// Messages pass, one in ten of them large; webhooks are told, and their history is written and forgotten.
async fn pass(store: &Arc<PostgresStore>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 300_000]).unwrap();
    for number in 0..MESSAGES {
        let body = match number % 10 {
            0 => Body::file(file.path().to_owned(), 300_000),
            _ => Body::Memory(b"Subject: x\r\n\r\n".as_slice().into()),
        };
        let lease = Beginning::Leased(Term::of(Duration::from_secs(60)));
        let claim = store.insert(of(body), lease).await.unwrap().unwrap();
        let result = RecipientResult {
            calls: vec![NewCall {
                webhook: "one".into(),
                event: QueueId::generate(),
                body: "{}".into(),
            }],
            ..delivered(&claim)
        };
        store.finish(vec![result], Vec::new()).await.unwrap();
    }
    let soon = Timestamp::now() + SignedDuration::from_secs(60);
    let calls = store
        .claim_calls("one".into(), soon, Duration::from_secs(60), MESSAGES)
        .await
        .unwrap();
    let done = calls.iter().map(|call| CallResult {
        key: call.key,
        tries: call.tries,
        outcome: CallOutcome::Done,
    });
    store.finish_calls(done.collect()).await.unwrap();
    let history = store.history();
    let work = move || {
        for number in 0..MESSAGES as u64 {
            let addition = Addition {
                id: format!("00000000{number:018}"),
                ended: Some(0),
                steps: "first\n".into(),
                terms: vec![i64::try_from(number).unwrap()],
                ..Addition::default()
            };
            history.add(&[addition]).unwrap();
        }
        let old = Old {
            ended_before: 1_000_000,
            lost_before: 0,
            max_size: 1 << 30,
        };
        assert_eq!(history.forget(&old).unwrap(), MESSAGES as u64);
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_rows_come_and_go_the_dead_are_cleared_away_early() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    pass(&store).await;
    pulse::sum_figures(&store.client().await.unwrap()).await.unwrap();
    // With their connections servers tell what they changed.
    store.close().await.unwrap();
    let busy = format!(
        "SELECT s.relname::text, coalesce(array_to_string(c.reloptions, ' '), '') FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
         WHERE s.n_tup_upd + s.n_tup_del >= {} ORDER BY 1",
        MESSAGES / 10
    );
    let expected = [
        "bodies",
        "figures",
        "history",
        "history_size",
        "history_terms",
        "lanes",
        "messages",
        "recipients",
        "uploads",
        "webhook_calls",
    ];
    let mut hot: Vec<(String, String)> = Vec::new();
    for _ in 0..100 {
        let rows = client.query(&busy, &[]).await.unwrap();
        hot = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        if hot.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let names: Vec<&str> = hot.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, expected, "as docs/postgresql.md names them");
    for (table, options) in &hot {
        let of = |name: &str| -> Option<f64> {
            let option = options
                .split(' ')
                .find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
            option.and_then(|value| value.parse().ok())
        };
        let (factor, threshold) = (
            of("autovacuum_vacuum_scale_factor"),
            of("autovacuum_vacuum_threshold"),
        );
        assert!(
            factor.is_some_and(|factor| factor <= 0.02)
                && threshold.is_some_and(|threshold| threshold <= 2000.0),
            "{table}: {options:?}"
        );
        // What mail waits for is not paused either.
        let pauses = ["history", "history_terms", "lanes"].contains(&table.as_str());
        assert_eq!(
            of("autovacuum_vacuum_cost_delay"),
            (!pauses).then_some(0.0),
            "{table}: {options:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_settings_come_beside_servers_that_read_and_write_them() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let (at_work, migrating) = (cluster.client_of(&store).await, cluster.client_of(&store).await);
    let work = "BEGIN; SELECT count(*) FROM webhook_calls;
                LOCK TABLE webhook_calls, uploads, history, history_terms, history_size IN ROW EXCLUSIVE MODE";
    at_work.batch_execute(work).await.unwrap();
    migrating.batch_execute("SET lock_timeout = '1s'").await.unwrap();
    let settings = include_str!("../0004.sql");
    migrating.batch_execute(settings).await.unwrap();
}
