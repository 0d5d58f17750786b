//! The schema and its migrations, and the servers that share the queue.

use super::error::Error;
use super::{Client, query, run};
use crate::store::StoreError;
use uuid::Uuid;

/// Each brings the schema from the version that is its index to the next.
const MIGRATIONS: &[&str] = &[include_str!("0001.sql")];
/// Names the advisory lock under which one server migrates and the others wait.
const LOCK: i64 = 0x736d_7470_5f73_7276;
/// Milliseconds after which a server that was not seen is dead: as long as a lease.
const DEAD: i64 = 60_000;
/// What the database's clock shows, in milliseconds since 1970.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Brings the schema up to date.
pub(super) async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    let t = client.transaction().await?;
    run(&t, "SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    t.batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)")
        .await?;
    let found: Option<i32> = query(&t, "SELECT version FROM schema_version", &[])
        .await?
        .first()
        .map(|row| row.get(0));
    let version = usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(StoreError::Damaged(format!(
            "the database was written by a newer version (schema {version}, this one knows {}): run that version",
            MIGRATIONS.len()
        )));
    }
    for sql in MIGRATIONS.get(version..).unwrap_or_default() {
        t.batch_execute(sql).await?;
    }
    if found.is_none() {
        t.batch_execute("INSERT INTO schema_version VALUES (0)").await?;
        // 32 octets that nobody can guess: of the database's own random source, twice.
        let sql = "INSERT INTO directory (revision, secret)
                   VALUES (0, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))";
        t.batch_execute(sql).await?;
    }
    let version = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    run(&t, "UPDATE schema_version SET version = $1", &[&version]).await?;
    Ok(t.commit().await?)
}

/// This server is there.
pub(super) async fn announce(client: &Client, id: Uuid, name: &str) -> Result<(), Error> {
    let sql = format!("INSERT INTO servers (id, name, seen) VALUES ($1, $2, {NOW})");
    run(client, &sql, &[&id, &super::filter::plain(name)]).await?;
    Ok(())
}

/// This server is still there.
pub(super) async fn beat(client: &Client, id: Uuid) -> Result<(), Error> {
    // One that was thought dead is there again: what it had is others' now, what it claims from here on is its own.
    let sql = format!(
        "INSERT INTO servers (id, name, seen) VALUES ($1, '', {NOW}) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen"
    );
    run(client, &sql, &[&id]).await?;
    Ok(())
}

/// This server is gone: what it had claimed is due.
pub(super) async fn leave(client: &Client, id: Uuid) -> Result<(), Error> {
    run(client, "DELETE FROM servers WHERE id = $1", &[&id]).await?;
    Ok(())
}

/// Gives back what dead servers had claimed: nobody delivers it any more.
pub(super) async fn take_over(client: &Client) -> Result<(), Error> {
    let dead = format!("DELETE FROM servers WHERE seen < {NOW} - $1");
    run(client, &dead, &[&DEAD]).await?;
    let sql = format!(
        "UPDATE recipients AS r SET state = CASE WHEN attempts = 0 THEN 0 ELSE 2 END, due = {NOW}, owner = NULL
         WHERE r.state = 1 AND NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = r.owner)"
    );
    run(client, &sql, &[]).await?;
    let sql = "UPDATE webhook_calls AS c SET due = created, owner = NULL
               WHERE c.owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = c.owner)";
    run(client, sql, &[]).await?;
    Ok(())
}
