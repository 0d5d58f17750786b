//! What a server does again and again: it says that it is there, looks what the others did, and clears up after those that are gone.

use super::bodies;
use super::calm::{self, Calm};
use super::client::{Client, query, query_one, run};
use super::clock::Clock;
use super::error::Error;
use super::hints::Heard;
use super::pace::Pace;
use super::servers::{self, NOW};
use super::writer::Shop;
use crate::steady::Steady;
use crate::store::{Shared, StoreError};
use smtp_observe::Event;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often a server looks what others did, whether it was told or not.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How often it says that it is there, and looks after those that are not.
const BEAT: Duration = Duration::from_secs(10);
/// A failure is told again after that time.
const TELL: Duration = Duration::from_secs(10);

/// The task that does it.
pub(super) struct Pulse {
    pub(super) shop: Shop,
    pub(super) heard: Heard,
    /// How often it looks.
    pub(super) every: Duration,
    pub(super) shared: watch::Sender<Shared>,
}

impl Pulse {
    /// Never ends.
    pub(super) async fn run(self) {
        let (mut beaten, mut pace, mut told) = (Instant::now(), Pace::new(Instant::now()), None::<Instant>);
        let mut looks = tokio::time::interval(self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hinted = tokio::select! {
                _ = looks.tick() => false,
                () = self.heard.something() => {
                    tokio::time::sleep(pace.wait(Instant::now())).await;
                    looks.reset();
                    true
                }
            };
            self.heard.tell(&self.shop.observer);
            self.shop.link.in_vain.say(&self.shop.observer);
            self.shop.overflow.lock().say(&self.shop.observer);
            let done = self.once(&mut beaten).await;
            pace.looked(Instant::now(), hinted.then_some(matches!(done, Ok(true))));
            match done {
                Ok(_) => told = None,
                Err(error) if told.is_none_or(|told| told.elapsed() >= TELL) => {
                    told = Some(Instant::now());
                    self.shop.observer.emit(Event::StoreFailed {
                        operation: "heartbeat",
                        error: &StoreError::from(error).to_string(),
                    });
                }
                Err(_) => {}
            }
        }
    }

    /// Does all of it that it is time for. `beaten`: when it did what is done every [`BEAT`]. Gives whether others did something.
    async fn once(&self, beaten: &mut Instant) -> Result<bool, Error> {
        let client = self.shop.link.client().await?;
        let seen = look(&client, &self.shop.clock, &self.shop.calm, &self.heard).await?;
        let known = *self.shared.borrow();
        self.shared
            .send_if_modified(|known| std::mem::replace(known, seen) != seen);
        let is_time = beaten.elapsed() >= BEAT;
        if is_time {
            // Before all that may fail: who clears up in vain is not dead.
            self.shop.me.beat(&client).await?;
        }
        self.discard(&client).await?;
        if is_time {
            let taken_over = servers::take_over(&client, self.shop.me.id).await?;
            servers::say_taken_over(&self.shop.observer, taken_over);
            sum_figures(&client).await?;
            *beaten = Instant::now();
        }
        Ok(is_news(&known, &seen))
    }

    /// Removes large contents whose messages were not stored.
    async fn discard(&self, client: &Client) -> Result<(), Error> {
        let keys = std::mem::take(&mut *self.shop.unneeded.lock());
        if keys.is_empty() {
            return Ok(());
        }
        let done = bodies::discard(client, &keys).await;
        if done.is_err() {
            self.shop.unneeded.lock().extend(keys);
        }
        done
    }
}

/// Whether there was something behind what others said: something is otherwise, or due that was not.
fn is_news(known: &Shared, seen: &Shared) -> bool {
    let said = Shared {
        announced: known.announced,
        due: known.due,
        ..*seen
    };
    said != *known || (seen.due && !known.due)
}

/// What others did. Whether something is due is one step into an index, however much waits: asked for as a row that is due `<=` the clock, which
/// moves while it is read, it would be a search through all that waits. While nobody may be judged all servers count.
pub(super) fn look_sql() -> String {
    format!(
        "SELECT {NOW}, coalesce((SELECT revision FROM directory), 0), coalesce((SELECT number FROM signals WHERE name = 'reload'), 0),
                (SELECT count(*) FROM servers WHERE seen >= {NOW} - $1 OR NOT now.calm),
                coalesce((SELECT due FROM recipients WHERE state IN (0, 2) ORDER BY due LIMIT 1) <= {NOW}, false),
                coalesce((SELECT number FROM signals WHERE name = 'suspensions'), 0), now.calm
         FROM (SELECT {} AS calm) AS now",
        calm::sql()
    )
}

/// Looks what others did, what the database's clock shows, and whether anybody may be judged.
pub(super) async fn look(
    client: &Client,
    clock: &Clock,
    calm: &Calm,
    heard: &Heard,
) -> Result<Shared, Error> {
    // What is said from here on may be about what is not seen.
    let announced = heard.due();
    let asked = Steady::now();
    let row = query_one(client, &look_sql(), &[&servers::DEAD]).await?;
    clock.seen(asked, row.get(0), Steady::now());
    calm.saw(asked, row.get(6));
    Ok(Shared {
        directory: row.get::<_, i64>(1).unsigned_abs(),
        reloads: row.get::<_, i64>(2).unsigned_abs(),
        servers: usize::try_from(row.get::<_, i64>(3)).unwrap_or(1).max(1),
        due: row.get(4),
        announced,
        suspensions: row.get::<_, i64>(5).unsigned_abs(),
    })
}

/// Sums up the queue's figures, so that few rows are to be read. One server does it at a time.
pub(super) async fn sum_figures(client: &Client) -> Result<(), Error> {
    let sum = || async {
        let turn = "SELECT 1 FROM signals WHERE name = 'figures' FOR UPDATE SKIP LOCKED";
        if query(client, turn, &[]).await?.is_empty() {
            return Ok(());
        }
        let sql = "WITH gone AS (DELETE FROM figures RETURNING *)
             INSERT INTO figures
             SELECT sum(messages), sum(octets), sum(queued), sum(leased), sum(deferred), sum(held), sum(delivered), sum(bounced), sum(expired),
                    sum(quarantined)
             FROM gone HAVING count(*) > 0";
        run(client, sql, &[]).await.map(drop)
    };
    client.change(sum).await
}
