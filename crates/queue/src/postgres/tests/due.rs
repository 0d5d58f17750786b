//! What is due is found and counted cheaply: in an index alone, whatever waits behind it, and whatever the planner believes of the table.

use super::cluster::Cluster;
use crate::postgres::claim::due_sql;
use crate::postgres::client::BY_KEYS;
use crate::postgres::due::COUNT;
use crate::postgres::pulse::look_sql;
use crate::postgres::read::next_due_sql;
use crate::store::Store;
use tokio_postgres::SimpleQueryMessage;

/// Recipients that are due, so many, and one that is not.
fn waiting(due: u32) -> String {
    format!(
        "INSERT INTO recipients (message, idx, address, domain, state, attempts, due, epoch, delay_notified, parked)
         SELECT g, 0, 'a@x.example', 'x.example', g % 2 * 2, 1, CASE WHEN g = 0 THEN 9000000000000 ELSE g END, 1, false, false
         FROM generate_series(0, {due}) AS g"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_that_are_due_are_counted_each_time_and_many_are_not() {
    let cluster = Cluster::start().await;
    for (due, then) in [(4_999, 0), (5_000, 5_000), (60_000, 50_000)] {
        let store = cluster.new_store().await;
        let client = cluster.client_of(&store).await;
        client.batch_execute(&waiting(due)).await.unwrap();
        assert_eq!(store.stats().await.unwrap().due, u64::from(due.min(50_000)));
        client.batch_execute("DELETE FROM recipients").await.unwrap();
        assert_eq!(store.stats().await.unwrap().due, then, "of {due}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_ends_where_enough_is_known_whatever_the_planner_believes() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    client
        .batch_execute("ALTER TABLE recipients SET (autovacuum_enabled = false)")
        .await
        .unwrap();
    let planned = async || {
        let sql = COUNT.replace("$1", "1900000000000").replace("$2", "50000");
        let rows = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        lines.join("\n")
    };
    let ends =
        |plan: &str| plan.contains("Index Only Scan using recipients_unclaimed") && !plan.contains("Sort");
    client.batch_execute(&waiting(200_000)).await.unwrap();
    let unknown = planned().await;
    client.batch_execute("VACUUM ANALYZE recipients").await.unwrap();
    let known = planned().await;
    assert!(ends(&unknown) && ends(&known), "{unknown}\n{known}");
}

/// A statement's plan, a line each.
async fn plan(client: &tokio_postgres::Client, explain: &str) -> Vec<String> {
    let rows = client.simple_query(explain).await.unwrap();
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().filter_map(line).collect()
}

/// Of a plan the lines about a part of it, which a CTE is or a subquery.
fn part<'p>(plan: &'p [String], name: &str) -> Vec<&'p str> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let begin = plan.iter().position(|line| line.trim_start().starts_with(name));
    let begin = begin.unwrap_or_else(|| panic!("no {name} in {plan:#?}"));
    let inside = plan[begin + 1..]
        .iter()
        .take_while(|line| depth(line) > depth(&plan[begin]));
    inside.map(String::as_str).collect()
}

/// What a claim asks is planned, as it is asked: prepared, in a transaction that finds its rows by their keys.
async fn plan_of_claim(client: &tokio_postgres::Client, ended_too: bool, explain: &str) -> Vec<String> {
    let prepare = format!("DEALLOCATE ALL; PREPARE claim AS {}", due_sql(ended_too));
    client.batch_execute(&prepare).await.unwrap();
    client.batch_execute(BY_KEYS).await.unwrap();
    let execute =
        "EXECUTE claim (NULL, '{}', 500, 60000, '00000000-0000-0000-0000-000000000001', 2000, 16384)";
    let plan = plan(client, &format!("{explain} {execute}")).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_next_is_found_in_an_index_alone() {
    let cluster = Cluster::start().await;
    let store = cluster.new_store().await;
    let client = cluster.client_of(&store).await;
    // Nobody claims anything meanwhile, or keeps what is dead alive.
    store.close().await.unwrap();
    client
        .batch_execute("ALTER TABLE recipients SET (autovacuum_enabled = false)")
        .await
        .unwrap();
    client.batch_execute(&waiting(100_000)).await.unwrap();
    // Most of what waits is not due.
    client
        .batch_execute("UPDATE recipients SET due = 9000000000000 WHERE message > 10000")
        .await
        .unwrap();
    for known in [false, true] {
        if known {
            client.batch_execute("VACUUM ANALYZE recipients").await.unwrap();
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let set = format!("SET plan_cache_mode = {mode}");
            client.batch_execute(&set).await.unwrap();
            for (ended_too, index) in [
                (true, "Index Only Scan using recipients_due"),
                (false, "Index Scan using recipients_unclaimed"),
            ] {
                let plan = plan_of_claim(&client, ended_too, "EXPLAIN").await;
                let next = part(&plan, "CTE next").join("\n");
                assert!(
                    next.contains(index) && !next.contains("Sort"),
                    "{mode}, known: {known}\n{next}"
                );
                // Nor is anything behind it read whole.
                assert!(!plan.iter().any(|line| line.contains("Seq Scan on")), "{plan:#?}");
            }
        }
        for (unclaimed, index) in [(false, "recipients_due"), (true, "recipients_unclaimed")] {
            let plan = plan(&client, &format!("EXPLAIN {}", next_due_sql(unclaimed)))
                .await
                .join("\n");
            let scan = format!("Index Only Scan using {index}");
            assert!(
                plan.contains(&scan) && !plan.contains("Sort"),
                "known: {known}\n{plan}"
            );
        }
        let look = look_sql().replace("$1", "60000::bigint");
        let look = plan(&client, &format!("EXPLAIN {look}")).await.join("\n");
        assert!(
            look.contains("Index Only Scan using recipients_unclaimed") && !look.contains("Sort"),
            "known: {known}\n{look}"
        );
    }
    // The rows of the table are not looked at for that; and of what is due a claim finds as much as it was told to, as docs/postgresql.md shows.
    let analyse = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)";
    let first = plan(&client, &format!("{analyse} {}", next_due_sql(false)))
        .await
        .join("\n");
    assert!(
        first.contains("rows=1 ") && first.contains("Heap Fetches: 0"),
        "{first}"
    );
    let claim = plan_of_claim(&client, true, analyse).await;
    let next = part(&claim, "CTE next").join("\n");
    assert!(
        next.contains("rows=2000 ")
            && next.contains("Index Cond: (due <= ")
            && next.contains("Heap Fetches: 0"),
        "{next}"
    );
    // Of that it looks up what it takes, and no more.
    let locked = part(&claim, "CTE locked").join("\n");
    let looked_up = "Index Scan using recipients_pkey on recipients r_2 (actual rows=1 loops=500)";
    assert!(
        locked.contains(looked_up) && locked.contains("LockRows (actual rows=1 loops=500)"),
        "{locked}"
    );
}
