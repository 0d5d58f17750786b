//! What a server does again and again: it says that it is there, looks what the others did, and clears away what nobody needs.

use super::bodies;
use super::clock::Measured;
use super::error::Error;
use super::link::{Client, Link, query, query_one, run};
use super::servers::{self, NOW};
use crate::outbox::Overflow;
use crate::store::{Shared, StoreError};
use jiff::Timestamp;
use parking_lot::Mutex;
use smtp_observe::{Event, Observer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// How often a server looks what others did.
const LOOK: Duration = Duration::from_secs(1);
/// How often it says that it is there, and looks after those that are not.
const BEAT: Duration = Duration::from_secs(10);
/// How often what nobody needs is cleared away.
const SWEEP: Duration = Duration::from_secs(600);
/// A failure is told again after that time.
const TELL: Duration = Duration::from_secs(10);

/// The task that does it.
pub(super) struct Pulse {
    pub(super) link: Arc<Link>,
    pub(super) id: Uuid,
    pub(super) name: Arc<str>,
    pub(super) clock: Measured,
    pub(super) observer: Observer,
    pub(super) overflow: Arc<Mutex<Overflow>>,
    pub(super) shared: watch::Sender<Shared>,
}

impl Pulse {
    /// Never ends.
    pub(super) async fn run(self) {
        let (mut beaten, mut swept, mut told) = (Instant::now(), Instant::now(), None::<Instant>);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.overflow.lock().say(&self.observer);
            let done = async {
                let client = self.link.client().await?;
                let seen = look(&client, &self.clock).await?;
                self.shared
                    .send_if_modified(|known| std::mem::replace(known, seen) != seen);
                if beaten.elapsed() >= BEAT {
                    servers::beat(&client, self.id, &self.name).await?;
                    servers::take_over(&client).await?;
                    sum_figures(&client).await?;
                    beaten = Instant::now();
                }
                if swept.elapsed() >= SWEEP {
                    bodies::sweep(&client).await?;
                    swept = Instant::now();
                }
                Ok::<_, Error>(())
            };
            match done.await {
                Ok(()) => told = None,
                Err(error) if told.is_none_or(|told| told.elapsed() >= TELL) => {
                    told = Some(Instant::now());
                    self.observer.emit(Event::StoreFailed {
                        operation: "heartbeat",
                        error: &StoreError::from(error).to_string(),
                    });
                }
                Err(_) => {}
            }
        }
    }
}

/// Looks what others did, and how far the clocks are apart.
pub(super) async fn look(client: &Client, clock: &Measured) -> Result<Shared, Error> {
    let sql = format!(
        "SELECT {NOW}, (SELECT revision FROM directory), (SELECT number FROM signals WHERE name = 'reload'),
                (SELECT count(*) FROM servers WHERE seen >= {NOW} - $1),
                EXISTS (SELECT 1 FROM recipients WHERE state IN (0, 2) AND due <= {NOW})"
    );
    let before = Timestamp::now();
    let row = query_one(client, &sql, &[&servers::DEAD]).await?;
    clock.compare(before, row.get(0), Timestamp::now());
    Ok(Shared {
        directory: row.get::<_, i64>(1).unsigned_abs(),
        reloads: row.get::<_, i64>(2).unsigned_abs(),
        servers: usize::try_from(row.get::<_, i64>(3)).unwrap_or(1).max(1),
        due: row.get(4),
    })
}

/// Sums up the queue's figures, so that few rows are to be read. One server does it at a time.
async fn sum_figures(client: &Client) -> Result<(), Error> {
    let t = client.transaction().await?;
    let rows = query(
        &t,
        "SELECT 1 FROM signals WHERE name = 'figures' FOR UPDATE SKIP LOCKED",
        &[],
    )
    .await?;
    if !rows.is_empty() {
        let sql = "WITH gone AS (DELETE FROM figures RETURNING *)
             INSERT INTO figures
             SELECT sum(messages), sum(octets), sum(queued), sum(leased), sum(deferred), sum(held), sum(delivered), sum(bounced), sum(expired),
                    sum(quarantined)
             FROM gone HAVING count(*) > 0";
        run(&t, sql, &[]).await?;
    }
    t.commit().await
}
