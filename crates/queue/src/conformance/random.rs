//! A random series of operations beside a model that is too simple to be wrong.

use super::*;
use std::collections::BTreeMap;

/// What the model knows of a recipient.
#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    due: i64,
    attempts: u32,
    /// Of the newest lease.
    epoch: Option<i64>,
}

fn known(state: State, due: i64, attempts: u32, epoch: Option<i64>) -> Known {
    Known {
        state,
        due,
        attempts,
        epoch,
    }
}

/// Ids and, by key and index, recipients.
#[derive(Default)]
struct Model {
    ids: BTreeMap<i64, QueueId>,
    recipients: BTreeMap<(i64, u32), Known>,
    /// Every lease there ever was.
    leases: Vec<Attempt>,
    now: i64,
}

/// xorshift64: the same series for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub(super) async fn run(subject: &dyn Subject, seed: u64) {
    let mut store = subject.fresh().await;
    let (mut model, mut random) = (Model::default(), Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    for step in 0..300_u32 {
        model.now += random.below(20) as i64;
        match random.below(20) {
            0..7 => model.insert(&store, &mut random).await,
            7..10 => model.claim(&store, &mut random).await,
            10..17 => model.finish(&store, &mut random).await,
            17 => model.retry(&store).await,
            18 => model.delete(&store, &mut random).await,
            _ if step.is_multiple_of(3) => {
                store = subject.crash(store).await;
                model.crash(&store).await;
            }
            _ => {}
        }
        model.compare(&store, seed, step).await;
    }
    assert_counted(&store).await;
}

impl Model {
    async fn insert(&mut self, store: &Arc<dyn Store>, random: &mut Random) {
        let all = ["a@x.example", "b@x.example", "c@y.example", "d@z.example"];
        let count = 1 + random.below(4) as u32;
        let new = message(self.now, &all[..count as usize]);
        let id = new.id;
        let due = self.now + random.below(90) as i64;
        let deferral = Deferral {
            due: at(due),
            text: "451 away".into(),
            status: smtp::Enhanced(4, 4, 1),
            calls: Vec::new(),
        };
        let (beginning, known) = match random.below(5) {
            0..2 => (Beginning::Due, known(State::Queued, self.now, 0, None)),
            2..4 => {
                let until = self.now + 60;
                (
                    Beginning::Leased(minute(at(self.now))),
                    known(State::Leased, until, 0, Some(1)),
                )
            }
            _ => (
                Beginning::Deferred(vec![deferral; count as usize]),
                known(State::Deferred, due, 1, None),
            ),
        };
        let claim = store.insert(new, beginning).await.unwrap();
        let key = show(store, id).await.message.key;
        self.ids.insert(key, id);
        for index in 0..count {
            self.recipients.insert((key, index), known);
        }
        self.leases.extend(claim.iter().flat_map(attempts));
    }

    async fn claim(&mut self, store: &Arc<dyn Store>, random: &mut Random) {
        let limit = 1 + random.below(6) as usize;
        let due = |known: &Known| {
            matches!(known.state, State::Queued | State::Leased | State::Deferred) && known.due <= self.now
        };
        let waiting = self.recipients.values().filter(|known| due(known)).count();
        let claims = store.claim(request(at(self.now), limit)).await.unwrap();
        let mut claimed = 0;
        for attempt in claims.iter().flat_map(attempts) {
            let known = self
                .recipients
                .get_mut(&(attempt.message, attempt.recipient))
                .unwrap();
            assert!(known.due <= self.now && known.epoch.is_none_or(|epoch| epoch < attempt.epoch));
            *known = Known {
                state: State::Leased,
                due: self.now + 60,
                epoch: Some(attempt.epoch),
                ..*known
            };
            self.leases.push(attempt);
            claimed += 1;
        }
        assert_eq!(claimed, waiting.min(limit));
    }

    async fn finish(&mut self, store: &Arc<dyn Store>, random: &mut Random) {
        if self.leases.is_empty() {
            return;
        }
        let mut results = Vec::new();
        for _ in 0..=random.below(3) {
            let attempt = self.leases[random.below(self.leases.len() as u64) as usize];
            if results
                .iter()
                .all(|result: &RecipientResult| result.attempt != attempt)
            {
                let outcome = self.outcome(random);
                results.push(RecipientResult {
                    attempt,
                    outcome,
                    text: "x".to_owned(),
                    calls: Vec::new(),
                });
            }
        }
        let finished = store.finish(results.clone(), Vec::new()).await.unwrap();
        for result in results {
            let attempt = result.attempt;
            let known = self.recipients.get_mut(&(attempt.message, attempt.recipient));
            let held =
                known.filter(|known| known.state == State::Leased && known.epoch == Some(attempt.epoch));
            assert_eq!(held.is_none(), finished.fenced.contains(&attempt), "{attempt:?}");
            if let Some(known) = held {
                apply(known, &result.outcome);
            }
        }
        for id in self.drop_finished() {
            assert!(finished.removed.contains(&id));
        }
    }

