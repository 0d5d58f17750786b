//! What becomes of leased recipients.

use super::{Attempt, State};
use crate::outbox::NewCall;
use jiff::Timestamp;

/// What became of one leased recipient.
#[derive(Clone, Debug)]
pub struct RecipientResult {
    /// Whose.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: Outcome,
    /// What is kept as [`Recipient::last_result`](super::Recipient::last_result).
    pub text: String,
    /// What webhooks are told of it; not stored with a result that comes too late.
    pub calls: Vec<NewCall>,
}

/// How an attempt ended for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Delivered,
    /// Failed for good.
    Bounced,
    /// Given up.
    Expired,
    /// To be tried again.
    Deferred {
        /// When.
        due: Timestamp,
        /// Its sender is told now that it is late.
        delay_notified: bool,
    },
    /// Given back as it was: no attempt is counted.
    Released {
        /// When it is due again.
        due: Timestamp,
    },
    /// Given back as it was, because an operator suspended it; it is due when it is resumed, or then.
    Parked {
        /// When the suspension ends.
        until: Timestamp,
    },
    /// It could not be read.
    Quarantined,
}

impl Outcome {
    /// The state that it leads to; `None` when the recipient is given back as it was.
    pub(crate) fn state(&self) -> Option<State> {
        match self {
            Outcome::Delivered => Some(State::Delivered),
            Outcome::Bounced => Some(State::Bounced),
            Outcome::Expired => Some(State::Expired),
            Outcome::Deferred { .. } => Some(State::Deferred),
            Outcome::Quarantined => Some(State::Quarantined),
            Outcome::Released { .. } | Outcome::Parked { .. } => None,
        }
    }

    /// When the recipient is due next, if it is to be.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        match self {
            Outcome::Deferred { due, .. } | Outcome::Released { due } => Some(*due),
            Outcome::Parked { until } => Some(*until),
            Outcome::Delivered | Outcome::Bounced | Outcome::Expired | Outcome::Quarantined => None,
        }
    }

    /// Whether its sender is told now that it is late.
    pub(crate) fn tells_of_delay(&self) -> bool {
        matches!(
            self,
            Outcome::Deferred {
                delay_notified: true,
                ..
            }
        )
    }
}
