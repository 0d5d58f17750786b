//! Mail that operators keep waiting: taken, parked as it comes by, and not tried.
//!
//! Promises: until the suspensions are known nothing is tried; a change is heard of at once where it was made, and within
//! [`LOOK`] where another server made it; what is on its way may arrive; no attempt is counted; what is parked by who has not heard yet that the
//! suspension has ended waits for no more than [`SWEEPS`].

use super::job::Job;
use super::{Engine, Key, Stop};
use crate::schedule::later;
use jiff::Timestamp;
use smtp::Address;
use smtp_observe::Event;
use smtp_queue::{MailOptions, NewMessage, Outcome, StoreError, Suspension, SuspensionKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often the store is asked.
const LOOK: Duration = Duration::from_secs(1);
/// When mail is looked at again whose suspension has no end.
const OPEN_END: Duration = Duration::from_secs(365 * 86_400);

/// After how many looks at the suspensions, from the one that finds that one has ended, what it keeps waiting is made due once more: it was
/// parked meanwhile, or was just being parked.
const SWEEPS: [u8; 3] = [0, 1, 10];

/// A suspension that has ended, and how many looks ago.
#[derive(Debug)]
pub(super) struct Ended {
    kind: SuspensionKind,
    name: String,
    looks: u8,
}

impl Engine {
    /// Until when mail for a recipient waits, if it is suspended.
    fn suspended(
        &self,
        sender: Option<&Address>,
        options: &MailOptions,
        recipient: &Address,
        destination: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let known = self.suspensions.load();
        let known = known.as_ref().filter(|known| !known.is_empty())?;
        let domain = recipient.domain().to_lowercase();
        let covers = |one: &&Suspension| match one.kind {
            SuspensionKind::Destination => one.name == destination,
            _ => one.covers(sender, options, &domain),
        };
        known
            .iter()
            .filter(|one| one.until.is_none_or(|until| until > now))
            .filter(covers)
            .map(|one| one.until.unwrap_or_else(|| later(now, OPEN_END)))
            .max()
    }

    /// Until when all of a new message waits, if all of it is suspended.
    pub(super) fn all_suspended(&self, message: &NewMessage) -> Option<Timestamp> {
        if self
            .suspensions
            .load()
            .as_ref()
            .is_none_or(|known| known.is_empty())
        {
            return None;
        }
        let (now, parts) = (self.queue.now(), self.parts.load());
        let of = |address: &Address| {
            let destination = Key::of(&parts.router.target(address)).name();
            self.suspended(
                message.sender.as_ref(),
                &message.options,
                address,
                &destination,
                now,
            )
        };
        let ends = message.recipients.iter().map(|recipient| of(&recipient.address));
        ends.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Whether the suspensions are known.
    pub(super) fn knows_suspensions(&self) -> bool {
        self.suspensions.load().is_some()
    }

    /// Parks those recipients of a job for a destination that are suspended.
    pub(super) fn park(&self, job: &mut Job, destination: &str) {
        if self
            .suspensions
            .load()
            .as_ref()
            .is_none_or(|known| known.is_empty())
        {
            return;
        }
        let (now, message) = (self.queue.now(), job.message.clone());
        let mut at = 0;
        while let Some(claimed) = job.recipients.get(at) {
            let address = &claimed.recipient.address;
            let until = self.suspended(
                message.sender.as_ref(),
                &message.options,
                address,
                destination,
                now,
            );
            let Some(until) = until else {
                at += 1;
                continue;
            };
            let rest = job.split_off(at + 1);
            let mut parked = job.split_off(at);
            parked.end_all(&Outcome::Parked { until }, "");
            job.join(rest);
        }
    }

    /// Asks the store which suspensions there are, and ends those that are over.
    pub(crate) async fn read_suspensions(&self) -> Result<(), StoreError> {
        // One after the other: what was read before a change must not be taken for what is known after it.
        let mut ended = self.suspensions_turn.lock().await;
        let known = Arc::new(self.in_force().await?);
        let before = self.suspensions.swap(Some(known.clone()));
        note_ended(&mut ended, before.as_deref(), &known);
        self.sweep(&mut ended).await
    }

    /// The suspensions of the store; those that are over are ended there.
    async fn in_force(&self) -> Result<Vec<Suspension>, StoreError> {
        let store = self.queue.store();
        let now = store.now();
        let mut all = store.suspensions().await?;
        for one in all.extract_if(.., |one| one.until.is_some_and(|until| until <= now)) {
            store.resume(one.kind, one.name, now).await?;
        }
        Ok(all)
    }

    /// Makes due what suspensions keep waiting that have ended.
    async fn sweep(&self, ended: &mut [Ended]) -> Result<(), StoreError> {
        let store = self.queue.store();
        let mut due = 0;
        for one in ended {
            if SWEEPS.contains(&one.looks) {
                due += store.unpark(one.kind, one.name.clone(), store.now()).await?;
            }
            one.looks += 1;
        }
        if due > 0 {
            self.queue.wake();
        }
        Ok(())
    }

    /// Looks again and again, until the server stops.
    pub(super) async fn watch_suspensions(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        while *stop.borrow() == Stop::Running {
            if let Err(error) = self.read_suspensions().await {
                self.observer.emit(Event::StoreFailed {
                    operation: "suspensions",
                    error: &error.to_string(),
                });
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// Notes those that were there before and are not among the known, and forgets those that are back or were swept for the last time.
fn note_ended(ended: &mut Vec<Ended>, before: Option<&Vec<Suspension>>, known: &[Suspension]) {
    let is_known = |kind, name: &str| known.iter().any(|one| (one.kind, &*one.name) == (kind, name));
    let news = before.into_iter().flatten();
    let news = news.filter(|one| !is_known(one.kind, &one.name));
    ended.extend(news.map(|one| Ended {
        kind: one.kind,
        name: one.name.clone(),
        looks: 0,
    }));
    ended.retain(|one| !is_known(one.kind, &one.name) && SWEEPS.iter().any(|sweep| *sweep >= one.looks));
}
