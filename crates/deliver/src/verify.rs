//! What next hops said of addresses, for a while: `recipients = "verify"` asks them at RCPT.
//!
//! Promises: at most [`MOST`] addresses are known, the oldest go first; what was said is good for [`EXISTS`] or
//! [`UNKNOWN`]; a "yes" that is older stands in, up to [`STANDS_IN`], for a next hop that cannot be asked.
//! No sockets or clocks in here: the caller brings the time.

use crate::route::Hop;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most addresses that are remembered.
const MOST: usize = 10_000;
/// How long an address is known to exist.
const EXISTS: Duration = Duration::from_secs(3600);
/// How long one is known not to: shorter, since somebody may be making it.
const UNKNOWN: Duration = Duration::from_secs(300);
/// How old a "yes" may be that stands in.
const STANDS_IN: Duration = Duration::from_secs(24 * 3600);

/// Whether a next hop takes mail for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It does, or there is nobody to ask.
    Exists,
    /// It does not.
    Unknown,
    /// It cannot be asked now, or does not say.
    Unavailable,
}

/// Whom was asked, for which address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub hop: Arc<Hop>,
    /// As it was asked, its domain in lower case.
    pub address: String,
}

#[derive(Debug)]
struct Known {
    exists: bool,
    since: Instant,
    /// Tells it from what was known of the same address before.
    number: u64,
}

/// The answers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    known: HashMap<Arc<Question>, Known>,
    /// In the order in which they came; of an address that was asked again, the old ones too.
    order: VecDeque<(u64, Arc<Question>)>,
    number: u64,
}

impl Memory {
    /// What is known, if it is good still.
    pub(crate) fn recall(&self, question: &Question, now: Instant) -> Option<Presence> {
        let known = self.known.get(question)?;
        let (answer, good) = match known.exists {
            true => (Presence::Exists, EXISTS),
            false => (Presence::Unknown, UNKNOWN),
        };
        (now.saturating_duration_since(known.since) < good).then_some(answer)
    }

    /// Keeps an answer; gives what is to be said: to nobody's answer, what it said before.
    pub(crate) fn learn(&mut self, question: Arc<Question>, answer: Presence, now: Instant) -> Presence {
        let exists = match answer {
            Presence::Exists => true,
            Presence::Unknown => false,
            Presence::Unavailable => return self.stand_in(&question, now),
        };
        self.number += 1;
        let known = Known {
            exists,
            since: now,
            number: self.number,
        };
        self.known.insert(question.clone(), known);
        self.order.push_back((self.number, question));
        while self.known.len() > MOST || self.order.len() > 2 * MOST {
            let Some((number, oldest)) = self.order.pop_front() else {
                break;
            };
            if self
                .known
                .get(&*oldest)
                .is_some_and(|known| known.number == number)
            {
                self.known.remove(&*oldest);
            }
        }
        answer
    }

    fn stand_in(&self, question: &Question, now: Instant) -> Presence {
        let fits = |known: &Known| known.exists && now.saturating_duration_since(known.since) < STANDS_IN;
        match self.known.get(question) {
            Some(known) if fits(known) => Presence::Exists,
            _ => Presence::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::HopKind;
    use smtp_config::TlsPolicy;

    fn question(address: &str) -> Arc<Question> {
        let hop = Arc::new(Hop {
            kind: HopKind::Mx("x.test".into()),
            tls: TlsPolicy::None,
        });
        Arc::new(Question {
            hop,
            address: address.into(),
        })
    }

    #[test]
    fn answers_are_good_for_a_while() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let (ann, bob) = (question("ann@x.test"), question("bob@x.test"));
        assert_eq!(memory.recall(&ann, start), None);
        memory.learn(ann.clone(), Presence::Exists, start);
        memory.learn(bob.clone(), Presence::Unknown, start);
        let (before, after) = (Duration::from_millis(999), Duration::from_secs(1));
        assert_eq!(
            memory.recall(&ann, start + EXISTS - after + before),
            Some(Presence::Exists)
        );
        assert_eq!(memory.recall(&ann, start + EXISTS), None);
        assert_eq!(
            memory.recall(&bob, start + UNKNOWN - after),
            Some(Presence::Unknown)
        );
        assert_eq!(memory.recall(&bob, start + UNKNOWN), None);
    }

    #[test]
    fn an_old_yes_stands_in_and_an_old_no_does_not() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let (ann, bob) = (question("ann@x.test"), question("bob@x.test"));
        memory.learn(ann.clone(), Presence::Exists, start);
        memory.learn(bob.clone(), Presence::Unknown, start);
        let later = start + EXISTS;
        assert_eq!(
            memory.learn(ann.clone(), Presence::Unavailable, later),
            Presence::Exists
        );
        assert_eq!(memory.recall(&ann, later), None, "it is asked again");
        assert_eq!(
            memory.learn(bob, Presence::Unavailable, later),
            Presence::Unavailable
        );
        let late = start + STANDS_IN;
        assert_eq!(
            memory.learn(ann, Presence::Unavailable, late),
            Presence::Unavailable
        );
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let again = question("again@x.test");
        memory.learn(question("first@x.test"), Presence::Exists, now);
        for _ in 0..3 * MOST {
            memory.learn(again.clone(), Presence::Exists, now);
        }
        assert!(memory.order.len() <= 2 * MOST);
        for number in 0..MOST {
            memory.learn(question(&format!("{number}@x.test")), Presence::Exists, now);
        }
        assert_eq!(memory.known.len(), MOST);
        assert_eq!(memory.recall(&question("first@x.test"), now), None);
        assert_eq!(memory.recall(&again, now), None);
        assert_eq!(memory.recall(&question("0@x.test"), now), Some(Presence::Exists));
    }
}