    fn outcome(&self, random: &mut Random) -> Outcome {
        match random.below(13) {
            0..5 => Outcome::Delivered,
            5 => Outcome::Bounced,
            6 => Outcome::Expired,
            7..10 => deferred(at(self.now + random.below(100) as i64)),
            10 => Outcome::Released { due: at(self.now) },
            11 => Outcome::Parked {
                until: at(self.now + 5),
            },
            _ => Outcome::Quarantined,
        }
    }

    /// Messages whose recipients are all final.
    fn drop_finished(&mut self) -> Vec<QueueId> {
        let open = |key: &i64| {
            self.recipients
                .range((*key, 0)..=(*key, u32::MAX))
                .any(|(_, known)| !known.state.is_final())
        };
        let gone: Vec<i64> = self.ids.keys().filter(|key| !open(key)).copied().collect();
        gone.into_iter().filter_map(|key| self.forget(key)).collect()
    }

    fn forget(&mut self, key: i64) -> Option<QueueId> {
        self.recipients.retain(|(message, _), _| *message != key);
        self.ids.remove(&key)
    }

    async fn retry(&mut self, store: &Arc<dyn Store>) {
        let filter = Filter {
            domain: Some("y.example".to_owned()),
            ..Filter::default()
        };
        store.retry(filter, at(self.now)).await.unwrap();
        let meant: Vec<i64> = self
            .recipients
            .keys()
            .filter(|(_, index)| *index == 2)
            .map(|(key, _)| *key)
            .collect();
        for ((key, _), known) in &mut self.recipients {
            if meant.contains(key) && matches!(known.state, State::Queued | State::Deferred) {
                *known = Known {
                    state: State::Queued,
                    due: self.now,
                    ..*known
                };
            }
        }
    }

    async fn delete(&mut self, store: &Arc<dyn Store>, random: &mut Random) {
        let Some((&key, &id)) = self
            .ids
            .iter()
            .nth(random.below(self.ids.len().max(1) as u64) as usize)
        else {
            return;
        };
        assert_eq!(store.delete(by_id(id)).await.unwrap(), 1);
        self.forget(key);
    }

    /// A store may give leases back when it recovers, or let them end; the model follows it.
    async fn crash(&mut self, store: &Arc<dyn Store>) {
        for (&key, &id) in &self.ids {
            for recipient in show(store, id).await.recipients {
                let known = self.recipients.get_mut(&(key, recipient.index)).unwrap();
                if known.state == State::Leased {
                    let due = recipient.due.as_second() - at(0).as_second();
                    *known = Known {
                        state: recipient.state,
                        due,
                        ..*known
                    };
                    self.now = self.now.max(if recipient.state == State::Leased {
                        0
                    } else {
                        due + 1
                    });
                }
            }
        }
    }

    async fn compare(&self, store: &Arc<dyn Store>, seed: u64, step: u32) {
        let mut counts = [0_u64; State::ALL.len()];
        for known in self.recipients.values() {
            counts[known.state as usize] += 1;
        }
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.recipients, counts, "seed {seed}, step {step}");
        assert_eq!(stats.messages, self.ids.len() as u64, "seed {seed}, step {step}");
        if step.is_multiple_of(50) {
            for (&key, &id) in &self.ids {
                for recipient in show(store, id).await.recipients {
                    let known = self.recipients[&(key, recipient.index)];
                    assert_eq!(
                        (recipient.state, recipient.attempts),
                        (known.state, known.attempts)
                    );
                }
            }
        }
    }
}

fn apply(known: &mut Known, outcome: &Outcome) {
    known.attempts += u32::from(!matches!(
        outcome,
        Outcome::Released { .. } | Outcome::Parked { .. }
    ));
    known.state = match outcome {
        Outcome::Delivered => State::Delivered,
        Outcome::Bounced => State::Bounced,
        Outcome::Expired => State::Expired,
        Outcome::Quarantined => State::Quarantined,
        Outcome::Deferred { .. } => State::Deferred,
        Outcome::Released { .. } | Outcome::Parked { .. } if known.attempts == 0 => State::Queued,
        Outcome::Released { .. } | Outcome::Parked { .. } => State::Deferred,
    };
    if let Outcome::Deferred { due, .. } | Outcome::Released { due } | Outcome::Parked { until: due } =
        outcome
    {
        known.due = due.as_second() - at(0).as_second();
    }
}
