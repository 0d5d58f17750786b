//! Whatever a role or a database sets, a COMMIT that somebody is told of, or that says who delivers what, waits for the disk, and what is written after
//! a wait is written by what there is then.

use super::cluster::Cluster;
use super::samples::{record, suspension};
use crate::QueueId;
use crate::conformance::{attempts, delivered, due_now, ended, message};
use crate::message::{Beginning, Body, NewMessage, Outcome, RecipientResult};
use crate::operator::{ApiToken, SuspensionKind};
use crate::outbox::{CallOutcome, CallResult, NewCall, Outbox};
use crate::postgres::PostgresStore;
use crate::store::{Filter, Store, Term};
use jiff::{SignedDuration, Timestamp};
use smtp_directory::{Edit, Kind, Record, Shelf};
use std::sync::Arc;
use std::time::Duration;

/// Tables whose changes somebody is told of.
const TABLES: [&str; 9] = [
    "messages",
    "recipients",
    "suspensions",
    "audit",
    "api_tokens",
    "directory",
    "directory_records",
    "webhook_calls",
    "signals",
];

/// Changes that are one statement without a transaction around it: to them it is all the same what others committed meanwhile.
const ALONE: [&str; 2] = ["INSERT messages", "INSERT recipients"];

/// Notes at the COMMIT of each change whether it waits for the disk, and whether its transaction sees what others committed meanwhile.
fn noting() -> String {
    let noted = "CREATE TABLE noted (change text, waits text, level text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO noted VALUES (TG_OP || ' ' || TG_TABLE_NAME, current_setting('synchronous_commit'),
                 current_setting('transaction_isolation'));
             RETURN NULL;
         END $$;";
    let triggers = TABLES.map(|table| {
        format!(
            "CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table}
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();"
        )
    });
    noted.to_owned() + &triggers.concat()
}

/// Mail comes, is claimed, delivered at once or later, and with a word to a webhook.
pub(super) async fn deliver(store: &Arc<PostgresStore>, large: &std::path::Path) {
    let new = || message(0, &["a@x.example"]);
    let body = Body::file(large.to_owned(), 300_000);
    store
        .insert(NewMessage { body, ..new() }, Beginning::Due)
        .await
        .unwrap();
    for _ in 0..3 {
        store.insert(new(), Beginning::Due).await.unwrap();
    }
    let term = Term::of(Duration::from_secs(60));
    let leased = store
        .insert(new(), Beginning::Leased(term))
        .await
        .unwrap()
        .unwrap();
    store.finish(vec![delivered(&leased)], Vec::new()).await.unwrap();
    let claims = store.claim(due_now(100)).await.unwrap();
    assert_eq!(claims.len(), 4);
    let held = claims.iter().flat_map(attempts).collect();
    assert!(store.renew(held, term).await.unwrap().is_empty());
    let later = || Outcome::Deferred {
        due: Timestamp::now(),
        delay_notified: false,
    };
    let told = NewCall {
        webhook: "one".into(),
        event: QueueId::generate(),
        body: "{}".into(),
    };
    let results = [
        (0, Outcome::Bounced, Vec::new()),
        (1, later(), vec![told]),
        (2, later(), Vec::new()),
        (3, later(), Vec::new()),
    ];
    for (number, outcome, calls) in results {
        let reports = if number == 0 { vec![new()] } else { Vec::new() };
        let result = RecipientResult {
            calls,
            ..ended(&claims[number], outcome)
        };
        store.finish(vec![result], reports).await.unwrap();
    }
}

/// What operators do to mail.
pub(super) async fn operate(store: &Arc<PostgresStore>, client: &tokio_postgres::Client) {
    let (all, now) = (Filter::default, Timestamp::now());
    assert_eq!(store.hold(all()).await.unwrap(), 4);
    assert_eq!(store.unhold(all(), now).await.unwrap(), 4);
    assert_eq!(store.retry(all(), now).await.unwrap(), 4);
    assert!(store.suspend(suspension("x.example")).await.unwrap());
    let new = message(0, &["b@x.example"]);
    store.insert(new, Beginning::Parked(now)).await.unwrap();
    let resumed = store
        .resume(SuspensionKind::Domain, "x.example".into(), now)
        .await;
    assert_eq!(resumed.unwrap(), Some(1));
    // What cannot be read is set aside as it is claimed, or as its content is asked for; and read again.
    let (claims, _) = store.claim_selected(all(), None, due_now(100)).await.unwrap();
    assert_eq!(claims.len(), 5);
    client
        .batch_execute("UPDATE messages SET content = NULL")
        .await
        .unwrap();
    assert!(store.body(&claims[1].message).await.is_err());
    client
        .batch_execute("UPDATE recipients SET due = 0, state = 0; UPDATE recipients SET address = 'none' WHERE message = (SELECT min(message) FROM recipients)")
        .await
        .unwrap();
    store.claim(due_now(100)).await.unwrap();
    store.release(all(), now).await.unwrap();
    assert_eq!(store.delete(all()).await.unwrap(), 5);
}

