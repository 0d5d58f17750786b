//! What a server does by itself, again and again, though nobody tells it anything: it looks what the others did, says that it is there, and sums up
//! the queue's figures.

use super::cluster::Cluster;
use crate::store::{Stats, Store};
use std::time::Duration;

/// Two changes of the figures; of no message that there is.
const CHANGES: &str =
    "INSERT INTO figures VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)";

/// A large content that nobody needs, of a server, and that cannot be removed.
const IN_VAIN: &str = "CREATE EXTENSION pg_stat_statements;
     CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
     CREATE TRIGGER refuse BEFORE DELETE ON uploads FOR EACH ROW EXECUTE FUNCTION refuse();
     INSERT INTO uploads SELECT -1, id, seen FROM servers LIMIT 1";

/// How many rows the figures have; how often it was looked what others did; when a server said last that it is there; and what the time is, in
/// milliseconds.
const SEEN: &str = "SELECT (SELECT count(*) FROM figures),
    (SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query LIKE '%(SELECT revision FROM directory)%FROM servers%'),
    (SELECT seen FROM servers WHERE id = $1), (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// As the figures say, not the tables, which are empty.
fn assert_figures(stats: &Stats) {
    assert_eq!((stats.messages, stats.bytes), (11, 22));
    assert_eq!(stats.recipients, [33, 44, 55, 66, 77, 88, 99, 110]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_hints_a_server_looks_each_second_says_that_it_is_there_and_sums_figures_up() {
    let mut cluster = Cluster::counting().await;
    cluster.pooler = true;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    client.batch_execute(IN_VAIN).await.unwrap();
    // Of two servers one clears up in vain. It lives all the same.
    let other = cluster.open(cluster.database_of(&store)).await;
    other.shop.unneeded.lock().push(-1);
    client.batch_execute(CHANGES).await.unwrap();
    assert_figures(&store.stats().await.unwrap());
    let seen = async || -> (i64, i64, i64, i64) {
        let row = client.query_one(SEEN, &[&other.id()]).await.unwrap();
        (row.get(0), row.get(1), row.get(2), row.get(3))
    };
    let (_, looks, heard, begun) = seen().await;
    let summed = async {
        loop {
            let (rows, looked, said, now) = seen().await;
            if rows == 1 && said > heard && now - begun >= 8_000 {
                return (looked - looks, now - begun);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let summed = tokio::time::timeout(Duration::from_secs(40), summed).await;
    let (looked, ms) =
        summed.expect("figures that are summed up by themselves, and a word of the other server");
    assert_figures(&store.stats().await.unwrap());
    assert!(
        !other.shop.unneeded.lock().is_empty(),
        "it did not clear up in vain"
    );
    // What one changes the others know within two seconds: each look sees all of it, and there is one a second of each server. The rest is for a
    // machine that has much to do.
    assert!(looked >= ms / 1_000, "{looked} looks in {ms} ms");
}
