//! Which of what is due a server claims first, beside another.

use super::cluster::Cluster;
use crate::conformance::due_now;
use crate::postgres::PostgresStore;
use crate::store::Store;
use std::collections::BTreeSet;

/// Recipients of each domain.
const EACH: usize = 64;

async fn fill(client: &tokio_postgres::Client) {
    let sql = format!(
        "WITH new AS (
             INSERT INTO messages (key, id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, origin, content)
             SELECT nextval('message_keys'), uuid_send(gen_random_uuid()), 0, 'a@x.test', 3, 0, false, false, false, 'test', 'x'
             FROM generate_series(1, {EACH} * 8) RETURNING key)
         INSERT INTO recipients (message, idx, address, domain, state, attempts, due, epoch, delay_notified, parked)
         SELECT key, 0, 'b@y' || key % 8 || '.test', 'y' || key % 8 || '.test', 0, 0, 1000000, 0, false, false FROM new"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// The domains of as many recipients as two have; nothing of it stays claimed.
async fn first_two(store: &PostgresStore, client: &tokio_postgres::Client) -> BTreeSet<String> {
    let claims = store.claim(due_now(2 * EACH)).await.unwrap();
    assert_eq!(claims.len(), 2 * EACH);
    let back = "UPDATE recipients SET state = 0, owner = NULL, due = 1000000 WHERE state = 1";
    client.batch_execute(back).await.unwrap();
    let domain = |claim: &crate::message::Claim| claim.recipients[0].recipient.address.domain().to_string();
    claims.iter().map(domain).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_two_servers_begins_with_other_domains_unless_one_waits_longer() {
    let cluster = Cluster::start().await;
    let one = cluster.new_store().await;
    let other = cluster.open(cluster.database_of(&one)).await;
    let client = cluster.client_of(&one).await;
    fill(&client).await;
    let (first, second) = (first_two(&one, &client).await, first_two(&other, &client).await);
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    assert_eq!((first.len(), second.len()), (2, 2));
    // Half a minute is too long to be passed over.
    let longest = first.first().unwrap();
    let wait = format!("UPDATE recipients SET due = due - 30000 WHERE domain = '{longest}'");
    client.batch_execute(&wait).await.unwrap();
    assert!(first_two(&other, &client).await.contains(longest));
    // Alone, it prefers none.
    one.close().await.unwrap();
    let names = (0..8)
        .map(|n| format!("y{n}.test"))
        .filter(|name| name != longest);
    let expected: BTreeSet<String> = names.take(1).chain([longest.clone()]).collect();
    assert_eq!(first_two(&other, &client).await, expected);
}