/// What operators do besides.
pub(super) async fn administrate(store: &Arc<PostgresStore>) {
    let now = Timestamp::now();
    store.audit(record("all")).await.unwrap();
    let token = ApiToken {
        name: "night".into(),
        hash: [0; 32],
        scope: "read".into(),
        created: now,
        created_by: "ann".into(),
        expires: None,
    };
    store.add_token(token).await.unwrap();
    assert!(store.remove_token("night".into()).await.unwrap());
    let put = Edit::Put(Record {
        kind: Kind::Domain,
        name: "x.example".into(),
        value: "{}".into(),
    });
    let revision = store.apply(0, vec![put]).await.unwrap();
    let delete = Edit::Delete(Kind::Domain, "x.example".into());
    store.apply(revision, vec![delete]).await.unwrap();
    assert_eq!(store.ask_all_to_reload().await.unwrap(), 1);
}

/// What webhooks are to be told comes from another store, is made due, and goes. Claims of it need not be on the disk: there are none.
pub(super) async fn tell(store: &Arc<PostgresStore>, client: &tokio_postgres::Client) {
    let moved = NewCall {
        webhook: "two".into(),
        event: QueueId::generate(),
        body: "{}".into(),
    };
    store.add_calls(vec![moved]).await.unwrap();
    let before = store.now() - SignedDuration::from_secs(60);
    assert_eq!(store.retry_calls("two".into(), before).await.unwrap(), 1);
    let key = "SELECT key FROM webhook_calls WHERE webhook = 'two'";
    let result = CallResult {
        key: client.query_one(key, &[]).await.unwrap().get(0),
        tries: 0,
        outcome: CallOutcome::Done,
    };
    store.finish_calls(vec![result]).await.unwrap();
    assert_eq!(store.calls_waiting().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_is_told_of_is_on_the_disk_whatever_is_set() {
    let cluster = Cluster::start().await;
    let large = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(large.path(), vec![b'x'; 300_000]).unwrap();
    // What waits longer than it must is left.
    for (set, expected) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let store = cluster.new_store().await;
        let (database, client) = (cluster.database_of(&store), cluster.client_of(&store).await);
        client.batch_execute(&noting()).await.unwrap();
        let sql = format!(
            "ALTER DATABASE {database} SET synchronous_commit = '{set}';
             ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'"
        );
        client.batch_execute(&sql).await.unwrap();
        // Nothing is noted of what the test itself changes.
        client
            .batch_execute("SET session_replication_role = replica")
            .await
            .unwrap();
        // A connection has what was set when it began.
        store.close().await.unwrap();
        let store = cluster.open(database).await;
        deliver(&store, large.path()).await;
        operate(&store, &client).await;
        administrate(&store).await;
        tell(&store, &client).await;
        let noted = client
            .query(
                "SELECT change, string_agg(DISTINCT waits, ' ') FROM noted GROUP BY change ORDER BY change",
                &[],
            )
            .await
            .unwrap();
        let noted: Vec<(String, String)> = noted.iter().map(|row| (row.get(0), row.get(1))).collect();
        for table in TABLES {
            let seen = noted
                .iter()
                .filter(|(change, _)| change.ends_with(&format!(" {table}")));
            assert!(seen.count() > 0, "nothing was changed in {table}");
        }
        let otherwise: Vec<_> = noted.iter().filter(|(_, waits)| waits != expected).collect();
        assert!(otherwise.is_empty(), "with {set}: {otherwise:?}");
        assert_eq!(noted.len(), 17, "{noted:?}");
        let sql = "SELECT DISTINCT change FROM noted WHERE level <> 'read committed' ORDER BY change";
        let blind = client.query(sql, &[]).await.unwrap();
        let blind: Vec<String> = blind.iter().map(|row| row.get(0)).collect();
        assert_eq!(
            blind, ALONE,
            "they see nothing of what others committed since they began"
        );
        store.close().await.unwrap();
    }
}
