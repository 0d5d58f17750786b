//! Statements that were left behind: they took too long, or their caller went away.
//!
//! The database does not see that nobody waits for them: one that waits for a lock keeps its connection for as long, although ours is closed, and
//! does its work when nobody expects it any more. As long as somebody had a table locked there would be ever more of them, until the database has no
//! connection left, for the other servers either. So they are cancelled, and until they are gone they count as connections of the pool.
//!
//! Nothing rests on it (see [`super::lane`]): what is not reached by then is left to the database.

use super::link::Link;
use deadpool_postgres::Object;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long that may take. Others may wait for the connection's place meanwhile.
const CANCEL: Duration = Duration::from_secs(2);

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
            runtime.spawn(async move {
                let _ = timeout(CANCEL, self.cancel(link)).await;
            });
        }
    }

    async fn cancel(&self, link: Arc<Link>) -> Option<()> {
        let object = self.0.as_ref()?;
        let token = object.cancel_token();
        // To its end, also when that is not waited for any more.
        let asked = tokio::spawn(async move { link.canceller.cancel(&token).await });
        asked.await.ok()?;
        // It is gone when something else is answered.
        object.simple_query("").await.ok().map(drop)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
