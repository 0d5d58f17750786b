//! Two who each wait for what the other has: the database breaks one of them off, which does it again.

use super::cluster::Cluster;
use super::samples::{record, suspension};
use crate::QueueId;
use crate::conformance::message;
use crate::message::{Attempt, Beginning, Claim, Outcome, RecipientResult};
use crate::operator::{ApiToken, SuspensionKind, TokenAdded};
use crate::outbox::{CallOutcome, CallResult, NewCall, Outbox};
use crate::parking::Parking;
use crate::postgres::client::ONCE_MORE;
use crate::postgres::{PostgresStore, claim};
use crate::store::{Filter, Store, Term};
use jiff::Timestamp;
use smtp_directory::{Edit, Kind, Record, Shelf};
use smtp_history::{Addition, Archive, Old};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use ulid::Ulid;

/// What the store has in hand.
const TERM: Duration = Duration::from_secs(60);

/// A store, and others who use its database.
struct Stage {
    cluster: Cluster,
    store: Arc<PostgresStore>,
}

impl Stage {
    async fn new() -> Stage {
        let cluster = Cluster::start().await;
        let store = cluster.new_store().await;
        Stage { cluster, store }
    }

    /// Asks the store for something for which it waits until it is broken off: `row` is had by somebody, who then waits for `table`, of which the
    /// store has something. Gives what comes of it in the end.
    async fn broken_off<T>(&self, row: &str, table: &str, asked: impl Future<Output = T>) -> T {
        let somebody = self.cluster.client_of(&self.store).await;
        let looker = self.cluster.client_of(&self.store).await;
        // Whoever looks first for a deadlock that he is in is broken off: others do after a second.
        let begin = format!("SET deadlock_timeout = '60s'; BEGIN; {row}");
        somebody.batch_execute(&begin).await.unwrap();
        let number = somebody.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        let number: i32 = number.get(0);
        let others = async {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
            while looker
                .query_one(waiting, &[&number])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 0
            {
                sleep(Duration::from_millis(10)).await;
            }
            // Had while the row still is: so it was the store that gave way.
            let take = format!("LOCK TABLE {table}");
            somebody.batch_execute(&take).await.unwrap();
            somebody.batch_execute("COMMIT").await.unwrap();
        };
        let both = async { tokio::join!(asked, others).0 };
        let ended = timeout(Duration::from_secs(30), both).await;
        ended.unwrap_or_else(|_| panic!("{row}, then {table}: no end"))
    }

    /// A message that the store has in hand.
    async fn leased(&self) -> Claim {
        let leased = Beginning::Leased(Term::of(TERM));
        let new = message(0, &["a@x.example"]);
        self.store.insert(new, leased).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gave_way_is_done_again() {
    let stage = Stage::new().await;
    let (store, claim) = (&stage.store, stage.leased().await);
    let attempt = Attempt {
        message: claim.message.key,
        recipient: 0,
        epoch: claim.recipients[0].epoch,
    };
    // Statements that nobody else does again.
    let renewed = store.renew(vec![attempt], Term::of(TERM));
    let renewed = stage
        .broken_off("SELECT FROM recipients FOR UPDATE", "recipients", renewed)
        .await;
    assert!(renewed.unwrap().is_empty(), "no lease is lost");
    // A transaction of several, by a lane.
    let result = RecipientResult {
        attempt,
        outcome: Outcome::Delivered,
        text: String::new(),
        calls: vec![call()],
    };
    let finished = store.finish(vec![result], Vec::new());
    let finished = stage
        .broken_off("SELECT FROM messages FOR UPDATE", "lanes", finished)
        .await
        .unwrap();
    assert_eq!((finished.removed.len(), finished.fenced.len()), (1, 0));
    let waiting = store.calls_waiting().await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.calls).collect::<Vec<_>>(), [1]);
}

fn call() -> NewCall {
    NewCall {
        webhook: "told".into(),
        event: QueueId::generate(),
        body: "{}".into(),
    }
}

fn token(name: &str) -> ApiToken {
    ApiToken {
        name: name.into(),
        hash: [0; 32],
        scope: "read".into(),
        created: Timestamp::now(),
        created_by: "ann".into(),
        expires: None,
    }
}

fn domain(value: &str) -> Vec<Edit> {
    vec![Edit::Put(Record {
        kind: Kind::Domain,
        name: "x.example".into(),
        value: value.into(),
    })]
}

