//! What docs/postgresql.md has people type into the database: who may do no more than it says is enough, and what is asked at night is answered.

use super::cluster::Cluster;
use super::durable::{administrate, deliver, operate, tell};
use crate::postgres::wait::Patience;
use crate::postgres::{PostgresSettings, PostgresStore};
use crate::store::Store;
use smtp_observe::Observer;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

const PAGE: &str = include_str!("../../../../../docs/postgresql.md");

/// The statements of the block behind a heading, as they are written.
fn statements(heading: &str) -> Vec<String> {
    let (_, behind) = PAGE.split_once(&format!("\n{heading}\n")).expect("the section");
    let (_, block) = behind.split_once("```sql\n").expect("a block");
    let (block, _) = block.split_once("\n```").expect("its end");
    let bare = block.lines().filter_map(|line| line.split("--").next());
    let bare: Vec<&str> = bare.map(str::trim).filter(|line| !line.is_empty()).collect();
    let statements = bare.join("\n");
    statements.split_inclusive(';').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_do_no_more_than_it_must_and_who_looks_sees() {
    let cluster = Cluster::start().await;
    let roles = "CREATE ROLE smtp LOGIN; CREATE ROLE smtp_server LOGIN";
    cluster.sql("postgres", roles).await;
    cluster.sql("postgres", "CREATE DATABASE smtp OWNER smtp").await;
    let others = "REVOKE CONNECT ON DATABASE smtp FROM PUBLIC";
    cluster.sql("postgres", others).await;
    let url = |role: &str| cluster.url("smtp").replace("postgres@", &format!("{role}@"));
    let mut settings = cluster.settings("smtp");
    // The owner makes the tables, as `smtp-server migrate` does, and says who may use them.
    settings.database.url = url("smtp");
    PostgresStore::migrate(&settings.database, false, Patience::NONE)
        .await
        .unwrap();
    let owner = cluster.client("smtp").await;
    owner
        .batch_execute("SET SESSION AUTHORIZATION smtp")
        .await
        .unwrap();
    for statement in statements("### The least that a server may") {
        owner.batch_execute(&statement).await.unwrap();
    }
    settings.database.url = url("smtp_server");
    let again = PostgresSettings {
        database: settings.database.clone(),
        ..cluster.settings("smtp")
    };
    let (store, _) = PostgresStore::open(settings, Observer::silent(), Patience::NONE)
        .await
        .unwrap();
    let large = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(large.path(), vec![b'x'; 300_000]).unwrap();
    let client = cluster.client("smtp").await;
    deliver(&store, large.path()).await;
    operate(&store, &client).await;
    administrate(&store).await;
    tell(&store, &client).await;
    assert!(store.stats().await.is_ok() && store.writable().await.is_ok());
    let server = cluster.client("smtp").await;
    server
        .batch_execute("SET SESSION AUTHORIZATION smtp_server")
        .await
        .unwrap();
    for more in [
        "DROP TABLE audit",
        "TRUNCATE messages",
        "CREATE TABLE mine (x int)",
    ] {
        assert!(server.batch_execute(more).await.is_err(), "{more}");
    }
    for question in statements("## At 3 a.m.") {
        let answer = client.simple_query(&question).await;
        let answer = answer.unwrap_or_else(|error| panic!("{question}: {error:?}"));
        let described = |one: &SimpleQueryMessage| matches!(one, SimpleQueryMessage::RowDescription(_));
        assert!(answer.iter().any(described), "{question} asks nothing");
    }
    store.close().await.unwrap();
    // What it may not do it says, and waits for nothing.
    owner
        .batch_execute("UPDATE schema_version SET version = version - 1")
        .await
        .unwrap();
    let wait = Patience {
        at_most: Duration::from_secs(3600),
        ..Patience::NONE
    };
    let refused = PostgresStore::open(again, Observer::silent(), wait).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("must be owner"), "{error}");
}
