//! Statements are prepared, once a connection; behind a pooler none is.

use super::cluster::Cluster;
use crate::conformance::{due_now, message};
use crate::message::Beginning;
use crate::store::Store;

/// Notes with each change, in the session that makes it: how many statements are prepared there, and how often the one that makes the change was
/// run there since it was, this time included; null if it is not.
const NOTING: &str = "CREATE TABLE noted (change text, prepared bigint, runs bigint);
     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
         INSERT INTO noted SELECT TG_OP || ' ' || TG_TABLE_NAME, count(*),
                                  max(generic_plans + custom_plans) FILTER (WHERE statement = current_query())
         FROM pg_prepared_statements;
         RETURN NULL;
     END $$;
     CREATE TRIGGER note AFTER INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION note();
     CREATE TRIGGER note AFTER UPDATE ON recipients FOR EACH STATEMENT EXECUTE FUNCTION note();
     CREATE TRIGGER note AFTER UPDATE ON servers FOR EACH STATEMENT EXECUTE FUNCTION note();";

/// A change with its times, the most statements that were prepared, the fewest and the most runs of its own.
const NOTED: &str = "SELECT change, count(*), max(prepared), min(coalesce(runs, 0)), max(coalesce(runs, 0))
                     FROM noted GROUP BY 1 ORDER BY 1";

/// What is noted of each change, made more often than there are connections, even if it can be asked for in two ways (as a claim can): on one
/// of them at least it is made again.
async fn noted(cluster: &Cluster) -> Vec<(String, [i64; 3])> {
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    client.batch_execute(NOTING).await.unwrap();
    let times = cluster.settings("").database.pool_size * 2 + 1;
    for _ in 0..times {
        // A statement that gives rows, one that is sent with others, and one that gives none.
        let new = message(0, &["a@x.example"]);
        store.insert(new, Beginning::Due).await.unwrap();
        assert_eq!(store.claim(due_now(10)).await.unwrap().len(), 1);
        store.writable().await.unwrap();
    }
    let rows = client.query(NOTED, &[]).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| row.get::<_, i64>(1) >= i64::try_from(times).unwrap())
    );
    rows.iter()
        .map(|row| (row.get(0), [row.get(2), row.get(3), row.get(4)]))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_prepared_once_a_connection_and_not_behind_a_pooler() {
    const CHANGES: [&str; 3] = ["INSERT messages", "UPDATE recipients", "UPDATE servers"];
    let mut cluster = Cluster::start().await;
    let direct = noted(&cluster).await;
    assert!(direct.iter().map(|(change, _)| change).eq(CHANGES), "{direct:?}");
    for (change, [_, fewest, most]) in &direct {
        assert!(*fewest > 0, "{change} is not always prepared: {direct:?}");
        assert!(*most > 1, "{change} is prepared anew each time: {direct:?}");
    }
    cluster.pooler = true;
    let pooled = noted(&cluster).await;
    assert!(
        pooled.iter().map(|(change, _)| change).eq(CHANGES)
            && pooled.iter().all(|(_, prepared)| *prepared == [0, 0, 0]),
        "{pooled:?}"
    );
}
