//! How the recipients of a new message begin: the same in every store.

use super::{Recipient, State};
use crate::outbox::NewCall;
use crate::store::Term;
use jiff::Timestamp;
use smtp::Enhanced;

/// How the recipients of a new message begin.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// Queued, and due.
    Due,
    /// Leased to the caller.
    Leased(Term),
    /// Deferred, each as said, in their order: it is known that an attempt would be in vain. Counted as one.
    Deferred(Vec<Deferral>),
    /// Queued, and parked until then: suspended by an operator.
    Parked(Timestamp),
    /// As they stood in another store, in their order. A lease is not taken along: who had it is not there.
    AsBefore(Vec<Recipient>),
}

/// Why and until when a recipient waits.
#[derive(Clone, Debug)]
pub struct Deferral {
    /// When it is due.
    pub due: Timestamp,
    /// Its result so far, for people.
    pub text: String,
    /// The same as an enhanced status code, for the log.
    pub status: Enhanced,
    /// What webhooks are told of it.
    pub calls: Vec<NewCall>,
}

/// One recipient, as it is stored at first.
pub(crate) struct Standing<'b> {
    pub(crate) state: State,
    /// When it is due; of a leased one what counts as now, if its lease says that.
    pub(crate) due: Option<Timestamp>,
    /// Of a leased one: it is due at the end of that.
    pub(crate) lease: Option<Term>,
    pub(crate) attempts: u32,
    pub(crate) delay_notified: bool,
    pub(crate) last_result: Option<&'b str>,
    pub(crate) parked: bool,
}

impl Beginning {
    /// How the recipient in that place of a message begins that was received then. One of which nothing is said is due.
    pub(crate) fn standing(&self, index: usize, received_at: Timestamp) -> Standing<'_> {
        let untried = |due| Standing {
            state: State::Queued,
            due: Some(due),
            lease: None,
            attempts: 0,
            delay_notified: false,
            last_result: None,
            parked: false,
        };
        let due = untried(received_at);
        match self {
            Beginning::Due => due,
            Beginning::Leased(lease) => Standing {
                state: State::Leased,
                due: lease.now,
                lease: Some(*lease),
                ..due
            },
            Beginning::Parked(until) => Standing {
                parked: true,
                ..untried(*until)
            },
            Beginning::Deferred(deferrals) => deferrals.get(index).map_or(due, |deferral| Standing {
                state: State::Deferred,
                attempts: 1,
                last_result: Some(&deferral.text),
                ..untried(deferral.due)
            }),
            Beginning::AsBefore(recipients) => recipients.get(index).map_or(due, |before| Standing {
                state: moved(before),
                attempts: before.attempts,
                delay_notified: before.delay_notified,
                last_result: before.last_result.as_deref(),
                parked: before.parked,
                ..untried(before.due)
            }),
        }
    }
}

/// The state that a recipient is moved to another store with.
fn moved(before: &Recipient) -> State {
    match before.state {
        State::Leased => State::given_back(before.attempts),
        state => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp::Address;

    #[test]
    fn what_was_in_another_store_stands_as_it_stood_there() {
        let now = Timestamp::UNIX_EPOCH;
        let of = |state, attempts| Recipient {
            index: 0,
            address: Address::parse("a@x.example").unwrap(),
            notify: None,
            orcpt: None,
            state,
            attempts,
            due: Timestamp::MAX,
            delay_notified: true,
            last_result: Some("450 later".into()),
            parked: true,
        };
        let before = vec![
            of(State::Leased, 0),
            of(State::Leased, 2),
            of(State::Held, 3),
            of(State::Quarantined, 4),
        ];
        let beginning = Beginning::AsBefore(before);
        let all = (0..4).map(|index| beginning.standing(index, now));
        let expected = [
            (State::Queued, 0),
            (State::Deferred, 2),
            (State::Held, 3),
            (State::Quarantined, 4),
        ];
        for (standing, expected) in all.zip(expected) {
            assert_eq!((standing.state, standing.attempts), expected);
            assert_eq!(
                (standing.due, standing.last_result),
                (Some(Timestamp::MAX), Some("450 later"))
            );
            assert!(standing.delay_notified && standing.parked && standing.lease.is_none());
        }
        let unsaid = beginning.standing(4, now);
        assert_eq!((unsaid.state, unsaid.due), (State::Queued, Some(now)));
    }
}
