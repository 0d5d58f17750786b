//! Migrations only add: what a server of the version before asks, writes and relies on is there after each of them, and nothing new stands in its
//! way.

use super::cluster::Cluster;
use crate::postgres::schema::MIGRATIONS;
use std::collections::BTreeSet;

/// What the version before may use, a line each; none of it may go. Places of columns too: `INSERT INTO figures SELECT …` goes by them.
const THERE: &str = "
    SELECT format('%s %s', CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, relname) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S', 'v')
    UNION ALL SELECT format('%s.%s, %s, at %s', c.relname, attname, format_type(atttypid, atttypmod), attnum)
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT format('%s.%s may be null', c.relname, attname) FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped AND NOT attnotnull
    UNION ALL SELECT format('%s.%s has a default', c.relname, attname) FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND (atthasdef OR attidentity <> '')
    UNION ALL SELECT format('%s: %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT format('function %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s: trigger %s', tgrelid::regclass, tgname) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
    UNION ALL SELECT format('signal %s', name) FROM signals";

/// What can keep it from writing into a table: the table, and a line. None of it may come to a table that was there.
const HINDERS: &str = "
    SELECT c.relname, format('%s.%s has no default and may not be null', c.relname, attname)
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND attnotnull AND NOT atthasdef AND attidentity = ''
    UNION ALL SELECT conrelid::regclass::name, format('%s: %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'u', 'p', 'f', 'x')
    UNION ALL SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE %'
    UNION ALL SELECT tgrelid::regclass::name, format('trigger %s before %s', tgname, tgrelid::regclass) FROM pg_trigger
        WHERE NOT tgisinternal AND tgtype & 66 <> 0";

/// What went with a version because nothing of the version before uses it any more: the version, and the line of [`THERE`].
const GONE: [(usize, &str); 0] = [];

/// Those of the version after this one, as tests of rolling updates have it. The second takes the wrong way round.
const NEXT: [&str; 2] = [
    include_str!("../../../../../tests/next/src/first.sql"),
    include_str!("../../../../../tests/next/src/second.sql"),
];

/// The order in which a server's transactions use these tables. A migration that changes several keeps to it: else each holds what the other waits
/// for, until the database breaks one of them off.
const ORDER: [&str; 8] = [
    "servers",
    "lanes",
    "uploads",
    "messages",
    "recipients",
    "webhook_calls",
    "bodies",
    "figures",
];

/// The table that a statement keeps servers from, if it is one of [`ORDER`]: its place. Parameters of storage can be set beside them.
fn place(statement: &str) -> Option<usize> {
    let lines = statement
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let table = match words.as_slice() {
        ["ALTER", "TABLE", _, "SET", parameters, ..] if parameters.starts_with('(') => return None,
        ["ALTER", "TABLE", table, ..] => table,
        ["CREATE", rest @ ..] if rest.iter().any(|word| ["INDEX", "TRIGGER"].contains(word)) => {
            rest.iter().skip_while(|word| **word != "ON").nth(1)?
        }
        _ => return None,
    };
    ORDER.iter().position(|one| one == table)
}

fn is_in_order(sql: &str) -> bool {
    sql.split(';').filter_map(place).is_sorted()
}

#[test]
fn migrations_take_tables_in_the_order_of_servers() {
    // The first makes all of them.
    for (version, sql) in (1..).zip(MIGRATIONS).skip(1) {
        assert!(is_in_order(sql), "version {version}");
    }
    assert!(is_in_order(NEXT[0]) && !is_in_order(NEXT[1]));
    let index = "CREATE INDEX x ON recipients (due);\n-- Then\nCREATE INDEX y ON messages (id)";
    assert!(!is_in_order(index));
}

/// A schema.
#[derive(Default)]
struct Shape {
    there: BTreeSet<String>,
    hinders: BTreeSet<(String, String)>,
}

impl Shape {
    async fn of(client: &tokio_postgres::Client) -> Shape {
        let there = format!("SELECT l FROM ({THERE}) AS t (l)");
        let there = client.query(&there, &[]).await.unwrap();
        let hinders = format!("SELECT t::text, l FROM ({HINDERS}) AS h (t, l)");
        let hinders = client.query(&hinders, &[]).await.unwrap();
        Shape {
            there: there.iter().map(|row| row.get(0)).collect(),
            hinders: hinders.iter().map(|row| (row.get(0), row.get(1))).collect(),
        }
    }

    /// What a server that knows this one misses in the next, or stumbles over.
    fn broken_by(&self, next: &Shape) -> Vec<String> {
        let missing = self.there.difference(&next.there).cloned();
        let was_there = |table: &str| self.there.contains(&format!("table {table}"));
        let new = next.hinders.difference(&self.hinders);
        let hinders = new.filter(|(table, _)| was_there(table));
        missing.chain(hinders.map(|(_, line)| line.clone())).collect()
    }
}

/// A database as a version made it.
async fn at_version(cluster: &Cluster, version: usize) -> tokio_postgres::Client {
    let name = format!("version{version}");
    cluster.sql("postgres", &format!("CREATE DATABASE {name}")).await;
    let client = cluster.client(&name).await;
    for sql in &MIGRATIONS[..version] {
        client.batch_execute(sql).await.unwrap();
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_takes_nothing_from_the_version_before() {
    let cluster = Cluster::start().await;
    let client = at_version(&cluster, 1).await;
    let mut before = Shape::of(&client).await;
    assert!(before.there.len() > 150 && before.hinders.len() > 50);
    for (version, sql) in (1..).zip(MIGRATIONS).skip(1) {
        client.batch_execute(sql).await.unwrap();
        let after = Shape::of(&client).await;
        let mut broken = before.broken_by(&after);
        broken.retain(|line| !GONE.contains(&(version, line)));
        assert!(broken.is_empty(), "version {version}: {broken:#?}");
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_break_the_version_before_is_seen() {
    let cluster = Cluster::start().await;
    let client = at_version(&cluster, MIGRATIONS.len()).await;
    let before = Shape::of(&client).await;
    for (sql, seen) in [
        ("DROP TABLE audit", "table audit"),
        (
            "ALTER TABLE servers DROP COLUMN draining",
            "servers.draining, boolean, at 6",
        ),
        (
            "ALTER TABLE messages RENAME COLUMN envid TO envelope",
            "messages.envid, text",
        ),
        (
            "ALTER TABLE recipients ALTER COLUMN idx TYPE bigint",
            "recipients.idx, integer",
        ),
        (
            "ALTER TABLE history ALTER COLUMN sender SET NOT NULL",
            "history.sender may be null",
        ),
        (
            "ALTER TABLE servers ALTER COLUMN version DROP DEFAULT",
            "servers.version has a default",
        ),
        (
            "ALTER TABLE messages ADD COLUMN kind text NOT NULL",
            "messages.kind has no default",
        ),
        (
            "ALTER TABLE recipients ADD CHECK (attempts < 9)",
            "recipients: CHECK",
        ),
        (
            "ALTER TABLE bodies ADD FOREIGN KEY (message) REFERENCES messages",
            "bodies: FOREIGN KEY",
        ),
        (
            "CREATE UNIQUE INDEX ON messages (message_id)",
            "CREATE UNIQUE INDEX",
        ),
        (
            "ALTER TABLE suspensions DROP CONSTRAINT suspensions_pkey",
            "suspensions: PRIMARY KEY",
        ),
        ("DROP INDEX recipients_due", "recipients_due"),
        (
            "DROP TRIGGER changed ON recipients",
            "recipients: trigger changed",
        ),
        ("DROP SEQUENCE message_keys", "sequence message_keys"),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER no BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION no()",
            "trigger no before messages",
        ),
        ("DELETE FROM signals WHERE name = 'reload'", "signal reload"),
    ] {
        client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        let broken = before.broken_by(&Shape::of(&client).await);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert!(broken.iter().any(|line| line.contains(seen)), "{sql}: {broken:?}");
    }
    // What a migration may do.
    for sql in NEXT {
        client.batch_execute(sql).await.unwrap();
    }
    let broken = before.broken_by(&Shape::of(&client).await);
    assert!(broken.is_empty(), "{broken:#?}");
}
