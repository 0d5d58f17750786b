//! A connection: statements that are prepared or not, transactions, and an end to waiting.

use super::error::Error;
use super::left::Left;
use super::link::Link;
use super::param::{Params, typed, untyped};
use deadpool_postgres::Object;
use futures_util::future::join_all;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::Row;

/// How long a statement may take. A client at the end of its message waits for that, and then for as long as there is doubt.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long one of a migration may take: it may read a table of millions, or wait for another server that does.
const MIGRATION: Duration = Duration::from_secs(3600);

/// How often what the database broke off so that others could go on is done again, at once: a statement here, a transaction by [`Client::change`]
/// and its like, a change by a lane in [`super::lane`].
pub(super) const ONCE_MORE: usize = 3;

// What is written after a lock was waited for must see what the one before wrote: whatever level a role or a database sets.
macro_rules! by_keys {
    () => {
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"
    };
}

macro_rules! durable {
    () => {
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
    };
}

/// How a transaction begins that finds its rows by their keys. What is known of tables that are empty one moment and full the next misleads
/// the planner into reading them whole, with each batch; through the keys it costs what the batch is large.
pub(super) const BY_KEYS: &str = by_keys!();

/// Has the COMMIT of its transaction wait for the disk, whatever a role or a database sets. What is committed by a lane sees to that itself
/// ([`super::lane::LANE`]).
///
/// What somebody is told of, and what says who delivers what, is written so. What is not costs nobody anything when a crash takes it: history
/// and pieces of large contents (which see to it that they do not wait), what servers say of themselves and of each other, claims of webhooks'
/// calls, and calls that are forgotten for their age.
pub(super) const DURABLE: &str = durable!();

/// How transactions begin whose COMMIT waits for the disk.
const WRITING: &str = concat!("BEGIN ISOLATION LEVEL READ COMMITTED; ", durable!());
const WRITING_BY_KEYS: &str = concat!(by_keys!(), "; ", durable!());

/// A connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Client {
    /// `None` only while it is dropped.
    object: Option<Object>,
    link: Arc<Link>,
    /// Nobody else is to have it.
    spoilt: AtomicBool,
    /// A statement is under way, or was left behind.
    asking: AtomicBool,
    /// It migrates.
    patient: AtomicBool,
    /// What is asked is part of a transaction.
    in_transaction: AtomicBool,
}

impl Drop for Client {
    fn drop(&mut self) {
        let (asking, spoilt) = (*self.asking.get_mut(), *self.spoilt.get_mut());
        if let Some(object) = self.object.take_if(|_| asking || spoilt) {
            // Out of the pool, and closed: nobody else is to wait on it.
            let left = Left::new(object);
            if asking {
                left.end(self.link.clone());
            }
        }
    }
}

impl Client {
    pub(super) fn new(object: Object, link: Arc<Link>) -> Client {
        Client {
            object: Some(object),
            link,
            spoilt: AtomicBool::new(false),
            asking: AtomicBool::new(false),
            patient: AtomicBool::new(false),
            in_transaction: AtomicBool::new(false),
        }
    }

    fn object(&self) -> Result<&Object, Error> {
        let gone = || Error::Away("the connection was given back".to_owned());
        self.object.as_ref().ok_or_else(gone)
    }

    /// From here on statements may take as long as those of a migration do.
    pub(super) fn be_patient(&self) {
        self.patient.store(true, Ordering::Relaxed);
    }

