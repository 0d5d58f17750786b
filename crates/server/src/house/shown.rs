//! How what the rooms say looks in the API.

use super::stop::State;
use jiff::Timestamp;
use smtp_deliver::{Held, Standing};
use smtp_http::{Destination, DrainStatus, Holding, Session};
use smtp_receive::SessionInfo;
use std::time::Instant;

/// A next hop as the API shows it.
pub(super) fn destination(name: String, standing: Standing) -> Destination {
    Destination {
        name,
        state: match (standing.down_until, standing.probing) {
            (Some(_), _) => "down",
            (None, true) => "probing",
            (None, false) => "up",
        },
        waiting: standing.waiting as u64,
        sending: standing.sending as u64,
        connections: standing.connections as u64,
        concurrency: standing.allowed as u64,
        max_concurrency: standing.cap as u64,
        failures: standing.failures.into(),
        last_error: standing.last_failure.as_ref().map(|(_, why)| why.to_string()),
        last_error_at: standing.last_failure.as_ref().map(|(at, _)| moment(*at)),
        next_attempt: standing.down_until.map(moment),
    }
}

/// A session as the API shows it.
pub(super) fn session(info: SessionInfo) -> Session {
    Session {
        number: info.number,
        since: moment(info.opened),
        peer: info.peer.to_string(),
        listener: info.listener.name(),
        tls: info.tls.map(|version| version.name()),
        account: info.account.map(|account| account.name.to_string()),
        state: info.doing.name(),
        messages: info.messages.into(),
    }
}

/// A session that holds the end up.
pub(super) fn session_holding(info: SessionInfo) -> Holding {
    let (number, peer) = (info.number, info.peer);
    let (listener, state) = (info.listener.name(), info.doing.name());
    Holding {
        room: "receive",
        what: format!("session {number} of {peer} on {listener}: {state}"),
        since: Some(moment(info.opened)),
    }
}

/// A delivery that holds the end up.
pub(super) fn delivery_holding(held: Held) -> Holding {
    Holding {
        room: "deliver",
        what: held.what,
        since: held.since.map(moment),
    }
}

/// How far the end is.
pub(super) fn drain(state: State, holding: Vec<Holding>, count: u64) -> DrainStatus {
    let (reason, since) = state.because.unzip();
    DrainStatus {
        phase: state.phase.name(),
        reason,
        since: since.map(moment),
        count,
        holding,
    }
}

/// What a clock on the wall showed, or will, at an instant.
fn moment(at: Instant) -> Timestamp {
    let (now, here) = (Timestamp::now(), Instant::now());
    let earlier = now.checked_sub(here.saturating_duration_since(at));
    let moment = earlier.and_then(|moment| moment.checked_add(at.saturating_duration_since(here)));
    moment.unwrap_or(now)
}
