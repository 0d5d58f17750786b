//! From replies to outcomes: for each recipient one result, one log line, and its part in a report.
//!
//! A job is settled once, in one go: its results and the reports about them are written in one change.

use super::Engine;
use super::calls::{self, About, Happened};
use super::job::{Job, Work};
use super::results::{Input, Resolved};
use crate::dsn::Action;
use crate::schedule::{self, Next, dice, later, since};
use jiff::Timestamp;
use smtp::client::Phase;
use smtp::{Address, Enhanced, Notify, Orcpt, Reply};
use smtp_config::Config;
use smtp_observe::{DeliveryStatus, Event, Phases, Span, SpanKind, TraceContext};
use smtp_queue::{ClaimedRecipient, Message, Outcome, QueueId, RecipientResult};
use std::time::{Duration, Instant};

/// Longest text kept of a reply, in characters.
const TEXT: usize = 500;

/// How an attempt was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted<'a> {
    /// For the log.
    pub(super) relay: &'a str,
    /// The server that spoke; `None`: the finding is ours.
    pub(super) remote: Option<&'a str>,
    /// Version and cipher.
    pub(super) tls: Option<&'a str>,
    /// Use of the connection, from 1.
    pub(super) uses: u32,
    /// When it began.
    pub(super) started: Instant,
    /// What a success means.
    pub(super) success: Success,
    /// A recipient is not tried again before that.
    pub(super) pause: Duration,
    /// How long each phase took.
    pub(super) phases: Option<Phases>,
}

/// The relay of an attempt that met no server; Postfix's word.
pub(super) const NOWHERE: &str = "none";

/// What a success means to a sender who asked to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Success {
    /// The mailbox has it.
    Delivered,
    /// A server has it that sends no reports of success.
    Relayed,
    /// A server has it that will tell the sender itself (RFC 3461 5.2.2).
    PassedOn,
}

impl<'a> Attempted<'a> {
    /// An attempt that met no server.
    pub(super) fn nowhere(started: Instant) -> Self {
        Attempted {
            relay: NOWHERE,
            remote: None,
            tls: None,
            uses: 1,
            started,
            success: Success::Relayed,
            pause: Duration::ZERO,
            phases: None,
        }
    }
}

/// The replies that decide, for the recipients of a job in their order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replies<'a> {
    /// The same for all.
    Same(&'a Reply),
    /// One each.
    Each(&'a [(Phase, Reply)]),
}

impl<'a> Replies<'a> {
    fn get(self, place: usize) -> Option<&'a Reply> {
        match self {
            Replies::Same(reply) => Some(reply),
            Replies::Each(replies) => replies.get(place).map(|(_, reply)| reply),
        }
    }
}

/// What becomes of one recipient.
struct Fate {
    outcome: Outcome,
    status: DeliveryStatus,
    /// Whether its sender is to be told, and what.
    told: Option<Action>,
}

/// A recipient that a report is to mention.
pub(super) struct Mention<'a> {
    pub(super) place: usize,
    pub(super) action: Action,
    pub(super) reply: &'a Reply,
}

impl Engine {
    /// Ends an attempt. Recipients without a reply are given back.
    pub(super) async fn settle(&self, mut job: Job, attempted: Attempted<'_>, replies: Replies<'_>) {
        let config = self.parts.load_full().config.clone();
        let now = self.queue.now();
        let id = job.message.id.to_string();
        let mut results = Vec::with_capacity(job.recipients.len());
        let mut mentions = Vec::new();
        let captured = matches!(job.work, Work::Capture);
        let mut span = self.span(job.message.id, job.message.options.traceparent, &attempted);
        for (place, claimed) in job.recipients.iter().enumerate() {
            let Some(reply) = replies.get(place) else { break };
            let fate = decide(&job.message, claimed, reply, &attempted, now, &config);
            let text = reply_text(reply, attempted.remote.is_some());
            let recipient = &claimed.recipient;
            let status = status_code(reply, &fate.outcome);
            self.log(
                (&id, job.message.received_at),
                (&recipient.address, recipient.orcpt.as_ref()),
                &attempted,
                status,
                (fate.status, &text),
            );
            if span.is_recorded() && (place == 0 || fate.status != DeliveryStatus::Sent) {
                tell(&mut span, fate.status, &text);
            }
            if let Some(action) = fate.told {
                mentions.push(Mention { place, action, reply });
            }
            let due = match fate.outcome {
                Outcome::Deferred { due, .. } => Some(due),
                _ => None,
            };
            let happened = Happened {
                event: calls::event(fate.status, captured),
                recipient: &recipient.address,
                orcpt: recipient.orcpt.as_ref(),
                attempt: recipient.attempts + 1,
                relay: attempted.relay,
                status,
                text: &text,
                due,
            };
            results.push(RecipientResult {
                attempt: job.attempt(claimed),
                outcome: fate.outcome,
                text: match attempted.relay {
                    NOWHERE => text.to_string(),
                    relay => format!("{relay}: {text}"),
                },
                calls: calls::calls(&config.webhooks, About::from(&*job.message), happened),
            });
        }
        span.set("smtp.recipients", results.len() as u64);
        drop(span);
        let reports = if mentions.is_empty() {
            Vec::new()
        } else {
            self.reports(&job, &attempted, &mentions, now, &config).await
        };
        job.recipients.drain(..results.len());
        let resolved = Resolved::of(&job, results, reports);
        // Without a committer the lease ends by itself.
        let _ = job.results.send(Input::Resolved(resolved));
    }

