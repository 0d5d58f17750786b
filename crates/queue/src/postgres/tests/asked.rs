//! What the database is asked for a message from its coming to its end, when no other shares a statement with it.

use super::cluster::Cluster;
use crate::conformance::{delivered, message};
use crate::message::Beginning;
use crate::store::{Store, Term};
use std::time::Duration;

/// So many that what servers do by themselves, once a second, is asked less often meanwhile.
const MESSAGES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_taken_by_one_statement_and_ended_by_one_transaction() {
    let cluster = Cluster::counting().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    client
        .batch_execute("CREATE EXTENSION pg_stat_statements")
        .await
        .unwrap();
    let leased = Beginning::Leased(Term::of(Duration::from_secs(60)));
    for number in 0..MESSAGES {
        let claim = store
            .insert(message(number as i64, &["a@x.example"]), leased.clone())
            .await
            .unwrap()
            .unwrap();
        let results = vec![delivered(&claim)];
        let finished = store.finish(results, Vec::new()).await.unwrap();
        assert_eq!(finished.removed.len(), 1);
    }
    let sql = format!("SELECT query FROM pg_stat_statements WHERE calls >= {MESSAGES}");
    let rows = client.query(&sql, &[]).await.unwrap();
    let asked: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let beginning = |word: &str| asked.iter().filter(|query| query.starts_with(word)).count();
    // In two or three round trips: whoever adds a statement adds to what each message costs a database that is busy.
    assert_eq!((beginning("BEGIN"), beginning("COMMIT")), (1, 1), "{asked:#?}");
    assert_eq!(beginning("SET LOCAL"), 4, "{asked:#?}");
    assert_eq!(asked.len(), 11, "{asked:#?}");
}
