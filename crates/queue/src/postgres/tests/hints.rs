//! What servers tell each other: heard at once, missed without harm, and never said where it would cost.

use super::cluster::Cluster;
use super::samples::suspension;
use crate::conformance::{due_now, ended, message};
use crate::message::{Beginning, Outcome};
use crate::operator::SuspensionKind;
use crate::postgres::PostgresStore;
use crate::store::{Filter, Shared, Store, Term};
use jiff::Timestamp;
use parking_lot::Mutex;
use smtp_directory::{Edit, Kind, Record, Shelf};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, NoTls};

/// How often a server looks that is to hear of everything: not within this test.
const NEVER: Duration = Duration::from_secs(3600);
/// Connections on which somebody listens.
const LISTENING: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'smtp-server hints' AND query = 'LISTEN smtp_queue'";

/// A server that says something, one that only hears, and what that one has heard.
struct Pair {
    cluster: Cluster,
    speaks: Arc<PostgresStore>,
    hears: Arc<PostgresStore>,
    heard: watch::Receiver<Shared>,
    client: tokio_postgres::Client,
}

impl Pair {
    async fn new() -> Pair {
        let cluster = Cluster::start().await;
        let speaks = cluster.new_store().await;
        let hears = cluster.open_looking(cluster.database_of(&speaks), NEVER).await;
        let pair = Pair {
            client: cluster.client_of(&speaks).await,
            heard: hears.shared().unwrap(),
            cluster,
            speaks,
            hears,
        };
        pair.until_both_listen().await;
        pair
    }

