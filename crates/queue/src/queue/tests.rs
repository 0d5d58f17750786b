use super::*;
use crate::message::{Body, MailOptions, NewRecipient, State};
use crate::sqlite::{SqliteSettings, SqliteStore};
use crate::{ClaimRequest, QueueId, Term};
use bytes::Bytes;
use jiff::SignedDuration;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

#[derive(Debug, Default)]
struct Delivery {
    room: AtomicBool,
    woken: AtomicUsize,
    offered: Mutex<Vec<Claim>>,
    waits_until: Mutex<Option<Timestamp>>,
    deferred: Mutex<Vec<QueueId>>,
}

impl Handoff for Delivery {
    fn intake(&self, _: &NewMessage) -> Intake {
        let waits = self.waits_until.lock();
        if let Some(due) = *waits {
            let (text, status) = ("451 away".to_owned(), smtp::Enhanced(4, 4, 1));
            return Intake::Defer(vec![Deferral {
                due,
                text,
                status,
                calls: Vec::new(),
            }]);
        }
        match self.room.load(Ordering::Relaxed) {
            true => Intake::Room,
            false => Intake::NoRoom,
        }
    }
    fn deferred(&self, message: &Deferred) {
        self.deferred.lock().push(message.id);
    }
    fn offer(&self, claim: Claim) {
        self.offered.lock().push(claim);
    }
    fn wake(&self) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

fn queue(folder: &TempDir) -> Queue {
    let settings = SqliteSettings {
        path: folder.path().join("smtp.db"),
        min_free: 0,
        memory_budget: 1 << 20,
    };
    let (store, spool) = SqliteStore::open(settings, smtp_observe::Observer::silent()).unwrap();
    Queue::new(store, spool)
}

fn message() -> NewMessage {
    let address = smtp::Address::parse("a@x.example").unwrap();
    NewMessage {
        id: QueueId::generate(),
        received_at: Timestamp::now(),
        sender: None,
        options: MailOptions::default(),
        recipients: vec![NewRecipient {
            address,
            notify: None,
            orcpt: None,
        }],
        body: Body::Memory(Bytes::from_static(b"x")),
    }
}

async fn count(queue: &Queue, state: State) -> u64 {
    queue.store().stats().await.unwrap().recipients[state as usize]
}

#[tokio::test]
async fn new_mail_is_offered_with_its_body_while_there_is_room() {
    let folder = TempDir::new().unwrap();
    let (queue, delivery) = (queue(&folder), Arc::new(Delivery::default()));
    queue.submit(message()).await.unwrap();
    queue.connect(delivery.clone());
    assert_eq!(
        delivery.woken.load(Ordering::Relaxed),
        1,
        "there may be mail already"
    );
    queue.submit(message()).await.unwrap();
    assert_eq!(delivery.woken.load(Ordering::Relaxed), 2);
    assert_eq!(count(&queue, State::Queued).await, 2);
    delivery.room.store(true, Ordering::Relaxed);
    queue.submit(message()).await.unwrap();
    let claim = delivery.offered.lock().pop().unwrap();
    assert!(matches!(claim.body, Some(Body::Memory(bytes)) if bytes == "x"));
    assert_eq!(count(&queue, State::Leased).await, 1);
    queue.disconnect();
    queue.submit(message()).await.unwrap();
    assert!(delivery.offered.lock().is_empty());
    assert_eq!(count(&queue, State::Queued).await, 3);
}

#[tokio::test]
async fn mail_that_would_be_tried_in_vain_begins_deferred() {
    let folder = TempDir::new().unwrap();
    let (queue, delivery) = (queue(&folder), Arc::new(Delivery::default()));
    queue.connect(delivery.clone());
    let due = Timestamp::now() + SignedDuration::from_secs(100);
    *delivery.waits_until.lock() = Some(due);
    let new = message();
    let id = new.id;
    queue.submit(new).await.unwrap();
    let stored = queue.store().show(id).await.unwrap().unwrap();
    let recipient = &stored.recipients[0];
    assert_eq!(
        (
            recipient.state,
            recipient.attempts,
            recipient.last_result.as_deref()
        ),
        (State::Deferred, 1, Some("451 away"))
    );
    assert_eq!(recipient.due.as_millisecond(), due.as_millisecond());
    assert_eq!(*delivery.deferred.lock(), [id]);
    assert!(delivery.offered.lock().is_empty());
    assert_eq!(
        delivery.woken.load(Ordering::Relaxed),
        1,
        "by the connection only"
    );
}

/// Disconnects the queue between the lease and the offer.
#[derive(Debug)]
struct Leaving(Queue);

impl Handoff for Leaving {
    fn intake(&self, _: &NewMessage) -> Intake {
        self.0.disconnect();
        Intake::Room
    }
    fn deferred(&self, _: &Deferred) {}
    fn offer(&self, _: Claim) {
        panic!("nothing is offered during the drain");
    }
    fn wake(&self) {}
}

#[tokio::test]
async fn what_cannot_be_offered_any_more_is_given_back() {
    let folder = TempDir::new().unwrap();
    let queue = queue(&folder);
    queue.connect(Arc::new(Leaving(queue.clone())));
    queue.submit(message()).await.unwrap();
    assert_eq!(
        (
            count(&queue, State::Leased).await,
            count(&queue, State::Queued).await
        ),
        (0, 1)
    );
    let request = ClaimRequest {
        lease: Term::of(Duration::from_secs(1)),
        limit: 1,
        exclude_domains: Vec::new(),
    };
    assert_eq!(
        queue.store().claim(request).await.unwrap().len(),
        1,
        "at once, not when the lease would end"
    );
}

#[tokio::test]
async fn results_wait_longer_the_more_servers_write_them() {
    let folder = TempDir::new().unwrap();
    assert_eq!(queue(&folder).company(), Duration::ZERO, "a store of our own");
    let waits = [1, 4, 1000].map(|servers| company_of(servers).as_millis());
    assert_eq!(waits, [12, 48, 100]);
}
