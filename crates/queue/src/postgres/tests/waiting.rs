//! What passes by itself, and what does not, as said by whoever answers at the database's address.

use super::cluster::Cluster;
use crate::postgres::{Database, Patience, PostgresStore};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Says no, with a code of PostgreSQL's.
fn refusal(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mnot now\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E".as_slice(), &length.to_be_bytes(), fields.as_bytes()].concat()
}

/// How often it was tried to reach a database that answers every connection so and closes it.
async fn attempts(answer: Vec<u8>, parameters: &str) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = client.read(&mut asked).await;
            let _ = client.write_all(&answer).await;
        }
    });
    let database = Database {
        url: format!("postgresql://ann@127.0.0.1:{port}/queue?{parameters}"),
        password_file: None,
        pool_size: 4,
        pooler: false,
    };
    let told: Arc<Mutex<usize>> = Arc::default();
    let patience = Patience {
        at_most: Duration::from_secs(1),
        tell: &|_| *told.lock() += 1,
    };
    PostgresStore::migrate(&database, true, patience)
        .await
        .unwrap_err();
    answering.abort();
    let told = *told.lock();
    told + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_by_itself_is_waited_for() {
    // Shut down, crashed, starting, no connection left, out of memory, statement given up, a lock not had, a server process that failed.
    for code in [
        "57P01", "57P02", "57P03", "53300", "53200", "57014", "55P03", "08006",
    ] {
        assert!(attempts(refusal(code), "sslmode=disable").await > 1, "{code}");
    }
    // Nobody behind a load balancer: closed without a word, before TLS and in it.
    assert!(attempts(Vec::new(), "sslmode=disable").await > 1);
    assert!(attempts(Vec::new(), "sslmode=require").await > 1);
    assert!(attempts(b"S".to_vec(), "sslmode=require").await > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_not_waited_for() {
    // A password, a rule, a database, a right, a standby, a database that is broken.
    for code in ["28P01", "28000", "3D000", "42501", "25006", "XX001"] {
        assert_eq!(attempts(refusal(code), "sslmode=disable").await, 1, "{code}");
    }
    // No TLS; something that is none.
    assert_eq!(attempts(b"N".to_vec(), "sslmode=require").await, 1);
    let garbage = [b"S".as_slice(), b"HTTP/1.1 400 Bad Request\r\n\r\n"].concat();
    assert_eq!(attempts(garbage, "sslmode=require").await, 1);
}

/// A migration of a table that somebody has open gives way to the servers that are at work on it, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_has_to_wait_holds_up_nobody() {
    let cluster = Cluster::start().await;
    cluster.sql("postgres", "CREATE DATABASE before").await;
    let before =
        "CREATE TABLE schema_version (version integer NOT NULL); INSERT INTO schema_version VALUES (2)";
    for sql in [include_str!("../0001.sql"), include_str!("../0002.sql"), before] {
        cluster.sql("before", sql).await;
    }
    let reader = cluster.client("before").await;
    let reads = "BEGIN; SELECT count(*) FROM servers";
    reader.batch_execute(reads).await.unwrap();
    let database = Database {
        url: cluster.url("before"),
        password_file: None,
        pool_size: 4,
        pooler: false,
    };
    let told: Arc<Mutex<usize>> = Arc::default();
    let telling = told.clone();
    let migrating = tokio::spawn(async move {
        let patience = Patience {
            at_most: Duration::from_secs(120),
            tell: &|_| *telling.lock() += 1,
        };
        PostgresStore::migrate(&database, false, patience).await
    });
    let other = cluster.client("before").await;
    let at_work = async {
        while *told.lock() < 2 {
            let asked = other.simple_query("SELECT count(*) FROM servers");
            tokio::time::timeout(Duration::from_secs(10), asked)
                .await
                .expect("who comes later waits")
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), at_work)
        .await
        .unwrap();
    reader.batch_execute("COMMIT").await.unwrap();
    let steps = migrating.await.unwrap().unwrap();
    assert_eq!(steps.first().map(|step| step.version), Some(3));
}