    async fn until_both_listen(&self) {
        for _ in 0..300 {
            if self
                .client
                .query_one(LISTENING, &[])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 2
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody listens");
    }

    /// Waits until the one that only hears knows something.
    async fn until(&mut self, what: &str, known: impl FnMut(&Shared) -> bool) -> Shared {
        match tokio::time::timeout(Duration::from_secs(20), self.heard.wait_for(known)).await {
            Ok(seen) => *seen.unwrap(),
            Err(_) => panic!("nothing was heard of {what}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_is_seen_when_they_say_so() {
    let mut pair = Pair::new().await;
    let before = pair.until("the other", |seen| seen.servers == 2).await;
    assert!(pair.speaks.suspend(suspension("x.example")).await.unwrap());
    let number = before.suspensions;
    pair.until("a suspension", |seen| seen.suspensions == number + 1)
        .await;
    let now = Timestamp::now();
    let ended = pair
        .speaks
        .resume(SuspensionKind::Domain, "x.example".into(), now);
    assert_eq!(ended.await.unwrap(), Some(0));
    pair.until("its end", |seen| seen.suspensions == number + 2).await;
    let record = Record {
        kind: Kind::Domain,
        name: "x.example".into(),
        value: "{}".into(),
    };
    let revision = pair.speaks.revision().await.unwrap();
    pair.speaks
        .apply(revision, vec![Edit::Put(record)])
        .await
        .unwrap();
    pair.until("the directory", |seen| seen.directory == revision + 1)
        .await;
    let asked = pair.speaks.ask_all_to_reload().await.unwrap();
    pair.until("a reload", |seen| seen.reloads == asked).await;
    // Mail that an operator makes due, in each way that there is.
    let mut announced = before.announced;
    pair.speaks
        .insert(message(0, &["a@x.example"]), Beginning::Due)
        .await
        .unwrap();
    let all = Filter::default;
    assert_eq!(pair.speaks.retry(all(), now).await.unwrap(), 1);
    announced += 1;
    let seen = pair.until("a retry", |seen| seen.announced == announced).await;
    assert!(seen.due);
    assert_eq!(pair.speaks.hold(all()).await.unwrap(), 1);
    assert_eq!(pair.speaks.unhold(all(), now).await.unwrap(), 1);
    announced += 1;
    pair.until("mail that is held no more", |seen| seen.announced == announced)
        .await;
    pair.client
        .batch_execute("UPDATE recipients SET state = 7")
        .await
        .unwrap();
    assert_eq!(pair.speaks.release(all(), now).await.unwrap().messages, 1);
    announced += 1;
    pair.until("mail out of quarantine", |seen| seen.announced == announced)
        .await;
    pair.speaks.announce_due().await.unwrap();
    announced += 1;
    pair.until("mail that was given back", |seen| seen.announced == announced)
        .await;
    // Others come, die and go.
    let third = pair.cluster.open(pair.cluster.database_of(&pair.hears)).await;
    pair.until("a third", |seen| seen.servers == 3).await;
    third.close().await.unwrap();
    pair.until("its end", |seen| seen.servers == 2).await;
    pair.speaks.close().await.unwrap();
    pair.until("being alone", |seen| seen.servers == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_while_nobody_hears_is_seen_afterwards() {
    let mut pair = Pair::new().await;
    let number = pair.heard.borrow().suspensions;
    for broken in 1..=2 {
        let cut = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE application_name = 'smtp-server hints') AS cut";
        assert_eq!(pair.client.query_one(cut, &[]).await.unwrap().get::<_, i64>(0), 2);
        pair.speaks
            .suspend(suspension(&format!("x{broken}.example")))
            .await
            .unwrap();
        pair.until("what was said meanwhile", |seen| {
            seen.suspensions == number + broken
        })
        .await;
        pair.until_both_listen().await;
    }
    pair.speaks.suspend(suspension("last.example")).await.unwrap();
    pair.until("what is said then", |seen| seen.suspensions == number + 3)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_nobody_listens_and_all_is_seen() {
    let mut cluster = Cluster::start().await;
    cluster.pooler = true;
    let speaks = cluster.new_store().await;
    let hears = cluster.open(cluster.database_of(&speaks)).await;
    let mut heard = hears.shared().unwrap();
    let number = heard.borrow().suspensions;
    speaks.suspend(suspension("x.example")).await.unwrap();
    let seen = heard.wait_for(|seen| seen.suspensions == number + 1);
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .unwrap()
        .unwrap();
    let client = cluster.client_of(&speaks).await;
    let any = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%hints%' AND pid <> pg_backend_pid()";
    assert_eq!(client.query_one(any, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_messages_and_results_nothing_is_said() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let url = cluster.url(&cluster.database_of(&store));
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = said.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(one) = message {
                heard.lock().push(one.payload().to_owned());
            }
        }
    });
    client.batch_execute("LISTEN smtp_queue").await.unwrap();
    let now = Timestamp::now();
    for beginning in [
        Beginning::Due,
        Beginning::Due,
        Beginning::Leased(Term::of(Duration::ZERO)),
        Beginning::Parked(now),
    ] {
        store
            .insert(message(0, &["a@x.example"]), beginning)
            .await
            .unwrap();
    }
    let outcomes = [
        Outcome::Delivered,
        Outcome::Deferred {
            due: now,
            delay_notified: false,
        },
        Outcome::Released { due: now },
    ];
    let claims = store.claim(due_now(100)).await.unwrap();
    assert!(claims.len() >= outcomes.len());
    let results = claims
        .iter()
        .zip(outcomes)
        .map(|(claim, outcome)| ended(claim, outcome));
    store
        .finish(results.collect(), vec![message(0, &["b@x.example"])])
        .await
        .unwrap();
    store.announce_due().await.unwrap();
    for _ in 0..200 {
        if !said.lock().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What is said is heard in its order: before this there was nothing.
    let said = said.lock().clone();
    assert!(said.len() == 1 && said[0].starts_with("due "), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_of_a_queue_are_listed() {
    let pair = Pair::new().await;
    pair.speaks
        .insert(message(0, &["a@x.example", "b@x.example"]), Beginning::Due)
        .await
        .unwrap();
    assert_eq!(pair.speaks.claim(due_now(100)).await.unwrap().len(), 1);
    pair.speaks.draining().await.unwrap();
    // Of a version that does not say, as it is written by one.
    let older = "INSERT INTO servers (id, name, seen) VALUES (gen_random_uuid(), 'old', (extract(epoch FROM now()) * 1000)::bigint - 30000)";
    pair.client.batch_execute(older).await.unwrap();
    let listed = pair.hears.servers().await.unwrap().unwrap();
    assert_eq!(listed.len(), 3);
    let this = listed.iter().find(|one| one.this).unwrap();
    assert_eq!((this.draining, this.leases, &*this.version), (false, 0, "1.2.3"));
    let old = listed.iter().find(|one| one.name == "old").unwrap();
    assert_eq!((old.started, &*old.version, old.draining), (None, "", false));
    let silent = Timestamp::now().duration_since(old.seen).as_secs();
    assert!((30..90).contains(&silent), "{silent}");
    let speaks = listed.iter().find(|one| !one.this && one.name == "test").unwrap();
    assert_eq!((speaks.draining, speaks.leases), (true, 2));
    assert!(speaks.started.is_some_and(|started| started <= speaks.seen));
    // It stays so with the next sign of life, and what says goodbye is not called back by one.
    pair.speaks.writable().await.unwrap();
    assert!(
        pair.hears
            .servers()
            .await
            .unwrap()
            .unwrap()
            .iter()
            .any(|one| one.draining)
    );
    let me = &pair.speaks.shop.me;
    let client = pair.hears.client().await.unwrap();
    me.leave(&client).await.unwrap();
    me.beat(&client).await.unwrap();
    assert!(
        pair.hears
            .servers()
            .await
            .unwrap()
            .unwrap()
            .iter()
            .all(|one| !one.draining)
    );
}
