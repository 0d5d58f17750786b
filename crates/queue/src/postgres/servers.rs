//! The servers that share the queue: each says that it is there, by the clock of the database, and looks after those that are not.

use super::bodies;
use super::error::Error;
use super::filter::plain;
use super::link::{Client, run};
use smtp_observe::{Event, Observer};
use uuid::Uuid;

/// Milliseconds after which a server that was not seen is dead: as long as a lease.
pub(super) const DEAD: i64 = 60_000;
/// What the database's clock shows, in milliseconds since 1970.
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// This server is there. One that was thought dead is there again: what it had is others' now, what it claims from here on is its own.
pub(super) async fn beat(client: &Client, id: Uuid, name: &str) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO servers (id, name, seen) VALUES ($1, $2, {NOW}) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen"
    );
    run(client, &sql, &[&id, &plain(name)]).await?;
    Ok(())
}

/// This server is gone: what it had claimed is due.
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

/// Gives back what dead servers had claimed: nobody delivers it any more. Gives how many recipients that were.
pub(super) async fn take_over(client: &Client) -> Result<u64, Error> {
    // Whoever is just being taken over by another is left to it.
    let dead = format!(
        "DELETE FROM servers WHERE id IN (SELECT id FROM servers WHERE seen < {NOW} - $1 ORDER BY id FOR UPDATE SKIP LOCKED)"
    );
    run(client, &dead, &[&DEAD]).await?;
    let sql = format!(
        "WITH left_behind AS (
             SELECT message, idx FROM recipients AS r WHERE r.state = 1 AND NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = r.owner)
             FOR UPDATE SKIP LOCKED)
         UPDATE recipients AS r SET state = CASE WHEN r.attempts = 0 THEN 0 ELSE 2 END, due = {NOW}, owner = NULL
         FROM left_behind AS l WHERE r.message = l.message AND r.idx = l.idx"
    );
    let taken_over = run(client, &sql, &[]).await?;
    let sql = "UPDATE webhook_calls AS c SET due = created, owner = NULL
               WHERE c.owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM servers AS s WHERE s.id = c.owner)";
    run(client, sql, &[]).await?;
    bodies::sweep(client).await?;
    Ok(taken_over)
}
