//! The pool that connections are lent from, and whether the database answers.

use super::client::Client;
use super::connect::Connector;
use super::error::Error;
use super::left::InVain;
use super::pause::Pauses;
use deadpool_postgres::{Pool, PoolError, TimeoutType};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Shortest and longest pause between attempts to connect that fail.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Where connections come from.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) pool: Pool,
    /// Statements are prepared once a connection; not behind a pooler, where one connection is not one session.
    pub(super) prepares: bool,
    /// Since when nothing answers.
    away: Mutex<Option<Instant>>,
    /// How often it answered again after that.
    pub(super) returns: watch::Sender<u64>,
    /// Until when nobody tries to connect, after attempts in vain.
    pause: Mutex<(Option<Instant>, Pauses)>,
    /// Ends statements that nobody waits for any more.
    pub(super) canceller: Connector,
    /// How often that was asked for in vain.
    pub(super) in_vain: InVain,
}

impl Link {
    pub(super) fn new(pool: Pool, prepares: bool, canceller: Connector) -> Arc<Link> {
        Arc::new(Link {
            pool,
            prepares,
            away: Mutex::default(),
            returns: watch::Sender::default(),
            pause: Mutex::new((None, Pauses::new(PAUSE))),
            canceller,
            in_vain: InVain::default(),
        })
    }

    /// A connection of the pool.
    ///
    /// # Errors
    /// [`Error::Away`] at once for a moment after attempts to connect that failed, and when all are lent for 5 s.
    pub(super) async fn client(self: &Arc<Self>) -> Result<Client, Error> {
        if self.pause.lock().0.is_some_and(|until| Instant::now() < until) {
            return Err(Error::Away(
                "the database is away; it is tried again in a moment".to_owned(),
            ));
        }
        let object = match self.pool.get().await {
            Ok(object) => object,
            Err(error) => {
                if !matches!(error, PoolError::Timeout(TimeoutType::Wait)) {
                    self.pause_longer();
                }
                // Whatever the reason: who is not let in any more, because a password was changed, has no database either.
                self.away.lock().get_or_insert_with(Instant::now);
                return Err(Error::from(error));
            }
        };
        self.pause_no_longer();
        Ok(Client::new(object, self.clone()))
    }

    /// For a while nobody tries to connect: each server has many who ask for it.
    fn pause_longer(&self) {
        let (until, pauses) = &mut *self.pause.lock();
        *until = Some(Instant::now() + pauses.next());
    }

    fn pause_no_longer(&self) {
        let (until, pauses) = &mut *self.pause.lock();
        if until.take().is_some() {
            pauses.reset();
        }
    }

    /// Since when the database is away.
    pub(super) fn away(&self) -> Option<Duration> {
        self.away.lock().map(|since| since.elapsed())
    }

    /// A statement was answered.
    pub(super) fn answered(&self) {
        if self.away.lock().take().is_some() {
            self.returns.send_modify(|times| *times += 1);
        }
    }

    /// A statement failed.
    pub(super) fn failed(&self, error: &Error) {
        if error.is_away() {
            self.away.lock().get_or_insert_with(Instant::now);
        }
    }
}