/// Forgets all history there is.
async fn forget(store: &PostgresStore) -> u64 {
    let history = store.history();
    let old = Old {
        ended_before: 2_000,
        lost_before: 0,
        max_size: 1 << 30,
    };
    let work = move || history.forget(&old).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// What the others want to change is there; where the store would wait for nothing by itself, a trigger of the database's has it wait.
async fn prepare(stage: &Stage) {
    let store = &stage.store;
    stage.leased().await;
    for name in ["old", "older"] {
        store.add_token(token(name)).await.unwrap();
    }
    store.suspend(suspension("x.example")).await.unwrap();
    store.apply(0, domain("{}")).await.unwrap();
    store.add_calls(vec![call()]).await.unwrap();
    let told = Addition {
        id: Ulid::from_parts(1_000, 1).to_string(),
        ended: Some(1_000),
        steps: "first\n".into(),
        ..Addition::default()
    };
    let history = store.history();
    let work = move || history.add(&[told]).unwrap();
    tokio::task::spawn_blocking(work).await.unwrap();
    let sql = "INSERT INTO audit (number, at, who, peer, action, target, touched) OVERRIDING SYSTEM VALUE VALUES (-1000000, 0, '', '', '', '', 0);
         CREATE TABLE elsewhere (); INSERT INTO elsewhere DEFAULT VALUES;
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM FROM elsewhere FOR UPDATE; RETURN NEW; END';
         CREATE TRIGGER wait BEFORE INSERT ON api_tokens FOR EACH ROW EXECUTE FUNCTION wait()";
    let client = stage.cluster.client_of(store).await;
    client.batch_execute(sql).await.unwrap();
}

/// Each transaction that does not go by a lane. Three portions, of which each takes as long as a database looks for a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_every_kind_are_done_again() {
    let stage = Stage::new().await;
    prepare(&stage).await;
    let (store, now) = (&stage.store, Timestamp::now());
    let suspensions = "SELECT FROM signals WHERE name = 'suspensions' FOR UPDATE";
    let (retried, suspended, audited, edited) = tokio::join!(
        stage.broken_off(
            "SELECT FROM messages FOR UPDATE",
            "recipients",
            store.retry(Filter::default(), now)
        ),
        stage.broken_off(suspensions, "suspensions", store.suspend(suspension("y.example"))),
        stage.broken_off(
            "SELECT FROM audit FOR UPDATE",
            "audit",
            store.audit(record("all"))
        ),
        stage.broken_off(
            "SELECT FROM directory_records FOR UPDATE",
            "directory",
            store.apply(1, domain("[]"))
        ),
    );
    assert_eq!(
        (retried.unwrap(), edited.unwrap()),
        (0, 2),
        "what is in hand is left alone"
    );
    assert!(suspended.unwrap());
    audited.unwrap();
    assert_eq!(store.audited(None, 10).await.unwrap().len(), 1, "once");
    let client = store.client().await.unwrap();
    let key = store.list(Filter::default(), None, 1).await.unwrap()[0]
        .message
        .key;
    claim::quarantine_all(&client, key, "spoilt").await.unwrap();
    drop(client);
    let parks = store.parks().await.unwrap();
    let (released, ended, removed, contents) = tokio::join!(
        stage.broken_off(
            "SELECT FROM messages FOR UPDATE",
            "messages",
            store.release(Filter::default(), now)
        ),
        stage.broken_off(
            suspensions,
            "suspensions",
            parks.end(SuspensionKind::Domain, "x.example")
        ),
        stage.broken_off(
            "SELECT FROM api_tokens FOR UPDATE",
            "api_tokens",
            store.remove_token("old".into())
        ),
        // As by a migration of both tables.
        stage.broken_off("LOCK TABLE directory_records", "directory", store.load()),
    );
    assert_eq!(released.unwrap().messages, 1);
    assert!(ended.unwrap() && removed.unwrap());
    let contents = contents.unwrap();
    assert_eq!((contents.revision, &*contents.records[0].value), (2, "[]"));
    let parked = "UPDATE recipients SET parked = true";
    let client = stage.cluster.client_of(store).await;
    client.batch_execute(parked).await.unwrap();
    let calls = store
        .claim_calls("told".into(), store.now(), TERM, 1)
        .await
        .unwrap();
    let taken = CallResult {
        key: calls[0].key,
        tries: calls[0].tries,
        outcome: CallOutcome::Done,
    };
    let (let_go, added, forgotten, finished) = tokio::join!(
        stage.broken_off(
            "SELECT FROM recipients FOR UPDATE",
            "recipients",
            parks.let_go(vec![(key, 0)], now)
        ),
        stage.broken_off(
            "SELECT FROM elsewhere FOR UPDATE",
            "api_tokens",
            store.add_token(token("new"))
        ),
        stage.broken_off("SELECT FROM history_size FOR UPDATE", "signals", forget(store)),
        stage.broken_off(
            "SELECT FROM webhook_calls FOR UPDATE",
            "webhook_calls",
            store.finish_calls(vec![taken])
        ),
    );
    assert_eq!((let_go.unwrap(), forgotten), (1, 1));
    assert_eq!(added.unwrap(), TokenAdded::Added);
    finished.unwrap();
    assert!(store.calls_waiting().await.unwrap().is_empty());
    not_for_ever(&stage).await;
}

/// What is broken off again and again is an error in the end, and nothing of it is left.
async fn not_for_ever(stage: &Stage) {
    let client = stage.cluster.client_of(&stage.store).await;
    for (times, comes) in [(ONCE_MORE, true), (ONCE_MORE + 1, false)] {
        let sql = format!(
            "DROP SEQUENCE IF EXISTS times; CREATE SEQUENCE times;
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('times') <= {times} THEN
                     RAISE EXCEPTION 'another one was first' USING ERRCODE = 'serialization_failure';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE OR REPLACE TRIGGER fail AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION fail()"
        );
        client.batch_execute(&sql).await.unwrap();
        let before = stage.store.audited(None, 10).await.unwrap().len();
        let audited = stage.store.audit(record("all")).await;
        assert_eq!(audited.is_ok(), comes, "broken off {times} times: {audited:?}");
        let stored = stage.store.audited(None, 10).await.unwrap().len() - before;
        assert_eq!(stored, usize::from(comes));
    }
}
