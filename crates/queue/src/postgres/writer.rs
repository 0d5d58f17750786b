//! Gathers messages that are to be stored, and stores what has gathered in one statement: while one COMMIT waits for the disk, the next
//! batch grows. Nobody is answered before the COMMIT that their message is in.

use super::bodies;
use super::calm::Calm;
use super::clock::Clock;
use super::error::Error;
use super::insert::{self, Insert, InsertAll, Stored};
use super::lane::{Fate, Lane};
use super::link::Link;
use super::servers::Me;
use crate::message::{Beginning, Body, Claim};
use crate::outbox::Overflow;
use crate::store::StoreError;
use parking_lot::Mutex;
use smtp_observe::{Event, Observer};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Lanes that messages are stored by: one waits for the disk while the other gathers and sends.
pub(super) const LANES: i16 = 2;
/// Most messages in one statement.
const MAX_MESSAGES: usize = 256;
/// Octets after which a statement takes no more messages.
const MAX_OCTETS: u64 = 4 << 20;

/// A message, and who waits for it.
struct Pending {
    insert: Insert,
    reply: oneshot::Sender<Result<Option<Claim>, StoreError>>,
}

/// What all who store have in common.
#[derive(Clone, Debug)]
pub(super) struct Shop {
    pub(super) link: Arc<Link>,
    pub(super) me: Arc<Me>,
    pub(super) clock: Clock,
    pub(super) calm: Calm,
    pub(super) observer: Observer,
    pub(super) calls_stored: watch::Sender<()>,
    pub(super) overflow: Arc<Mutex<Overflow>>,
    /// Large contents on their way, in or out: each has a connection for as long, and small mail must not wait for one.
    pub(super) large: Arc<Semaphore>,
    /// Keys of large contents that nobody holds any more: what of them has no message goes when the database has time.
    pub(super) unneeded: Arc<Mutex<Vec<i64>>>,
}

/// Takes messages that are to be stored. When it is dropped, what it has is stored, and its task ends.
#[derive(Debug)]
pub(super) struct Writer {
    shop: Shop,
    pending: mpsc::UnboundedSender<Pending>,
}

impl Writer {
    pub(super) fn start(shop: Shop, lanes: Vec<Lane>) -> Writer {
        let (pending, received) = mpsc::unbounded_channel();
        tokio::spawn(gather(shop.clone(), lanes, received));
        Writer { shop, pending }
    }

