//! What another session is just changing a claim passes over: it gets the rest, and does not wait.

use super::cluster::Cluster;
use crate::conformance::{due_now, message};
use crate::message::{Beginning, Claim};
use crate::postgres::PostgresStore;
use crate::store::{Filter, Store};
use std::sync::Arc;

/// Has the rows of the first two recipients, until its transaction ends.
const HOLDING: &str = "BEGIN; SELECT FROM recipients WHERE message IN (SELECT key FROM messages ORDER BY key LIMIT 2) FOR UPDATE";

async fn what_is_due(store: Arc<PostgresStore>) -> Vec<Claim> {
    store.claim(due_now(10)).await.unwrap()
}

async fn what_is_selected(store: Arc<PostgresStore>) -> Vec<Claim> {
    let selected = store.claim_selected(Filter::default(), None, due_now(10));
    selected.await.unwrap().0
}

/// Claims once while another session has the first two of four recipients, and once after that.
async fn claims_the_rest<F>(cluster: &Cluster, claim: impl Fn(Arc<PostgresStore>) -> F)
where
    F: Future<Output = Vec<Claim>>,
{
    let store = cluster.new_store().await;
    let mut ids = Vec::new();
    for number in 0..4 {
        let new = message(number, &["a@x.example"]);
        ids.push(new.id);
        store.insert(new, Beginning::Due).await.unwrap();
    }
    let claimed = async || {
        let claims = claim(store.clone()).await;
        claims.iter().map(|claim| claim.message.id).collect::<Vec<_>>()
    };
    let other = cluster.client_of(&store).await;
    other.batch_execute(HOLDING).await.unwrap();
    // One that waited would get nothing: the other does not let go before it is answered.
    assert_eq!(claimed().await, ids[2..]);
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(claimed().await, ids[..2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_passes_over_what_another_is_changing() {
    let cluster = Cluster::start().await;
    claims_the_rest(&cluster, what_is_due).await;
    claims_the_rest(&cluster, what_is_selected).await;
}
