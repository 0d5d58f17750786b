//! Lanes: one change after the other, and certainty about each.
//!
//! An answer to a COMMIT can be lost: the connection breaks, the primary dies, nothing comes in time. The change is there then or it is
//! not, and a client that is told the wrong one of the two sends its message twice or never again. So each change raises the number of the lane that
//! it is written by, in the same transaction, from a value that it names. Whoever is in doubt raises that number again, over a new connection:
//!
//! 1. The row's lock is waited for, so that a change that is just being committed has ended one way or the other.
//! 2. A change raises the number by one, a doubt by two: whether it is odd or even tells whether the change was committed, however often
//!    the answer to the doubt was lost too.
//! 3. The number is another one now: a change that is still on its way, in some buffer, names a value that will never be again,
//!    and changes nothing when it comes.
//!
//! It goes for a standby that became primary too: what it says is what counts from then on.

use super::client::{Client, ONCE_MORE, query, query_durably};
use super::error::Error;
use super::link::Link;
use super::param::Param;
use super::servers::{Me, NOW};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// How long a change that is in doubt is looked for before its caller is told that it failed. It is found out later all the same.
const DOUBT: Duration = Duration::from_secs(20);
/// Pauses between looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

macro_rules! lane {
    () => {
        "WITH lane AS (UPDATE lanes SET last = $4 WHERE server = $1 AND number = $2 AND last = $3
             RETURNING CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
                            THEN set_config('synchronous_commit', 'on', true) END)"
    };
}

/// How a statement that is part of a change by a lane begins: `lane` has one row, or, when the change comes too late, none. It also
/// sees to it that COMMIT waits for the disk, whatever somebody set.
pub(super) const LANE: &str = lane!();

/// The same in a transaction of several statements, as the first of them: it fails when the change comes too late.
pub(super) const GUARD: &str = concat!(lane!(), " SELECT 1 / count(*) FROM lane");
/// What stands in for [`LANE`] in the statements behind [`GUARD`].
pub(super) const IN_A_LANE: &str = "WITH lane AS (SELECT WHERE $1::uuid IS NOT NULL AND $2::smallint IS NOT NULL AND $3::bigint IS NOT NULL AND $4::bigint IS NOT NULL)";

/// What a change gave; `None` when [`GUARD`] said that it came too late.
pub(super) fn unless_late<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A change by a lane: what is bound to [`LANE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) server: Uuid,
    pub(super) number: i16,
    pub(super) before: i64,
    pub(super) after: i64,
}

impl Ticket {
    pub(super) fn values(&self) -> [&(dyn Param + '_); 4] {
        [&self.server, &self.number, &self.before, &self.after]
    }
}

/// A lane. Whoever has it is alone in it.
#[derive(Debug)]
pub(super) struct Lane {
    link: Arc<Link>,
    me: Arc<Me>,
    number: i16,
    /// What is stored; `None` until it was looked up.
    last: Option<i64>,
}

/// Something that is done in one transaction, by a lane.
#[async_trait]
pub(super) trait Change: Sync {
    /// What it gives.
    type Output: Send;
    /// Does it; gives `None` when the lane had no row. May be called again after that.
    async fn make(&self, db: &Client, ticket: Ticket) -> Result<Option<Self::Output>, Error>;
}

/// What became of a change.
pub(super) enum Fate<T> {
    /// It is committed, and this was the answer.
    Done(T),
    /// It is committed; the answer to it was lost.
    Committed,
    /// It is still unknown, after an error.
    InDoubt(Ticket, Error),
}

/// A number, raised so that no change that is on its way hits it.
struct Raised {
    last: i64,
    /// The lane was not there: nothing can be said of what was before.
    anew: bool,
}

impl Lane {
    pub(super) fn new(link: Arc<Link>, me: Arc<Me>, number: i16) -> Lane {
        Lane {
            link,
            me,
            number,
            last: None,
        }
    }

    /// Makes a change, and finds out what became of it if that is in doubt.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(super) async fn change<C: Change>(&mut self, change: &C) -> Result<Fate<C::Output>, Error> {
        // Once more when the lane was gone: this server was thought dead.
        let (mut gone, mut gave_way) = (0, 0);
        while gone < 2 {
            let before = self.before().await?;
            let ticket = Ticket {
                server: self.me.id,
                number: self.number,
                before,
                after: before + 1,
            };
            let tried = async {
                let client = self.link.client().await.map_err(|error| (error, false))?;
                change.make(&client, ticket).await.map_err(|error| (error, true))
            };
            match tried.await {
                Ok(Some(answer)) => {
                    self.last = Some(ticket.after);
                    return Ok(Fate::Done(answer));
                }
                Ok(None) => {
                    self.last = None;
                    gone += 1;
                }
                // Nothing of it is left, the number included.
                Err((error, _)) if error.gave_way() && gave_way < ONCE_MORE => gave_way += 1,
                Err((error, sent)) if sent && error.leaves_doubt() => {
                    self.last = None;
                    return match self.find_out(ticket).await {
                        Some(true) => Ok(Fate::Committed),
                        Some(false) => Err(error),
                        None => Ok(Fate::InDoubt(ticket, error)),
                    };
                }
                Err((error, _)) => return Err(error),
            }
        }
        Err(Error::Away(
            "this server was thought dead; it writes again with the next change".to_owned(),
        ))
    }

    /// What the number is, looked up if need be.
    async fn before(&mut self) -> Result<i64, Error> {
        let last = match self.last {
            Some(last) => last,
            None => self.raised().await?.last,
        };
        self.last = Some(last);
        Ok(last)
    }

    /// Whether a change was committed; `None` when that cannot be found out in time.
    pub(super) async fn find_out(&mut self, ticket: Ticket) -> Option<bool> {
        let (began, mut pause) = (Instant::now(), LOOK.0);
        loop {
            if let Ok(raised) = self.raised().await {
                self.last = Some(raised.last);
                // Of a lane that is gone with its server nothing can be said. Whoever does a change again that was made does something
                // twice, whoever leaves one out that was not made loses it.
                return Some(!raised.anew && (raised.last - ticket.before) % 2 != 0);
            }
            if began.elapsed() >= DOUBT {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK.1);
        }
    }

    /// Raises the number by two; makes the lane if it is not there. That waits for the disk, and for the standby where there is one: a change
    /// whose statement was cancelled ([`super::left`]) is seen before a standby has it.
    async fn raised(&self) -> Result<Raised, Error> {
        let client = self.link.client().await?;
        let sql = "UPDATE lanes SET last = last + 2 WHERE server = $1 AND number = $2 RETURNING last";
        let mut rows = query_durably(&client, sql, &[&self.me.id, &self.number]).await?;
        let anew = rows.is_empty();
        if anew {
            self.me.beat(&client).await?;
            // Higher than any that a lane of this name can have had: none is raised a thousand times a second.
            let sql = format!(
                "INSERT INTO lanes (server, number, last) VALUES ($1, $2, {NOW})
                       ON CONFLICT (server, number) DO UPDATE SET last = lanes.last + 2 RETURNING last"
            );
            rows = query(&client, &sql, &[&self.me.id, &self.number]).await?;
        }
        let gone = || Error::Away("this server's lane is gone".to_owned());
        let last = rows.first().map(|row| row.get(0)).ok_or_else(gone)?;
        Ok(Raised { last, anew })
    }
}
