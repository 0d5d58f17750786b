//! One look for all who ask at the same time: figures that anybody may ask for without a password must not cost the store more the more ask.

use std::time::Instant;
use tokio::sync::Mutex;

/// What was seen last, and when that look began.
#[derive(Debug)]
pub(super) struct Together<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Together<T> {
    fn default() -> Self {
        Together(Mutex::new(None))
    }
}

impl<T: Clone> Together<T> {
    /// What `look` sees. It is never older than the question: of many who ask while one looks, one looks next, for all of them.
    pub(super) async fn look(&self, look: impl Future<Output = T>) -> T {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((began, seen)) = &*last
            && *began >= asked
        {
            return seen.clone();
        }
        let began = Instant::now();
        let seen = look.await;
        *last = Some((began, seen.clone()));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn who_asks_together_is_told_by_one_look_and_nobody_by_an_older_one() {
        let (together, looks) = (Arc::new(Together::default()), Arc::new(AtomicUsize::new(0)));
        // The first look takes until others have asked.
        let goes_on = Arc::new(Semaphore::new(0));
        let ask = || {
            let (together, looks, goes_on) = (together.clone(), looks.clone(), goes_on.clone());
            async move {
                let look = async {
                    let number = looks.fetch_add(1, Ordering::SeqCst) + 1;
                    if number == 1 {
                        goes_on.acquire().await.unwrap().forget();
                    }
                    number
                };
                together.look(look).await
            }
        };
        let first = tokio::spawn(ask());
        while looks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let mut others = JoinSet::new();
        for _ in 0..100 {
            others.spawn(ask());
        }
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        goes_on.add_permits(1);
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(others.join_all().await, [2; 100]);
        assert_eq!(ask().await, 3, "nobody looked since it asked");
    }
}
