//! The schema and its migrations.

use super::client::{Client, query, query_one, run};
use super::error::Unopened;
use crate::store::StoreError;
use std::sync::OnceLock;

/// Each brings the schema from the version that is its index to the next. Servers of the version before are at work meanwhile and afterwards:
/// each only adds, and takes tables in the order in which servers do, which tests hold (`tests/growing.rs`).
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
    include_str!("0004.sql"),
];
/// What a process knows beyond that which plays the version after this one.
static NEXT: OnceLock<&'static [&'static str]> = OnceLock::new();

/// From now on this process is as one of the version after this one, which knows these migrations too. For tests of rolling updates, which need
/// a newer server before there is one: a program of theirs calls it before all else. The server does not, and no setting leads here.
pub fn play_next_version(further: &'static [&'static str]) {
    // Once a process; nobody takes a version back.
    let _ = NEXT.set(further);
}

/// The migrations that this process knows, in their order.
fn known() -> Vec<&'static str> {
    let further = NEXT.get().copied().unwrap_or_default();
    [MIGRATIONS, further].concat()
}

/// Names the advisory lock under which one server migrates and the others wait.
pub(super) const LOCK: i64 = 0x736d_7470_5f73_7276;

/// A step waits so long for a table that somebody has open. Behind it everybody waits who comes later: servers of the version before, too.
/// Then all of it is given up, and tried again after a pause.
const GIVE_WAY: &str = "SET LOCAL lock_timeout = '2s'";

/// The oldest PostgreSQL, as `server_version_num` says it.
const OLDEST: i32 = 140_000;

/// Whether a database is one that a queue can be kept in.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) async fn check(client: &Client) -> Result<(), Unopened> {
    let sql = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'), current_setting('server_encoding')";
    let row = query_one(client, sql, &[]).await?;
    let (number, version, encoding): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST {
        let text = format!("it is PostgreSQL {version}: version 14 or newer is needed");
        return Err(StoreError::Unsuitable(text).into());
    }
    if encoding != "UTF8" {
        let text = format!(
            "its encoding is {encoding}, and mail has addresses that need UTF8: create it with `createdb --encoding=UTF8 --template=template0`"
        );
        return Err(StoreError::Unsuitable(text).into());
    }
    Ok(())
}

/// A step from one version of the schema to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The version it leads to.
    pub version: usize,
    /// What it does.
    pub sql: &'static str,
}

/// Brings the schema up to date, or only tries whether that can be done. Gives the steps.
///
/// One server does it, under a lock, in one transaction; the others wait for it. A table that is not to be had is an error that passes. Servers of
/// the version before may go on meanwhile and afterwards: a migration only adds, and what it makes unnecessary goes with a later version.
pub(super) async fn migrate(client: &Client, only_try: bool) -> Result<Vec<Migration>, Unopened> {
    client.be_patient();
    let t = client.transaction().await?;
    run(&t, "SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let known = known();
    let version = version(&t, known.len()).await?;
    let steps: Vec<Migration> = (1..)
        .zip(&known)
        .skip(version.unwrap_or(0))
        .map(|(version, sql)| Migration { version, sql })
        .collect();
    if steps.is_empty() {
        // Nothing is written: a role that may change no tables is enough, once it is done.
        return Ok(steps);
    }
    if version.is_none() {
        t.batch_execute(
            "CREATE TABLE schema_version (version integer NOT NULL); INSERT INTO schema_version VALUES (0)",
        )
        .await?;
    }
    run(&t, GIVE_WAY, &[]).await?;
    for step in &steps {
        t.batch_execute(step.sql).await?;
    }
    let newest = i32::try_from(known.len()).unwrap_or(i32::MAX);
    run(&t, "UPDATE schema_version SET version = $1", &[&newest]).await?;
    if !only_try {
        t.commit().await?;
    }
    Ok(steps)
}

/// The schema's version, which is `newest` at most; `None` in a database that has none yet.
async fn version(t: &Client, newest: usize) -> Result<Option<usize>, Unopened> {
    let there = query(t, "SELECT to_regclass('schema_version') IS NOT NULL", &[]).await?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = query(t, "SELECT version FROM schema_version", &[]).await?;
    let stored: i32 = rows.first().map_or(0, |row| row.get(0));
    let version = usize::try_from(stored).unwrap_or(usize::MAX);
    if version > newest {
        let text = format!(
            "the database was written by a newer version (schema {stored}, this one knows {newest}): run that version"
        );
        return Err(StoreError::Damaged(text).into());
    }
    Ok(Some(version))
}
