//! Waiting for a store that is somewhere else, and may be away.

use smtp_queue::Store;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The shortest wait. A store that comes and goes is not asked more often.
const LEAST: Duration = Duration::from_millis(100);

/// Tells when the store answers again.
#[derive(Debug)]
pub(super) struct Returns(Option<watch::Receiver<u64>>);

impl Returns {
    pub(super) fn of(store: &dyn Store) -> Self {
        Returns(store.returns())
    }

    /// Waits so long, or until the store answers again after it had not.
    pub(super) async fn or(&mut self, pause: Duration) {
        if let Some(returns) = &mut self.0 {
            returns.mark_unchanged();
        }
        sleep(LEAST.min(pause)).await;
        let rest = pause.saturating_sub(LEAST);
        let again = async {
            let changed = match &mut self.0 {
                Some(returns) => returns.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        };
        // Which of the two it was makes no difference.
        let _ = timeout(rest, again).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_store_is_back() {
        let sender = watch::Sender::new(0);
        let mut returns = Returns(Some(sender.subscribe()));
        // What was before is no news: this one ends by itself.
        sender.send_replace(1);
        returns.or(Duration::from_millis(1)).await;
        // Also when it comes back in the moment for which it is not asked.
        let (waited, ()) = tokio::join!(
            timeout(Duration::from_secs(60), returns.or(Duration::MAX)),
            async {
                sender.send_replace(2);
            }
        );
        assert!(waited.is_ok());
        // Without a store that tells of it there is only the time.
        Returns(None).or(Duration::from_millis(1)).await;
        drop(sender);
        returns.or(Duration::from_millis(101)).await;
    }
}
