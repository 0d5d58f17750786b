//! One suite that any store must pass: the promises of [`crate::store`], one case each.
//!
//! A store's own tests call [`run_all`] with a [`Subject`], which knows how to make such a store, how to let
//! it crash, and how to damage it.

// It is a test that other crates can call: a panic is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod administration;
pub mod directory;
mod interventions;
mod leases;
mod messages;
mod operator;
pub mod outbox;
mod random;
pub mod shared;

use crate::id::QueueId;
use crate::message::{
    Attempt, Beginning, Body, Claim, Deferral, MailOptions, NewMessage, NewRecipient, Outcome,
    RecipientResult, State,
};
use crate::steady::Steady;
use crate::store::{ClaimRequest, Filter, Finished, MessageDetail, Store, Term};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use smtp::Address;
use std::sync::Arc;
use std::time::Duration;

/// Makes stores for the suite.
#[async_trait]
pub trait Subject: Send + Sync {
    /// An empty store, apart from all others.
    async fn fresh(&self) -> Arc<dyn Store>;
    /// The same store again, after its process died without closing it.
    async fn crash(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;
    /// Makes the stored address of a recipient unreadable.
    async fn spoil_address(&self, store: &Arc<dyn Store>, message: i64, recipient: u32);
    /// Takes a message's content away.
    async fn spoil_content(&self, store: &Arc<dyn Store>, message: i64);
    /// Gives a message content again.
    async fn mend_content(&self, store: &Arc<dyn Store>, message: i64, content: &[u8]);
}

/// Runs every case; panics with what was not kept.
pub async fn run_all(subject: &dyn Subject) {
    messages::run(subject).await;
    leases::run(subject).await;
    operator::run(subject).await;
    interventions::run(subject).await;
    administration::run(subject).await;
    for seed in 1..=4 {
        random::run(subject, seed).await;
    }
}

/// A moment `seconds` after a fixed start in the past, so that everything stored is due.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A message received at `at(received)`, for some recipients.
pub(crate) fn message(received: i64, recipients: &[&str]) -> NewMessage {
    let recipients = recipients.iter().map(|recipient| NewRecipient {
        address: address(recipient),
        notify: None,
        orcpt: None,
    });
    NewMessage {
        id: QueueId::generate(),
        received_at: at(received),
        sender: Some(address("sender@from.example")),
        options: MailOptions {
            origin: "client [192.0.2.1]".to_owned(),
            ..MailOptions::default()
        },
        recipients: recipients.collect(),
        body: Body::Memory(Bytes::from_static(b"Subject: test\r\n\r\nHello\r\n")),
    }
}

async fn insert(store: &Arc<dyn Store>, message: NewMessage) -> QueueId {
    let id = message.id;
    assert!(store.insert(message, Beginning::Due).await.unwrap().is_none());
    id
}

/// Selects one message.
fn by_id(id: QueueId) -> Filter {
    Filter {
        ids: vec![id],
        ..Filter::default()
    }
}

async fn claim_all(store: &Arc<dyn Store>, now: Timestamp) -> Vec<Claim> {
    store.claim(request(now, 1000)).await.unwrap()
}

/// What is due at an instant, for a minute.
pub(crate) fn request(now: Timestamp, limit: usize) -> ClaimRequest {
    ClaimRequest {
        lease: minute(now),
        ..due_now(limit)
    }
}

/// What is due by the store's clock, for a minute.
pub(crate) fn due_now(limit: usize) -> ClaimRequest {
    ClaimRequest {
        lease: Term::of(Duration::from_secs(60)),
        limit,
        exclude_domains: Vec::new(),
    }
}

/// A lease of a minute, from then on.
fn minute(now: Timestamp) -> Term {
    Term {
        length: Duration::from_secs(60),
        now: Some(now),
    }
}

/// A lease that ends then.
fn until(end: Timestamp) -> Term {
    Term {
        length: Duration::ZERO,
        now: Some(end),
    }
}

/// The attempts of a claim, in its order.
pub(crate) fn attempts(claim: &Claim) -> Vec<Attempt> {
    let attempt = |claimed: &crate::message::ClaimedRecipient| Attempt {
        message: claim.message.key,
        recipient: claimed.recipient.index,
        epoch: claimed.epoch,
    };
    claim.recipients.iter().map(attempt).collect()
}

/// What became of the first recipient of a claim; webhooks are told nothing.
pub(crate) fn ended(claim: &Claim, outcome: Outcome) -> RecipientResult {
    result(attempts(claim)[0], outcome)
}

/// The first recipient of a claim was delivered; webhooks are told nothing.
pub(crate) fn delivered(claim: &Claim) -> RecipientResult {
    ended(claim, Outcome::Delivered)
}

fn result(attempt: Attempt, outcome: Outcome) -> RecipientResult {
    RecipientResult {
        attempt,
        outcome,
        text: "relay: 250 2.0.0 Ok".to_owned(),
        calls: Vec::new(),
    }
}

async fn finish(store: &Arc<dyn Store>, attempt: Attempt, outcome: Outcome) -> Finished {
    let results = vec![result(attempt, outcome)];
    store.finish(results, Vec::new()).await.unwrap()
}

fn deferred(due: Timestamp) -> Outcome {
    Outcome::Deferred {
        due,
        delay_notified: false,
    }
}

async fn show(store: &Arc<dyn Store>, id: QueueId) -> MessageDetail {
    store
        .show(id)
        .await
        .unwrap()
        .expect("the message is in the queue")
}

async fn states(store: &Arc<dyn Store>, id: QueueId) -> Vec<State> {
    show(store, id)
        .await
        .recipients
        .iter()
        .map(|recipient| recipient.state)
        .collect()
}

/// The figures are those that one gets by counting.
async fn assert_counted(store: &Arc<dyn Store>) {
    let (mut messages, mut bytes, mut recipients) = (0, 0, [0_u64; State::ALL.len()]);
    let mut after = None;
    loop {
        let page = store.list(Filter::default(), after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.message.id);
        for line in page {
            messages += 1;
            bytes += line.message.size;
            for state in states(store, line.message.id).await {
                recipients[state as usize] += 1;
            }
        }
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (stats.messages, stats.bytes, stats.recipients),
        (messages, bytes, recipients)
    );
}

fn in_seconds(from: Timestamp, seconds: i64) -> Timestamp {
    from + SignedDuration::from_secs(seconds)
}