    /// Stores a message; on return it is committed.
    pub(super) async fn store(&self, mut insert: Insert) -> Result<Option<Claim>, StoreError> {
        insert.message.check()?;
        if let Body::File { path, .. } = &insert.message.body {
            insert.uploaded = Some(bodies::upload(&self.shop, path).await?);
        }
        let (reply, answer) = oneshot::channel();
        let pending = Pending { insert, reply };
        self.pending.send(pending).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Gives each lane that is free what has gathered.
async fn gather(shop: Shop, lanes: Vec<Lane>, mut received: mpsc::UnboundedReceiver<Pending>) {
    let (free, mut lanes_free) = mpsc::unbounded_channel();
    for lane in lanes {
        // Its other end is here.
        let _ = free.send(lane);
    }
    while let Some(first) = received.recv().await {
        let Some(lane) = lanes_free.recv().await else {
            return;
        };
        let batch = fill(first, &mut received);
        tokio::spawn(commit(shop.clone(), lane, batch, free.clone()));
    }
}

/// What has gathered behind a message, as much as goes into one statement with it.
fn fill(first: Pending, received: &mut mpsc::UnboundedReceiver<Pending>) -> Vec<Pending> {
    let mut octets = first.insert.octets();
    let mut batch = vec![first];
    while batch.len() < MAX_MESSAGES && octets < MAX_OCTETS {
        let Ok(next) = received.try_recv() else { break };
        octets += next.insert.octets();
        batch.push(next);
    }
    batch
}

/// Stores a batch together, or failing that each message by itself, and answers.
async fn commit(shop: Shop, mut lane: Lane, batch: Vec<Pending>, free: mpsc::UnboundedSender<Lane>) {
    let (inserts, replies): (Vec<Insert>, Vec<_>) =
        batch.into_iter().map(|one| (one.insert, one.reply)).unzip();
    let mut answers = Vec::with_capacity(inserts.len());
    match shop.store(&mut lane, &inserts).await {
        Ok(stored) => answers.extend(inserts.iter().map(|insert| shop.claim(insert, &stored))),
        // One that cannot be stored is not to hurt its neighbours.
        Err(error) if inserts.len() > 1 && error.is_of_the_change() => {
            for alone in inserts.chunks(1) {
                let stored = shop.store(&mut lane, alone).await.map_err(StoreError::from);
                let answer = |insert| shop.claim(insert, stored.as_ref().map_err(Clone::clone)?);
                answers.extend(alone.iter().map(answer));
            }
        }
        Err(error) => {
            let error = StoreError::from(error);
            answers.resize_with(inserts.len(), || Err(error.clone()));
        }
    }
    // Whoever is answered may ask for the next at once.
    let _ = free.send(lane);
    if let Some(Err(error)) = answers.iter().find(|answer| answer.is_err()) {
        // One line for a batch.
        shop.observer.emit(Event::StoreFailed {
            operation: "insert",
            error: &error.to_string(),
        });
    }
    for (answer, reply) in answers.into_iter().zip(replies) {
        // A session that went away: its message is found when its lease ends.
        let _ = reply.send(answer);
    }
}

impl Shop {
    async fn store(&self, lane: &mut Lane, inserts: &[Insert]) -> Result<Stored, Error> {
        let start = Instant::now();
        let stored = match lane
            .change(&InsertAll {
                inserts,
                now: self.clock.now(),
            })
            .await?
        {
            Fate::Done(stored) => stored,
            Fate::Committed => Stored {
                // Those that are not found were taken on by others; or, if this fails, they are when their first lease ends.
                keys: self.look_up(inserts).await.unwrap_or_default(),
                is_certain: false,
                ..Stored::default()
            },
            Fate::InDoubt(_, error) => return Err(error),
        };
        self.observer.emit(Event::Committed {
            messages: inserts.len(),
            results: 0,
            duration: start.elapsed(),
        });
        if inserts
            .iter()
            .any(|insert| matches!(insert.beginning, Beginning::Deferred(_)))
        {
            self.calls_stored.send_replace(());
        }
        self.say_dropped(&stored.dropped);
        Ok(stored)
    }

    async fn look_up(&self, inserts: &[Insert]) -> Result<insert::Keys, Error> {
        insert::look_up(&self.link.client().await?, inserts).await
    }

    /// The claim on a message, if it was stored as leased.
    fn claim(&self, insert: &Insert, stored: &Stored) -> Result<Option<Claim>, StoreError> {
        let key = stored.keys.get(&insert.message.id);
        if key.is_none() && stored.is_certain {
            let text = "this server was thought dead while a large message came: it was not stored";
            return Err(StoreError::Unavailable(text.to_owned()));
        }
        Ok(match (&insert.beginning, key) {
            (Beginning::Leased(lease), Some(key)) => {
                let until = insert.asked + lease.length;
                Some(insert.message.claimed(*key, lease.end(self.clock.now()), until))
            }
            _ => None,
        })
    }

    pub(super) fn say_dropped(&self, dropped: &super::outbox::Dropped) {
        let mut overflow = self.overflow.lock();
        overflow.add(dropped.clone());
        overflow.say(&self.observer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::message;
    use crate::message::NewMessage;
    use std::path::PathBuf;

    fn pending(message: NewMessage) -> Pending {
        Pending {
            insert: Insert::new(message, Beginning::Due),
            reply: oneshot::channel().0,
        }
    }

    #[tokio::test]
    async fn a_statement_is_filled_by_what_travels_in_it() {
        let (sender, mut received) = mpsc::unbounded_channel();
        let of = |body: Body| NewMessage {
            body,
            ..message(0, &["a@x.example"])
        };
        let large = || {
            of(Body::File {
                path: PathBuf::from("elsewhere"),
                size: 100 << 20,
                held: None,
            })
        };
        let small = || of(Body::Memory(vec![0; 1 << 20].into()));
        for message in [small(), large(), small(), small(), small(), small()] {
            assert!(sender.send(pending(message)).is_ok());
        }
        // A large content is in the database before: its message goes with others, as many as there is room for.
        assert_eq!(fill(pending(large()), &mut received).len(), 6);
        assert_eq!(fill(pending(small()), &mut received).len(), 2);
        // Of very many recipients there are not as many messages.
        let addresses: Vec<String> = (0..1000).map(|number| format!("a{number}@x.example")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        for _ in 0..100 {
            assert!(sender.send(pending(message(0, &addresses))).is_ok());
        }
        let batch = fill(pending(message(0, &addresses)), &mut received);
        assert!((20..60).contains(&batch.len()), "{}", batch.len());
    }
}
