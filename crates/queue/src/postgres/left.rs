//! Statements that were left behind: they took too long, or their caller went away.
//!
//! The database does not see that nobody waits for them: one that waits for a lock keeps its connection for as long, although ours is closed, and
//! does its work when nobody expects it any more. As long as somebody had a table locked there would be ever more of them, until the database has no
//! connection left, for the other servers either. So they are cancelled, and until they are gone they count as connections of the pool.
//!
//! Nothing rests on it (see [`super::lane`]): what is not reached by then is left to the database. But who asks in vain says so: of several poolers
//! behind one address one takes the request that knows nothing of the statement, and nobody else would ever tell.

use super::link::Link;
use deadpool_postgres::Object;
use parking_lot::Mutex;
use smtp_observe::{Event, Observer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::{timeout, timeout_at};

/// How long that may take. Others may wait for the connection's place meanwhile.
const CANCEL: Duration = Duration::from_secs(2);
/// How long after that a statement whose end was asked for may still be there before that is worth a word.
const SURE: Duration = Duration::from_secs(3);
/// Requests in vain are told again after that time.
const TELL: Duration = Duration::from_secs(60);

/// A connection that goes out of its pool, and is closed, when this is dropped.
pub(super) struct Left(Option<Object>);

impl Left {
    pub(super) fn new(object: Object) -> Left {
        Left(Some(object))
    }

    /// Ends the statement first, by a task of its own.
    pub(super) fn end(self, link: Arc<Link>) {
        // Without a runtime the process ends, and what it had with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.cancel(link));
        }
    }

    async fn cancel(mut self, link: Arc<Link>) {
        let Some(object) = &self.0 else { return };
        let (token, end) = (object.cancel_token(), tokio::time::Instant::now() + CANCEL);
        // To its end, also when that is not waited for any more.
        let asking = link.clone();
        let asked = tokio::spawn(async move { asking.canceller.cancel(&token).await });
        let taken = matches!(timeout_at(end, asked).await, Ok(Ok(true)));
        // It is gone when something else is answered, or the connection is.
        let gone = timeout_at(end, object.simple_query("")).await.is_ok();
        // Its place in the pool is another's from here on.
        let Some(client) = self.0.take().map(Object::take) else {
            return;
        };
        if taken && !gone && timeout(SURE, client.simple_query("")).await.is_err() {
            link.in_vain.one_more();
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// Requests to end a statement that somebody took, and that ended nothing.
#[derive(Debug, Default)]
pub(super) struct InVain(Mutex<Requests>);

#[derive(Debug, Default)]
struct Requests {
    untold: u64,
    told: Option<Instant>,
}

impl InVain {
    fn one_more(&self) {
        self.0.lock().untold += 1;
    }

    /// Tells of those that were not told yet, once a minute at most.
    pub(super) fn say(&self, observer: &Observer) {
        let mut requests = self.0.lock();
        if requests.untold == 0 || requests.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        requests.told = Some(Instant::now());
        let count = std::mem::take(&mut requests.untold);
        let seconds = (CANCEL + SURE).as_secs();
        drop(requests);
        observer.emit(Event::StoreFailed {
            operation: "cancel",
            error: &format!(
                "{count} of the statements that were given up are still there {seconds} s after their end was asked for: each keeps a connection \
                 of the database, and its locks. Several PgBouncers behind one address need peer_id and [peers]; without a pooler something \
                 holds up the database itself: look into pg_stat_activity"
            ),
        });
    }
}
