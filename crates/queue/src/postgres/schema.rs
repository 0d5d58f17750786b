//! The schema and its migrations.

use super::link::{Client, query, run};
use crate::store::StoreError;

/// Each brings the schema from the version that is its index to the next.
const MIGRATIONS: &[&str] = &[include_str!("0001.sql"), include_str!("0002.sql")];
/// Names the advisory lock under which one server migrates and the others wait.
const LOCK: i64 = 0x736d_7470_5f73_7276;

/// Brings the schema up to date.
pub(super) async fn migrate(client: &Client) -> Result<(), StoreError> {
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
