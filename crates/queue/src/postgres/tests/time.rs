//! The database's clock decides when leases begin and end, whatever a server takes it to show.

use super::cluster::Cluster;
use crate::conformance::{attempts, due_now, message};
use crate::message::Beginning;
use crate::postgres::PostgresStore;
use crate::steady::Steady;
use crate::store::{Filter, Store, Term};
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Has a server take the clock to be wrong by so many hours: nobody looked since it was set, say.
fn mistaken(store: &PostgresStore, hours: i64) {
    let wrong = store.now() + SignedDuration::from_hours(hours);
    let (before, ms) = (Steady::now(), wrong.as_millisecond());
    store.shop.clock.seen(before, ms, before);
}

/// Every lease ends in a minute, by the clock of the database: to the millisecond that statements round it to, which may be the next one.
async fn assert_a_minute(client: &tokio_postgres::Client, leases: i64) {
    let sql =
        "SELECT count(*) FROM recipients, (SELECT extract(epoch FROM clock_timestamp()) * 1000 AS now) AS n
               WHERE state = 1 AND due BETWEEN now + 50000 AND now + 60001";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), leases);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_mistaken_takes_nobodys_lease_and_gives_none_that_is_too_short() {
    for hours in [2, -2] {
        let cluster = Cluster::start().await;
        let right = cluster.new_store().await;
        let never = Duration::from_secs(3600);
        let wrong = cluster.open_looking(cluster.database_of(&right), never).await;
        let client = cluster.client_of(&right).await;
        // What it hears of its own start it has looked at.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let insert = |store: &Arc<PostgresStore>, beginning| {
            let store = store.clone();
            async move {
                store
                    .insert(message(0, &["a@x.example"]), beginning)
                    .await
                    .unwrap()
            }
        };
        insert(&right, Beginning::Leased(Term::of(MINUTE))).await;
        mistaken(&wrong, hours);
        insert(&wrong, Beginning::Leased(Term::of(MINUTE))).await;
        assert_a_minute(&client, 2).await;
        mistaken(&wrong, hours);
        assert!(wrong.claim(due_now(100)).await.unwrap().is_empty(), "{hours}");
        insert(&right, Beginning::Due).await;
        mistaken(&wrong, hours);
        let claims = wrong.claim(due_now(100)).await.unwrap();
        assert_eq!(claims.len(), 1, "what is due is due");
        assert_a_minute(&client, 3).await;
        let held: Vec<_> = claims.iter().flat_map(attempts).collect();
        let ended = Term {
            length: Duration::ZERO,
            now: Some(right.now()),
        };
        assert!(right.renew(held.clone(), ended).await.unwrap().is_empty());
        assert_a_minute(&client, 2).await;
        mistaken(&wrong, hours);
        let lost = wrong.renew(held, Term::of(MINUTE)).await;
        assert!(lost.unwrap().is_empty());
        assert_a_minute(&client, 3).await;
        insert(&right, Beginning::Due).await;
        mistaken(&wrong, hours);
        let (selected, _) = wrong
            .claim_selected(Filter::default(), None, due_now(100))
            .await
            .unwrap();
        assert_eq!(selected.len(), 1);
        assert_a_minute(&client, 4).await;
    }
}
