//! What was written to the store last, and when: however often readiness is asked, writing for it costs next to nothing.

use smtp_queue::StoreError;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long it is believed that the store can be written, or cannot.
const ANEW: Duration = Duration::from_secs(2);

/// Whether the store could be written, and when that was tried; nothing, until somebody asked.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<Option<(Instant, Result<(), StoreError>)>>);

impl Written {
    /// Whether the store can be written: by `write`, or by what that gave less than two seconds ago. Of many who ask while one writes, all
    /// are given its answer.
    ///
    /// That the store was away is no answer once it is there again (`is_away`), be it remembered or given by a connection that broke meanwhile:
    /// then it is written to at once, so that a server is ready as soon as its database is back.
    ///
    /// # Errors
    /// What `write` gave.
    pub(super) async fn ask<W>(
        &self,
        is_away: impl Fn() -> bool,
        write: impl Fn() -> W,
    ) -> Result<(), StoreError>
    where
        W: Future<Output = Result<(), StoreError>>,
    {
        let mut last = self.0.lock().await;
        let is_outdated =
            |result: &Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(_))) && !is_away();
        if let Some((at, result)) = &*last
            && at.elapsed() < ANEW
            && !is_outdated(result)
        {
            return result.clone();
        }
        let mut result = write().await;
        if is_outdated(&result) {
            result = write().await;
        }
        *last = Some((Instant::now(), result.clone()));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    /// A store that answers what it is told to, in order.
    #[derive(Default)]
    struct Told {
        away: Cell<bool>,
        answers: RefCell<VecDeque<&'static str>>,
    }

    impl Told {
        async fn ask(&self, written: &Written) -> &'static str {
            let write = || {
                let answer = self.answers.borrow_mut().pop_front();
                std::future::ready(match answer.expect("an answer") {
                    "away" => Err(StoreError::Unavailable("connection refused".into())),
                    "full" => Err(StoreError::Full("/data".into())),
                    _ => Ok(()),
                })
            };
            match written.ask(|| self.away.get(), write).await {
                Ok(()) => "written",
                Err(StoreError::Unavailable(_)) => "away",
                Err(_) => "full",
            }
        }

        fn answers(&self, answers: &[&'static str]) {
            self.answers.borrow_mut().extend(answers);
        }

        /// How many answers nobody asked for.
        fn left(&self) -> usize {
            self.answers.borrow().len()
        }
    }

    /// As if two seconds had gone by.
    async fn later(written: &Written) {
        let mut last = written.0.lock().await;
        let (at, _) = last.as_mut().unwrap();
        *at = at.checked_sub(ANEW).unwrap();
    }

    #[tokio::test]
    async fn an_answer_is_believed_for_two_seconds() {
        let (written, store) = (Written::default(), Told::default());
        store.answers(&["written", "full", "written"]);
        assert_eq!(store.ask(&written).await, "written");
        assert_eq!(store.ask(&written).await, "written");
        later(&written).await;
        assert_eq!(store.ask(&written).await, "full");
        assert_eq!(store.ask(&written).await, "full");
        assert_eq!(store.left(), 1);
        later(&written).await;
        assert_eq!(store.ask(&written).await, "written");
    }

    #[tokio::test]
    async fn that_the_store_was_away_is_no_answer_once_it_is_back() {
        let (written, store) = (Written::default(), Told::default());
        store.away.set(true);
        store.answers(&["away", "written"]);
        assert_eq!(store.ask(&written).await, "away");
        assert_eq!(store.ask(&written).await, "away");
        assert_eq!(store.left(), 1);
        store.away.set(false);
        assert_eq!(store.ask(&written).await, "written");
        // A connection broke that the outage had left: the next one may be whole.
        later(&written).await;
        store.answers(&["away", "written"]);
        assert_eq!(store.ask(&written).await, "written");
        // But nobody tries for ever.
        later(&written).await;
        store.answers(&["away", "away", "written"]);
        assert_eq!(store.ask(&written).await, "away");
        assert_eq!(store.left(), 1);
    }
}
