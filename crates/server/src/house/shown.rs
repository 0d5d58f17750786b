//! How what the rooms say looks in the API.

use super::stop::State;
use jiff::Timestamp;
use smtp_deliver::{Held, Standing};
use smtp_export::WebhookStanding;
use smtp_http::{Destination, DrainStatus, Holding, Session, Webhook};
use smtp_queue::CallsWaiting;
use smtp_receive::SessionInfo;
use std::collections::BTreeMap;
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
        max_rate: standing.rate,
        waits_for_rate: standing.waits_for_rate,
        failures: standing.failures.into(),
        last_error: standing.last_failure.as_ref().map(|(_, why)| why.to_string()),
        last_error_at: standing.last_failure.as_ref().map(|(at, _)| moment(*at)),
        next_attempt: standing.down_until.map(moment),
    }
}

/// The webhooks by name, those that are gone too.
pub(super) fn webhooks(
    standings: Vec<(smtp_config::Webhook, WebhookStanding)>,
    waiting: Vec<CallsWaiting>,
) -> Vec<Webhook> {
    let mut waiting: BTreeMap<String, CallsWaiting> = waiting
        .into_iter()
        .map(|one| (one.webhook.clone(), one))
        .collect();
    let mut all: Vec<Webhook> = Vec::new();
    for (webhook, standing) in standings {
        let calls = waiting.remove(&webhook.name);
        let (last_error_at, last_error) = standing.last_error.unzip();
        all.push(Webhook {
            state: match (standing.down, standing.taken) {
                (true, _) => "down",
                (false, 0) => "untried",
                (false, _) => "up",
            },
            url: Some(webhook.url.as_str().to_owned()),
            events: webhook.events.iter().map(|event| event.name()).collect(),
            accounts: webhook.accounts,
            taken: standing.taken,
            last_taken_at: standing.last_taken,
            last_error,
            last_error_at,
            ..with_calls(webhook.name, calls)
        });
    }
    all.extend(
        waiting
            .into_iter()
            .map(|(name, calls)| with_calls(name, Some(calls))),
    );
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// A webhook of which only its calls are known.
fn with_calls(name: String, calls: Option<CallsWaiting>) -> Webhook {
    Webhook {
        name,
        state: "gone",
        url: None,
        events: Vec::new(),
        accounts: Vec::new(),
        waiting: calls.as_ref().map_or(0, |calls| calls.calls),
        oldest: calls.map(|calls| calls.oldest),
        taken: 0,
        last_taken_at: None,
        last_error: None,
        last_error_at: None,
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

/// Calls of a webhook that hold the end up, if there are any.
pub(super) fn webhook_holding(
    (webhook, standing): (smtp_config::Webhook, WebhookStanding),
) -> Option<Holding> {
    let oldest = standing.under_way.values().min()?;
    Some(Holding {
        room: "webhooks",
        what: format!("{} calls of {}", standing.under_way.len(), webhook.name),
        since: Some(moment(*oldest)),
    })
}

/// How far the end is.
pub(super) fn drain(state: State, holding: Vec<Holding>, count: u64) -> DrainStatus {
    let (reason, since) = state.because.unzip();
    DrainStatus {
        phase: state.phase.name(),
        reason,
        since: since.map(moment),
        left: state.left,
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
