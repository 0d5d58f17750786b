//! The servers that share the queue: each says that it is there, by the clock of the database, and looks after those that are not.

use super::bodies;
use super::calm;
use super::client::{Client, query, run};
use super::error::Error;
use super::filter::plain;
use super::hints::{self, Hint};
use crate::store::ServerInfo;
use jiff::{SignedDuration, Timestamp};
use smtp_observe::{Event, Observer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use uuid::Uuid;

/// Milliseconds after which a server that was not seen is dead: as long as a lease.
pub(super) const DEAD: i64 = 60_000;
/// What the database's clock shows, in milliseconds since 1970.
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
/// What it showed when the transaction began. That stands still, so an index can be searched by it.
pub(super) const BEGAN: &str = "(extract(epoch FROM now()) * 1000)::bigint";

/// This server among the others.
#[derive(Debug)]
pub(super) struct Me {
    pub(super) id: Uuid,
    name: String,
    version: String,
    started: Instant,
    draining: AtomicBool,
    /// It said goodbye: what is on its way does not call it back.
    left: AtomicBool,
}

impl Me {
    pub(super) fn new(name: &str, version: &str) -> Me {
        Me {
            id: Uuid::new_v4(),
            name: plain(name),
            version: plain(version),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            left: AtomicBool::new(false),
        }
    }

    /// It is there. One that was thought dead is there again: what it had is others' now, what it claims from here on is its own.
    pub(super) async fn beat(&self, client: &Client) -> Result<(), Error> {
        if self.left.load(Ordering::Acquire) {
            return Ok(());
        }
        let sql = format!(
            "{} INSERT INTO servers (id, name, seen, version, started, draining) VALUES ($1, $2, {NOW}, $3, {NOW} - $4::bigint, $5)
             ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, draining = excluded.draining",
            calm::noting_sql()
        );
        let age = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(0);
        let draining = self.draining.load(Ordering::Acquire);
        run(
            client,
            &sql,
            &[&self.id, &self.name, &self.version, &age, &draining],
        )
        .await?;
        Ok(())
    }

    /// It drains, from now on.
    pub(super) async fn drain(&self, client: &Client) -> Result<(), Error> {
        self.draining.store(true, Ordering::Release);
        self.beat(client).await?;
        hints::say(client, self.id, Hint::Servers).await;
        Ok(())
    }

    /// It is gone: what it had claimed is due for the others at once.
    pub(super) async fn leave(&self, client: &Client) -> Result<(), Error> {
        self.left.store(true, Ordering::Release);
        leave(client, self.id).await?;
        take_over(client, self.id).await?;
        hints::say(client, self.id, Hint::Servers).await;
        Ok(())
    }

    /// All servers by id.
    pub(super) async fn and_others(&self, client: &Client) -> Result<Vec<ServerInfo>, Error> {
        let sql = format!(
            "SELECT id, name, version, {NOW} - started, {NOW} - seen, draining,
                    (SELECT count(*) FROM recipients AS r WHERE r.owner = s.id AND r.state = 1)
             FROM servers AS s ORDER BY id"
        );
        // Lengths of time are told in the database's clock, and points in ours.
        let now = Timestamp::now();
        let ago = |ms: i64| now.saturating_sub(SignedDuration::from_millis(ms)).unwrap_or(now);
        let rows = query(client, &sql, &[]).await?;
        let server = |row: &tokio_postgres::Row| ServerInfo {
            this: row.get::<_, Uuid>(0) == self.id,
            id: row.get::<_, Uuid>(0).to_string(),
            name: row.get(1),
            version: row.get(2),
            started: row.get::<_, Option<i64>>(3).map(ago),
            seen: ago(row.get(4)),
            draining: row.get(5),
            leases: row.get::<_, i64>(6).unsigned_abs(),
        };
        Ok(rows.iter().map(server).collect())
    }
}

/// A server is gone: what it had claimed is due.
pub(super) async fn leave(client: &Client, id: Uuid) -> Result<(), Error> {
    run(client, "DELETE FROM servers WHERE id = $1", &[&id]).await?;
    Ok(())
}

/// Tells of recipients that servers had that are gone.
pub(super) fn say_taken_over(observer: &Observer, recipients: u64) {
    if recipients > 0 {
        observer.emit(Event::LeasesTakenOver { recipients });
    }
}

/// Gives back what dead servers had claimed: nobody delivers it any more. Nobody is dead for not being heard of while the database
/// was away ([`calm`]). The others are told by `me`. Gives how many recipients that were.
pub(super) async fn take_over(client: &Client, me: Uuid) -> Result<u64, Error> {
    // Whoever is just being taken over by another is left to it.
    let dead = format!(
        "DELETE FROM servers WHERE id IN (SELECT id FROM servers WHERE seen < {NOW} - $1 AND {} ORDER BY id FOR UPDATE SKIP LOCKED)",
        calm::sql()
    );
    if run(client, &dead, &[&DEAD]).await? > 0 {
        hints::say(client, me, Hint::Servers).await;
    }
    let sql = format!(
        "WITH left_behind AS (
             SELECT message, idx FROM recipients AS r WHERE r.state = 1 AND NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = r.owner)
             FOR UPDATE SKIP LOCKED)
         UPDATE recipients AS r SET state = CASE WHEN r.attempts = 0 THEN 0 ELSE 2 END, due = {NOW}, owner = NULL
         FROM left_behind AS l WHERE r.message = l.message AND r.idx = l.idx"
    );
    let taken_over = run(client, &sql, &[]).await?;
    if taken_over > 0 {
        hints::say(client, me, Hint::Due).await;
    }
    let sql = "UPDATE webhook_calls AS c SET due = created, owner = NULL
               WHERE c.owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = c.owner)";
    run(client, sql, &[]).await?;
    bodies::sweep(client).await?;
    Ok(taken_over)
}
