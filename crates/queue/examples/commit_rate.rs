//! How many messages a second can be stored durably and deleted again.
//!
//! 100 tasks each store a message of 5 KiB with a lease, wait for its commit, report it delivered, and wait for that commit too.
//!
//! ```text
//! cargo run --release -p smtp-queue --example commit_rate -- [COUNT] [FOLDER]
//! ```

// It is a program for the terminal, and may stop at the first error.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use jiff::Timestamp;
use smtp::Address;
use smtp_observe::Observer;
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{
    Attempt, Beginning, MailOptions, NewMessage, NewRecipient, Outcome, QueueId, RecipientResult, Spool,
    Store, Term,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TASKS: usize = 100;
const SIZE: usize = 5120;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(40_000, |text| text.parse().unwrap());
    let folder =
        tempfile::tempdir_in(arguments.next().map_or_else(std::env::temp_dir, PathBuf::from)).unwrap();
    let settings = SqliteSettings {
        path: folder.path().join("smtp.db"),
        min_free: 0,
        memory_budget: 64 << 20,
    };
    let (store, spool) = SqliteStore::open(settings, Observer::silent()).unwrap();
    let left = Arc::new(AtomicUsize::new(count));
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| tokio::spawn(work(Arc::clone(&store), spool.clone(), Arc::clone(&left))))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let taken = start.elapsed();
    let stats = store.stats().await.unwrap();
    store.close().await.unwrap();
    println!(
        "{count} messages in {taken:.2?}: {:.0} stored and deleted a second; {} left",
        count as f64 / taken.as_secs_f64(),
        stats.messages
    );
}

async fn work(store: Arc<SqliteStore>, spool: Spool, left: Arc<AtomicUsize>) {
    let chunk = vec![b'x'; SIZE];
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
    {
        let id = QueueId::generate();
        let mut body = spool.writer(id);
        body.write(&chunk).await.unwrap();
        let message = NewMessage {
            id,
            received_at: Timestamp::now(),
            sender: Some(Address::parse("a@x.test").unwrap()),
            options: MailOptions::default(),
            recipients: vec![NewRecipient {
                address: Address::parse("b@y.test").unwrap(),
                notify: None,
                orcpt: None,
            }],
            body: body.finish().await.unwrap(),
        };
        let lease = Term::of(Duration::from_secs(60));
        let claim = store
            .insert(message, Beginning::Leased(lease))
            .await
            .unwrap()
            .unwrap();
        let attempt = Attempt {
            message: claim.message.key,
            recipient: 0,
            epoch: 1,
        };
        let result = RecipientResult {
            attempt,
            outcome: Outcome::Delivered,
            text: "250 2.0.0 Ok".to_owned(),
            calls: Vec::new(),
        };
        store.finish(vec![result], Vec::new()).await.unwrap();
    }
}
