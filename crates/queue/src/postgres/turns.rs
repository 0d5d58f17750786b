//! How much one server asks of the database at once for the mail that it delivers.
//!
//! Claims, results and histories are large statements that nobody waits for. One server alone runs as many of them beside each other as it
//! has: [`AT_ONCE`]. Were each of many servers to do so, the database's processes would only take turns on its cores, each with the others' memory
//! in its caches, and rows that one has claimed would look due to the others for longer. So all servers together have no more of them under way than
//! one could, and at least one each. Not where they take longer than [`PATIENCE`]: then they go on beside each other.

use crate::store::Shared;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

/// Statements that servers have under way together, while each may have one.
const AT_ONCE: u32 = 4;
/// After so long a statement does not wait any more for the server's others: it may be them that hang.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    places: Semaphore,
    shared: watch::Receiver<Shared>,
}

impl Turns {
    pub(super) fn new(shared: watch::Receiver<Shared>) -> Turns {
        Turns {
            places: Semaphore::new(AT_ONCE as usize),
            shared,
        }
    }

    /// Waits for the server's other statements, if there are other servers. What is given is to be kept until the statement is done.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        // Of three servers or more each may have one under way: another does not fit beside it.
        let weight = u32::try_from(self.shared.borrow().servers).unwrap_or(AT_ONCE);
        let turn = self.places.acquire_many(weight.clamp(1, AT_ONCE));
        timeout(PATIENCE, turn).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many statements may be under way where there are so many servers.
    async fn at_once(servers: usize) -> usize {
        let shared = watch::Sender::new(Shared {
            servers,
            ..Shared::default()
        });
        let turns = Turns::new(shared.subscribe());
        let mut taken = Vec::new();
        while let Ok(Some(turn)) = timeout(Duration::ZERO, turns.take()).await {
            taken.push(turn);
        }
        taken.len()
    }

    #[tokio::test]
    async fn all_servers_together_have_as_many_as_one() {
        for (servers, each) in [(0, 4), (1, 4), (2, 2), (3, 1), (4, 1), (5, 1), (1000, 1)] {
            assert_eq!(at_once(servers).await, each, "{servers}");
        }
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_nobody_for_long() {
        let shared = watch::Sender::new(Shared {
            servers: 9,
            ..Shared::default()
        });
        let turns = Turns::new(shared.subscribe());
        let _hangs = turns.take().await.expect("the first");
        assert!(turns.take().await.is_none());
    }
}