    /// Waits for an answer, but not for ever; afterwards it is known whether the connection is good for more.
    async fn answer<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let patience = match self.patient.load(Ordering::Relaxed) {
            true => MIGRATION,
            false => PATIENCE,
        };
        // Whoever stops waiting leaves a statement behind: nobody else is to wait for its end.
        let before = self.asking.swap(true, Ordering::Relaxed);
        let answer = match timeout(patience, asked).await {
            Ok(answer) => {
                self.asking.store(before, Ordering::Relaxed);
                answer
            }
            Err(_) => Err(Error::Away(format!(
                "the database does not answer within {} s",
                patience.as_secs()
            ))),
        };
        match &answer {
            Ok(_) => self.link.answered(),
            Err(error) => {
                self.link.failed(error);
                if error.spoils_connection() {
                    self.spoilt.store(true, Ordering::Relaxed);
                    // The others lead where this one led: whoever took one after the other would wait for each of them.
                    self.link.pool.retain(|_, _| false);
                }
            }
        }
        answer
    }

    /// Waits for an answer; asks again when the database broke off what was asked so that others could go on. Not within a transaction: it is
    /// gone, and whoever began it does it again.
    async fn answer_to<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut left = match self.in_transaction.load(Ordering::Relaxed) {
            true => 0,
            false => ONCE_MORE,
        };
        loop {
            match self.answer(ask()).await {
                Err(error) if left > 0 && error.gave_way() => left -= 1,
                answer => return answer,
            }
        }
    }

    async fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let object = self.object()?;
        if self.link.prepares {
            let statement = object.prepare_cached(sql).await?;
            return Ok(object.query(&statement, &untyped(params)).await?);
        }
        Ok(object.query_typed(sql, &typed(params)).await?)
    }

    /// Runs statements of fixed text without parameters.
    pub(super) async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.answer(async { Ok(self.object()?.batch_execute(sql).await?) })
            .await
    }

    /// Does something on this connection in one transaction that finds its rows by their keys, and whose COMMIT waits for the disk; as
    /// [`Client::change`].
    pub(super) async fn change_by_keys<T, F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.whole(WRITING_BY_KEYS, work).await
    }

    /// Does something on this connection in one transaction whose COMMIT waits for the disk. All of it is done again, up to [`ONCE_MORE`] times,
    /// when the database broke it off so that others could go on: nothing of it is left then. So `work` says nothing to anybody, and keeps nothing
    /// from one time to the next.
    ///
    /// # Errors
    /// Those of `work`, after which nothing is changed. When COMMIT was not answered nobody knows whether it is; that is never done again here.
    pub(super) async fn change<T, F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.whole(WRITING, work).await
    }

    /// Asks several things on this connection, all of it as it was at one moment; again when it had to give way, as [`Client::change`].
    pub(super) async fn snapshot<T, F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.whole("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", work)
            .await
    }

    async fn whole<T, F>(&self, begin: &str, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut left = ONCE_MORE;
        loop {
            let done = async {
                let transaction = self.begin(begin).await?;
                let done = work().await?;
                transaction.commit().await?;
                Ok::<T, Error>(done)
            };
            match done.await {
                Err(error) if left > 0 && error.gave_way() => left -= 1,
                done => return done,
            }
        }
    }

    /// Begins a transaction as those of [`Client::change_by_keys`], for a change by a lane: that does it again itself.
    pub(super) async fn transaction_by_keys(&self) -> Result<Transaction<'_>, Error> {
        self.begin(WRITING_BY_KEYS).await
    }

    /// Begins a transaction as those of [`Client::change`], for a migration, which is tried again after a pause; dropped before it is committed,
    /// it is rolled back.
    pub(super) async fn transaction(&self) -> Result<Transaction<'_>, Error> {
        self.begin(WRITING).await
    }

    async fn begin(&self, sql: &str) -> Result<Transaction<'_>, Error> {
        // Open from here on: whoever stops waiting leaves nothing behind either.
        let transaction = Transaction {
            client: self,
            open: true,
        };
        self.batch_execute(sql).await?;
        self.in_transaction.store(true, Ordering::Relaxed);
        Ok(transaction)
    }

    /// Runs statements in one transaction that find their rows by their keys, all sent at once: a single round trip. Gives the rows of each.
    pub(super) async fn all_in_one(&self, statements: &[(&str, Params<'_>)]) -> Result<Vec<Vec<Row>>, Error> {
        self.answer_to(|| self.pipeline(statements)).await
    }

    async fn pipeline(&self, statements: &[(&str, Params<'_>)]) -> Result<Vec<Vec<Row>>, Error> {
        let object = self.object()?;
        let mut prepared = Vec::with_capacity(statements.len());
        if self.link.prepares {
            for (sql, _) in statements {
                prepared.push(object.prepare_cached(sql).await?);
            }
        }
        // Each is sent when it is first looked at, and they are looked at in their order.
        let rows = async {
            match self.link.prepares {
                true => {
                    let sent = statements
                        .iter()
                        .zip(&prepared)
                        .map(|((_, params), statement)| async move {
                            object.query(statement, &untyped(params)).await
                        });
                    join_all(sent).await
                }
                false => {
                    let sent = statements
                        .iter()
                        .map(|(sql, params)| async move { object.query_typed(sql, &typed(params)).await });
                    join_all(sent).await
                }
            }
        };
        let (begun, rows, committed) = tokio::join!(
            biased;
            object.batch_execute(BY_KEYS), rows, object.batch_execute("COMMIT")
        );
        begun?;
        // The first that fails is the one to blame; a COMMIT after it rolled back.
        let rows = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
        committed?;
        Ok(rows)
    }
}

/// A transaction in progress.
#[derive(Debug)]
pub(super) struct Transaction<'c> {
    client: &'c Client,
    open: bool,
}

impl Transaction<'_> {
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.open = false;
        self.client.in_transaction.store(false, Ordering::Relaxed);
        self.client.batch_execute("COMMIT").await
    }
}

impl Deref for Transaction<'_> {
    type Target = Client;
    fn deref(&self) -> &Client {
        self.client
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.client.in_transaction.store(false, Ordering::Relaxed);
        if self.open
            && let Some(object) = &self.client.object
        {
            object.__private_api_rollback(None);
        }
    }
}

/// Runs a statement of fixed text.
pub(super) async fn query(db: &Client, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
    db.answer_to(|| db.rows(sql, params)).await
}

/// The same in a transaction of its own that finds its rows by their keys, and whose COMMIT waits for the disk.
pub(super) async fn query_durably(db: &Client, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
    let rows = db.all_in_one(&[(DURABLE, &[]), (sql, params)]).await?;
    Ok(rows.into_iter().nth(1).unwrap_or_default())
}

/// The same as [`query`] for a statement that always gives a row.
pub(super) async fn query_one(db: &Client, sql: &str, params: Params<'_>) -> Result<Row, Error> {
    let rows = query(db, sql, params).await?;
    let missing = || Error::Away("the database gave no row where there always is one".to_owned());
    rows.into_iter().next().ok_or_else(missing)
}

/// The same for one that gives no rows; gives how many it touched.
pub(super) async fn run(db: &Client, sql: &str, params: Params<'_>) -> Result<u64, Error> {
    let done = || async {
        let object = db.object()?;
        if db.link.prepares {
            let statement = object.prepare_cached(sql).await?;
            return Ok(object.execute(&statement, &untyped(params)).await?);
        }
        Ok(object.execute_typed(sql, &typed(params)).await?)
    };
    db.answer_to(done).await
}
