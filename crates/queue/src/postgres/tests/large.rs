//! Large contents without a message: whoever gave it up, and however, nothing of them stays.

use super::cluster::Cluster;
use crate::conformance::message;
use crate::message::{Attempt, Beginning, Body, Claim, NewMessage, Outcome, RecipientResult};
use crate::postgres::{PostgresStore, bodies, pulse};
use crate::store::{ClaimRequest, Filter, Store, StoreError, Term};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A store, its database, and a large content. What is stored in pieces is noted, so that a test knows that there was something to remove.
struct Scene {
    _cluster: Cluster,
    store: Arc<PostgresStore>,
    client: tokio_postgres::Client,
    /// Holds tables. Within one transaction all that it could see is as it was when it looked first.
    holder: tokio_postgres::Client,
    content: tempfile::NamedTempFile,
}

/// More than a piece.
const SIZE: usize = 400 << 10;

impl Scene {
    async fn new() -> Scene {
        let cluster = Cluster::start().await;
        let store = cluster.new_store().await;
        let client = cluster.client_of(&store).await;
        let noted = "CREATE TABLE noted (octets bigint);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO noted VALUES (octet_length(NEW.content)); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT ON bodies FOR EACH ROW EXECUTE FUNCTION note()";
        client.batch_execute(noted).await.unwrap();
        let content = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(content.path(), vec![b'x'; SIZE]).unwrap();
        Scene {
            holder: cluster.client_of(&store).await,
            _cluster: cluster,
            store,
            client,
            content,
        }
    }

    fn large(&self) -> NewMessage {
        NewMessage {
            body: Body::file(self.content.path().to_owned(), SIZE as u64),
            ..message(0, &["large@x.example"])
        }
    }

    async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Waits until a question is answered with more than nothing.
    async fn until(&self, what: &str, sql: &str) {
        for _ in 0..200 {
            if self.number(sql).await > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited in vain for {what}");
    }

    /// A server stores something of it and waits for a lock.
    async fn until_it_waits(&self, statement: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{statement}%' AND pid <> pg_backend_pid()"
        );
        self.until(&format!("{statement} to wait"), &sql).await;
    }

    async fn until_nothing_stays(&self) {
        let sql =
            "SELECT (NOT EXISTS (SELECT 1 FROM uploads) AND NOT EXISTS (SELECT 1 FROM bodies))::int::bigint";
        self.until("contents without a message to go", sql).await;
    }

    async fn noted(&self) -> i64 {
        self.number("SELECT coalesce(sum(octets), 0)::bigint FROM noted")
            .await
    }

    /// Holds a table until [`Scene::let_go`].
    async fn hold(&self, table: &str) {
        let sql = format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE");
        self.holder.batch_execute(&sql).await.unwrap();
    }

    async fn let_go(&self) {
        self.holder.batch_execute("COMMIT").await.unwrap();
    }

