//! A database that is away when the store is to be opened: it is waited for, if what keeps it away may pass by itself.

use super::error::Unopened;
use super::pause::Pauses;
use crate::store::StoreError;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Shortest and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// An attempt in vain, after which there is another.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'w> {
    /// What was wrong this time.
    pub error: &'w StoreError,
    /// How long it is waited already.
    pub waited: Duration,
}

/// How long a database that is away is waited for, and who is told.
#[derive(Clone, Copy)]
pub struct Patience<'p> {
    /// After that time the last attempt is made; zero: the first is the last.
    pub at_most: Duration,
    /// Told of each attempt after which there is another.
    pub tell: &'p (dyn Fn(Waiting<'_>) + Send + Sync),
}

impl Patience<'static> {
    /// Nothing is waited for.
    pub const NONE: Patience<'static> = Patience {
        at_most: Duration::ZERO,
        tell: &|_| {},
    };
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Patience").field(&self.at_most).finish()
    }
}

/// Does it, again and again as long as it fails for what may pass.
pub(super) async fn until_there<T, F>(
    patience: Patience<'_>,
    attempt: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, Unopened>>,
{
    let (begun, mut pauses) = (Instant::now(), Pauses::new(PAUSES));
    loop {
        let Unopened { error, passes } = match attempt().await {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
        let waited = begun.elapsed();
        let left = patience.at_most.saturating_sub(waited);
        if !passes || left.is_zero() {
            return Err(error);
        }
        (patience.tell)(Waiting {
            error: &error,
            waited,
        });
        sleep(pauses.next().min(left)).await;
    }
}
