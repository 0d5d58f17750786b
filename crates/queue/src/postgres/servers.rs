//! The servers that share the queue: each says that it is there, by the clock of the database, and looks after those that are not.

use super::error::Error;
use super::filter::plain;
use super::{Client, run};
use crate::store::StoreError;
use deadpool_postgres::Pool;
use smtp_observe::{Event, Observer};
use std::time::Duration;
use uuid::Uuid;

/// How often a server says that it is there.
const BEAT: Duration = Duration::from_secs(10);
/// Milliseconds after which a server that was not seen is dead: as long as a lease.
const DEAD: i64 = 60_000;
/// What the database's clock shows, in milliseconds since 1970.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Says it again and again, and takes over what the dead had claimed. Never ends.
pub(super) async fn beat_on(pool: Pool, id: Uuid, observer: Observer) {
    loop {
        tokio::time::sleep(BEAT).await;
        let beaten = async {
            let client = pool.get().await?;
            beat(&client, id).await?;
            take_over(&client).await?;
            Ok::<_, StoreError>(())
        };
        if let Err(error) = beaten.await {
            observer.emit(Event::StoreFailed {
                operation: "heartbeat",
                error: &error.to_string(),
            });
        }
    }
}

/// This server is there.
pub(super) async fn announce(client: &Client, id: Uuid, name: &str) -> Result<(), Error> {
    let sql = format!("INSERT INTO servers (id, name, seen) VALUES ($1, $2, {NOW})");
    run(client, &sql, &[&id, &plain(name)]).await?;
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