    /// Stores the large message, by a task of its own.
    fn insert(&self) -> JoinHandle<Result<Option<Claim>, StoreError>> {
        let (store, message) = (self.store.clone(), self.large());
        tokio::spawn(async move { store.insert(message, Beginning::Due).await })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_report_whose_results_are_refused_nothing_stays() {
    let scene = Scene::new().await;
    scene
        .store
        .insert(message(0, &["a@x.example"]), Beginning::Due)
        .await
        .unwrap();
    let request = ClaimRequest {
        lease: Term::of(Duration::from_secs(60)),
        limit: 1,
        exclude_domains: Vec::new(),
    };
    let claims = scene.store.claim(request).await.unwrap();
    let result = |text: &str| RecipientResult {
        attempt: Attempt {
            message: claims[0].message.key,
            recipient: 0,
            epoch: claims[0].recipients[0].epoch,
        },
        outcome: Outcome::Deferred {
            due: Timestamp::now(),
            delay_notified: true,
        },
        text: text.into(),
        calls: Vec::new(),
    };
    let refusing = "ALTER TABLE recipients ADD CONSTRAINT refused CHECK (last_result <> 'refused')";
    scene.client.batch_execute(refusing).await.unwrap();
    let refused = scene
        .store
        .finish(vec![result("refused")], vec![scene.large()])
        .await;
    assert!(refused.unwrap_err().to_string().contains("refused"));
    assert_eq!(scene.noted().await, SIZE as i64);
    scene.until_nothing_stays().await;
    // Of one that is taken everything does.
    let taken = scene.large();
    let id = taken.id;
    scene
        .store
        .finish(vec![result("taken")], vec![taken])
        .await
        .unwrap();
    scene
        .until(
            "the keys to be looked at",
            "SELECT (NOT EXISTS (SELECT 1 FROM uploads))::int::bigint",
        )
        .await;
    assert!(scene.store.show(id).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        scene
            .number("SELECT sum(octet_length(content)) FROM bodies")
            .await,
        SIZE as i64
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_upload_whose_caller_went_away_nothing_stays() {
    let scene = Scene::new().await;
    scene.hold("bodies").await;
    let inserting = scene.insert();
    scene.until_it_waits("INTO bodies").await;
    inserting.abort();
    assert!(inserting.await.unwrap_err().is_cancelled());
    scene
        .until("the upload to be there", "SELECT count(*) FROM uploads")
        .await;
    scene.let_go().await;
    scene.until_nothing_stays().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_message_that_is_refused_when_its_caller_is_gone_nothing_stays() {
    let scene = Scene::new().await;
    scene.hold("messages").await;
    let inserting = scene.insert();
    // Its words go further than what is shown of it.
    scene.until_it_waits("WITH lane AS").await;
    inserting.abort();
    assert!(inserting.await.unwrap_err().is_cancelled());
    let refusing = "ALTER TABLE messages ADD CONSTRAINT refused CHECK (sender = 'nobody')";
    scene.holder.batch_execute(refusing).await.unwrap();
    scene.let_go().await;
    assert_eq!(scene.noted().await, SIZE as i64);
    scene.until_nothing_stays().await;
    assert_eq!(scene.store.stats().await.unwrap().messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_upload_of_a_server_that_was_thought_dead_nothing_stays() {
    let scene = Scene::new().await;
    scene.hold("bodies").await;
    let inserting = scene.insert();
    scene.until_it_waits("INTO bodies").await;
    let buried = scene.client.execute("DELETE FROM uploads", &[]).await.unwrap();
    assert_eq!(buried, 1);
    scene.let_go().await;
    let refused = inserting.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("thought dead"), "{refused}");
    scene.until_nothing_stays().await;
    // The next one is stored.
    scene.insert().await.unwrap().unwrap();
    assert_eq!(scene.store.stats().await.unwrap().messages, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_that_comes_late_goes_with_the_rest() {
    let scene = Scene::new().await;
    // It is written, and not committed: nobody else sees it. That nobody waits for it any more it does not hear.
    let waiting = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN
                 LOOP
                     BEGIN PERFORM pg_advisory_xact_lock(1); EXIT; EXCEPTION WHEN query_canceled THEN NULL; END;
                 END LOOP;
                 RETURN NULL;
             END $$;
         CREATE TRIGGER wait AFTER INSERT ON bodies FOR EACH ROW EXECUTE FUNCTION wait()";
    scene.client.batch_execute(waiting).await.unwrap();
    let holding = "BEGIN; SELECT pg_advisory_xact_lock(1)";
    scene.holder.batch_execute(holding).await.unwrap();
    let inserting = scene.insert();
    scene.until_it_waits("INTO bodies").await;
    inserting.abort();
    assert!(inserting.await.unwrap_err().is_cancelled());
    // Whoever removes it waits for it, and does not say that there is nothing.
    let removing = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM uploads%')
                         + (NOT EXISTS (SELECT 1 FROM uploads))::int::bigint";
    scene.until("somebody to remove it", removing).await;
    scene.let_go().await;
    scene
        .until("the piece", "SELECT (count(*) > 0)::int::bigint FROM noted")
        .await;
    scene.until_nothing_stays().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_pieces_were_swept_is_not_stored() {
    let scene = Scene::new().await;
    scene.hold("messages").await;
    let inserting = scene.insert();
    scene.until_it_waits("WITH lane AS").await;
    // Another server thinks that this one is dead.
    scene
        .client
        .batch_execute("BEGIN; DELETE FROM uploads; DELETE FROM bodies; COMMIT")
        .await
        .unwrap();
    scene.let_go().await;
    let refused = inserting.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("thought dead"), "{refused}");
    assert_eq!(scene.store.stats().await.unwrap().messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_mail_does_not_wait_for_large_mail() {
    let scene = Scene::new().await;
    scene.hold("bodies").await;
    // More of them than there are connections.
    let inserting: Vec<_> = (0..10).map(|_| scene.insert()).collect();
    scene.until_it_waits("INTO bodies").await;
    for _ in 0..20 {
        let small = scene.store.insert(message(0, &["a@x.example"]), Beginning::Due);
        assert!(small.await.unwrap().is_none());
    }
    assert!(inserting.iter().all(|one| !one.is_finished()));
    scene.let_go().await;
    for one in inserting {
        one.await.unwrap().unwrap();
    }
    // Out again, all at once.
    let request = ClaimRequest {
        lease: Term::of(Duration::from_secs(60)),
        limit: 100,
        exclude_domains: Vec::new(),
    };
    let claims = scene.store.claim(request).await.unwrap();
    let large = claims.iter().filter(|claim| claim.message.size == SIZE as u64);
    let bodies = large.map(|claim| scene.store.body(&claim.message));
    let bodies = futures_util::future::join_all(bodies).await;
    assert_eq!(bodies.len(), 10);
    assert!(
        bodies
            .iter()
            .all(|body| body.as_ref().is_ok_and(|body| body.size() == SIZE as u64))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_message_that_goes_while_it_is_read_nobody_gets_a_part() {
    let scene = Scene::new().await;
    let store = &scene.store;
    scene.insert().await.unwrap().unwrap();
    let request = ClaimRequest {
        lease: Term::of(Duration::from_secs(60)),
        limit: 1,
        exclude_domains: Vec::new(),
    };
    let message = store.claim(request).await.unwrap().remove(0).message;
    // It was found whole. Then an operator deletes it: before a piece was read, and after one.
    for gone in ["number > 0", "true"] {
        let deleted = format!("DELETE FROM bodies WHERE {gone}");
        assert_eq!(scene.client.execute(&*deleted, &[]).await.unwrap(), 1);
        let read = bodies::download(&store.shop, &store.spool, &message).await;
        let reason = read.unwrap_err().to_string();
        assert!(reason.contains("not in the queue any more"), "{reason}");
    }
    assert_eq!(store.spool.scratch_used(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_known_rows_find_them_by_key() {
    let scene = Scene::new().await;
    // The planner does not know better of a table that was never looked at: what each change is planned with is noted.
    let noting = "CREATE TABLE planned (how text);
         CREATE FUNCTION plan() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO planned VALUES (current_setting('enable_seqscan')); RETURN NULL; END $$;
         CREATE TRIGGER plan AFTER UPDATE ON recipients FOR EACH STATEMENT EXECUTE FUNCTION plan()";
    scene.client.batch_execute(noting).await.unwrap();
    scene
        .store
        .insert(message(0, &["a@x.example"]), Beginning::Due)
        .await
        .unwrap();
    let now = Timestamp::now();
    let all = Filter::default;
    assert_eq!(scene.store.hold(all()).await.unwrap(), 1);
    assert_eq!(scene.store.unhold(all(), now).await.unwrap(), 1);
    assert_eq!(scene.store.retry(all(), now).await.unwrap(), 1);
    let request = ClaimRequest {
        lease: Term::of(Duration::from_secs(60)),
        limit: 10,
        exclude_domains: Vec::new(),
    };
    let (claims, _) = scene.store.claim_selected(all(), None, request).await.unwrap();
    assert_eq!(claims.len(), 1);
    let off = scene
        .number("SELECT count(*) FROM planned WHERE how = 'off'")
        .await;
    let on = scene
        .number("SELECT count(*) FROM planned WHERE how = 'on'")
        .await;
    assert_eq!((off, on), (4, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_something_is_due_is_seen_in_an_index_however_much_waits() {
    let scene = Scene::new().await;
    let planned = async || {
        let sql = pulse::look_sql().replace("$1", "0");
        let rows = scene.client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        lines.join("\n")
    };
    let by_index =
        |plan: &str| plan.contains("using recipients_unclaimed") && !plan.contains("Seq Scan on recipients");
    // Also with a plan that is made before there is anything, and kept.
    let empty = planned().await;
    assert!(by_index(&empty), "{empty}");
    let waiting = "INSERT INTO recipients (message, idx, address, domain, state, attempts, due, epoch, delay_notified, parked)
         SELECT g, 0, 'a@x.example', 'x.example', 2, 1, 9000000000000 + g, 1, false, false FROM generate_series(1, 50000) AS g";
    scene.client.batch_execute(waiting).await.unwrap();
    let unknown = planned().await;
    scene
        .client
        .batch_execute("VACUUM ANALYZE recipients")
        .await
        .unwrap();
    let known = planned().await;
    assert!(by_index(&unknown) && by_index(&known), "{unknown}\n{known}");
}
