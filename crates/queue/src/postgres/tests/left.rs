//! Statements that nobody waits for any more.

use super::cluster::Cluster;
use crate::postgres::PostgresStore;
use crate::postgres::wait::Patience;
use crate::store::{Filter, Store};
use parking_lot::Mutex;
use smtp_observe::{Level, LogSettings, Observer};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

/// How many sessions wait for a lock.
async fn waiting(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Waits for that until it is so many.
async fn until_waiting(client: &Client, count: i64) {
    let looking = async {
        while waiting(client).await != count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let looked = timeout(Duration::from_secs(5), looking).await;
    looked.unwrap_or_else(|_| panic!("not {count} that wait"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_waits_for_no_lock() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let (client, holder) = (cluster.client_of(&store).await, cluster.client_of(&store).await);
    let hold = "BEGIN; LOCK TABLE messages";
    holder.batch_execute(hold).await.unwrap();
    for _ in 0..10 {
        let asked = lists(&store);
        until_waiting(&client, 1).await;
        asked.abort();
        until_waiting(&client, 0).await;
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(store.list(Filter::default(), None, 1).await.unwrap().is_empty());
}

/// Somebody who asks, until he is told not to.
fn lists(store: &Arc<PostgresStore>) -> JoinHandle<()> {
    let store = store.clone();
    tokio::spawn(async move { drop(store.list(Filter::default(), None, 1).await) })
}

/// How a request to cancel something begins, behind its length.
const CANCEL: [u8; 4] = 80_877_102_i32.to_be_bytes();

/// Poolers behind one address, of which each request to cancel comes to one that knows nothing of what is meant: it is counted, and hung up
/// on, as PgBouncer does.
async fn poolers(listener: TcpListener, database: PathBuf, asked: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass_on(client, database.clone(), asked.clone()));
    }
}

async fn pass_on(mut client: TcpStream, database: PathBuf, asked: Arc<AtomicUsize>) -> io::Result<()> {
    let mut first = [0; 8];
    client.read_exact(&mut first).await?;
    if first.ends_with(&CANCEL) {
        asked.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    let mut server = UnixStream::connect(database).await?;
    server.write_all(&first).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Those of failures.
    fn failures(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let failed = text.lines().filter(|line| line.contains("\"store_failed\""));
        failed.map(ToOwned::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_the_wrong_pooler_for_an_end_says_so() {
    let cluster = Cluster::start().await;
    cluster.sql("postgres", "CREATE DATABASE queue").await;
    let patient = "ALTER DATABASE queue SET client_connection_check_interval = '200ms'";
    cluster.sql("postgres", patient).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let poolers = tokio::spawn(poolers(listener, cluster.socket(), asked.clone()));
    let mut settings = cluster.settings("queue");
    settings.database.url = format!("postgresql://postgres@127.0.0.1:{port}/queue?sslmode=disable");
    let (lines, level) = (Lines::default(), Level::Info);
    let observer = Observer::with_sink(LogSettings { level, json: true }, Box::new(lines.clone()));
    let (store, _) = PostgresStore::open(settings, observer.clone(), Patience::NONE)
        .await
        .unwrap();
    let store = Arc::new(store);
    let (client, holder) = (cluster.client("queue").await, cluster.client("queue").await);
    holder.batch_execute("BEGIN; LOCK TABLE messages").await.unwrap();
    let both = [lists(&store), lists(&store)];
    until_waiting(&client, 2).await;
    both.iter().for_each(JoinHandle::abort);
    let requests = async {
        while asked.load(Ordering::SeqCst) < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), requests)
        .await
        .expect("requests");
    let told = async {
        while lines.failures().is_empty() {
            sleep(Duration::from_millis(50)).await;
            observer.flush();
        }
    };
    assert_eq!(waiting(&client).await, 2, "the request came to nobody who knows");
    timeout(Duration::from_secs(20), told)
        .await
        .expect("a word of it");
    let failures = lines.failures();
    assert!(
        failures.len() == 1 && failures[0].contains("\"cancel\"") && failures[0].contains("peer_id"),
        "{failures:?}"
    );
    // Their connections are closed by then, and a database that looks after its clients sees it.
    until_waiting(&client, 0).await;
    holder.batch_execute("COMMIT").await.unwrap();
    poolers.abort();
}