    /// The attempt for those who trace mail; it ends when it is dropped.
    pub(super) fn span(
        &self,
        id: QueueId,
        traceparent: Option<TraceContext>,
        attempted: &Attempted<'_>,
    ) -> Span {
        let tracer = self.observer.tracer();
        let mut span = tracer.of_message(id.to_bytes(), traceparent, "delivery attempt", SpanKind::Client);
        if span.is_recorded() {
            span.began(attempted.started);
            span.set("smtp.queue_id", &*id.to_string());
            span.set("smtp.relay", attempted.relay);
            span.set("smtp.connection_use", u64::from(attempted.uses));
            if let Some(tls) = attempted.tls {
                span.set("smtp.tls", tls);
            }
        }
        span
    }

    /// One line for one recipient of the message with this id, received then.
    pub(super) fn log(
        &self,
        (id, received_at): (&str, Timestamp),
        (address, orcpt): (&Address, Option<&Orcpt>),
        attempted: &Attempted<'_>,
        Enhanced(class, subject, detail): Enhanced,
        (status, text): (DeliveryStatus, &str),
    ) {
        let original = orcpt.map(Orcpt::address);
        let to = address.as_str();
        self.observer.emit(Event::Delivery {
            id,
            to,
            orig_to: original.as_deref().filter(|original| *original != to),
            relay: attempted.relay,
            delay: since(received_at, self.queue.now()),
            attempt: attempted.started.elapsed(),
            connection_use: attempted.uses,
            dsn: &format!("{class}.{subject}.{detail}"),
            status,
            text,
            tls: attempted.tls,
            phases: attempted.phases,
        });
    }
}

/// Tells how an attempt ended. Of several recipients the last that was not sent counts.
pub(super) fn tell(span: &mut Span, status: DeliveryStatus, text: &str) {
    match status {
        DeliveryStatus::Sent => span.set("smtp.reply", text),
        _ => span.fail(&format!("{}: {text}", status.name())),
    }
}

/// What becomes of a recipient with this reply.
fn decide(
    message: &Message,
    claimed: &ClaimedRecipient,
    reply: &Reply,
    attempted: &Attempted<'_>,
    now: Timestamp,
    config: &Config,
) -> Fate {
    let recipient = &claimed.recipient;
    let wants = |what: Notify| recipient.notify.is_none_or(|asked| asked.contains(what));
    let failed = wants(Notify::FAILURE).then_some(Action::Failed);
    if reply.is_positive() {
        let asked = recipient
            .notify
            .is_some_and(|asked| asked.contains(Notify::SUCCESS));
        let told = match attempted.success {
            Success::Delivered => asked.then_some(Action::Delivered),
            Success::Relayed => asked.then_some(Action::Relayed),
            Success::PassedOn => None,
        };
        let told = told.filter(|_| message.sender.is_some());
        return Fate {
            outcome: Outcome::Delivered,
            status: DeliveryStatus::Sent,
            told,
        };
    }
    if reply.is_permanent() {
        return Fate {
            outcome: Outcome::Bounced,
            status: DeliveryStatus::Bounced,
            told: failed,
        };
    }
    match schedule::next_try(
        recipient.attempts,
        message.received_at,
        now,
        &config.delivery,
        dice(),
    ) {
        Next::GiveUp => Fate {
            outcome: Outcome::Expired,
            status: DeliveryStatus::Expired,
            told: failed,
        },
        Next::At(due) => {
            let notice = message.sender.is_some()
                && schedule::notice_due(
                    recipient.delay_notified,
                    recipient.notify,
                    message.received_at,
                    now,
                    &config.delivery,
                );
            let due = due.max(later(now, attempted.pause));
            Fate {
                outcome: Outcome::Deferred {
                    due,
                    delay_notified: notice,
                },
                status: DeliveryStatus::Deferred,
                told: notice.then_some(Action::Delayed),
            }
        }
    }
}

fn status_code(reply: &Reply, outcome: &Outcome) -> Enhanced {
    if matches!(outcome, Outcome::Expired) {
        Enhanced(4, 4, 7)
    } else {
        own_status(reply)
    }
}

/// The reply's enhanced code; one made of its class if it has none, or one of another class.
pub(super) fn own_status(reply: &Reply) -> Enhanced {
    let class = match reply.code {
        200..300 => 2,
        500..600 => 5,
        _ => 4,
    };
    reply
        .enhanced
        .filter(|enhanced| enhanced.0 == class)
        .unwrap_or(Enhanced(class, 0, 0))
}

/// A reply on one line, with its codes when a server said it.
pub(super) fn reply_text(reply: &Reply, remote: bool) -> String {
    let mut text = String::new();
    if remote {
        text.push_str(&format!("{} ", reply.code));
        if let Some(Enhanced(class, subject, detail)) = reply.enhanced {
            text.push_str(&format!("{class}.{subject}.{detail} "));
        }
    }
    text.extend(
        reply
            .text
            .chars()
            .take(TEXT)
            .map(|letter| if letter.is_control() { ' ' } else { letter }),
    );
    text
}
