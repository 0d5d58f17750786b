//! Where passwords are hashed: off the reactor, a few at once, the others in a line that has an end.
//!
//! Promises: never more than `auth.max_hashing` at once, whatever becomes of those who asked; the line is bounded, and one network
//! has a quarter of it at most, so that its flood of AUTH leaves room for everybody else.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Places in line for each that is hashed at once: some two seconds of waiting.
const LINE: usize = 32;
/// One network gets this part of the line.
const SHARES: usize = 4;

/// The bench at which passwords are hashed.
#[derive(Debug)]
pub(super) struct Hashing {
    turns: Arc<Semaphore>,
    places: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<u128, usize>,
}

/// A place in the line and later at the bench. Dropping it gives it back.
#[derive(Debug)]
struct Place {
    taken: Arc<Mutex<Taken>>,
    client: u128,
}

/// The line is full, or this client's part of it, or the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Hashing {
    pub(super) fn new(at_once: usize) -> Self {
        Hashing {
            turns: Arc::new(Semaphore::new(at_once)),
            places: at_once.saturating_mul(LINE),
            taken: Arc::default(),
        }
    }

    /// Does the work when its turn comes. `client` is the key of a network.
    ///
    /// Work that has begun goes to its end, and keeps its turn, even if nobody waits for it any more.
    ///
    /// # Errors
    /// [`Busy`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        client: u128,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = self.place(client)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Busy)?;
        let work = move || {
            let (_place, _turn) = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Busy)
    }

    fn place(&self, client: u128) -> Result<Place, Busy> {
        let mut taken = self.taken.lock();
        let own = taken.of.get(&client).copied().unwrap_or_default();
        if taken.all >= self.places || own >= (self.places / SHARES).max(1) {
            return Err(Busy);
        }
        taken.all += 1;
        taken.of.insert(client, own + 1);
        Ok(Place {
            taken: self.taken.clone(),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        match taken.of.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.of.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    /// Work that lasts until its sender is dropped.
    fn held() -> (Sender<()>, impl FnOnce() + Send) {
        let (release, held) = channel::<()>();
        (release, move || {
            let _ = held.recv();
        })
    }

    async fn until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, waiting).await.expect("in time");
    }

    #[tokio::test]
    async fn no_more_than_so_many_at_once() {
        let hashing = Arc::new(Hashing::new(2));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..16)
            .map(|client| {
                let (hashing, now, most) = (hashing.clone(), now.clone(), most.clone());
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                tokio::spawn(async move { hashing.run(client, work).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert!(hashing.taken.lock().of.is_empty() && hashing.taken.lock().all == 0);
    }

    #[tokio::test]
    async fn a_network_that_fills_its_part_leaves_room_for_others() {
        let hashing = Arc::new(Hashing::new(1));
        let (release, work) = held();
        let first = tokio::spawn({
            let hashing = hashing.clone();
            async move { hashing.run(1, work).await }
        });
        until(|| hashing.turns.available_permits() == 0).await;
        let flood: Vec<_> = (0..LINE)
            .map(|_| {
                let hashing = hashing.clone();
                tokio::spawn(async move { hashing.run(2, || ()).await })
            })
            .collect();
        until(|| hashing.taken.lock().all == 1 + LINE / SHARES).await;
        assert_eq!(hashing.run(2, || ()).await, Err(Busy));
        let other = tokio::spawn({
            let hashing = hashing.clone();
            async move { hashing.run(3, || "done").await }
        });
        until(|| hashing.taken.lock().all == 2 + LINE / SHARES).await;
        drop(release);
        assert_eq!(other.await.unwrap(), Ok("done"));
        assert_eq!(first.await.unwrap(), Ok(()));
        let mut done = 0;
        for task in flood {
            done += usize::from(task.await.unwrap().is_ok());
        }
        assert_eq!(done, LINE / SHARES);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_turn_and_then_gives_it_back() {
        let hashing = Arc::new(Hashing::new(1));
        let (release, work) = held();
        let gone = tokio::spawn({
            let hashing = hashing.clone();
            async move { hashing.run(1, work).await }
        });
        until(|| hashing.turns.available_permits() == 0).await;
        gone.abort();
        let _ = gone.await;
        assert_eq!(hashing.turns.available_permits(), 0);
        drop(release);
        until(|| hashing.turns.available_permits() == 1 && hashing.taken.lock().all == 0).await;
    }
}
