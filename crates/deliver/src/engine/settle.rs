//! From replies to outcomes: for each recipient one result, one log line, and its part in a report.
//!
//! A job is settled once, in one go: its results and the reports about them are written in one change.

use super::Engine;
use super::job::Job;
use super::results::{Input, Report, Resolved};
use crate::dsn::{self, Action, Reported, Returned};
use crate::schedule::{self, Next, dice, later, since};
use jiff::Timestamp;
use smtp::client::Phase;
use smtp::{Address, Enhanced, Notify, Reply};
use smtp_config::Config;
use smtp_observe::{DeliveryStatus, Event};
use smtp_queue::{Body, ClaimedRecipient, Message, Outcome, Recipient, RecipientResult};
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
}

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
            relay: "none",
            remote: None,
            tls: None,
            uses: 1,
            started,
            success: Success::Relayed,
            pause: Duration::ZERO,
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
struct Mention<'a> {
    place: usize,
    action: Action,
    reply: &'a Reply,
}

impl Engine {
    /// Ends an attempt. Recipients without a reply are given back.
    pub(super) async fn settle(&self, mut job: Job, attempted: Attempted<'_>, replies: Replies<'_>) {
        let config = self.parts.load_full().config.clone();
        let now = Timestamp::now();
        let id = job.message.id.to_string();
        let mut results = Vec::with_capacity(job.recipients.len());
        let mut mentions = Vec::new();
        for (place, claimed) in job.recipients.iter().enumerate() {
            let Some(reply) = replies.get(place) else { break };
            let fate = decide(&job.message, claimed, reply, &attempted, now, &config);
            let text = reply_text(reply, attempted.remote.is_some());
            self.log(
                &job.message,
                &claimed.recipient,
                &attempted,
                reply,
                &fate,
                (&id, &text, now),
            );
            if let Some(action) = fate.told {
                mentions.push(Mention { place, action, reply });
            }
            results.push(RecipientResult {
                attempt: job.attempt(claimed),
                outcome: fate.outcome,
                text: format!("{}: {text}", attempted.relay),
            });
        }
        let reports = if mentions.is_empty() {
            Vec::new()
        } else {
            self.reports(&job, &attempted, &mentions, now, &config).await
        };
        job.recipients.drain(..results.len());
        let resolved = Resolved {
            results,
            reports,
            lease: job.lease.clone(),
        };
        // Without a committer the lease ends by itself.
        let _ = job.results.send(Input::Resolved(resolved));
    }

    fn log(
        &self,
        message: &Message,
        recipient: &Recipient,
        attempted: &Attempted<'_>,
        reply: &Reply,
        fate: &Fate,
        (id, text, now): (&str, &str, Timestamp),
    ) {
        let Enhanced(class, subject, detail) = status_code(reply, &fate.outcome);
        let original = recipient.orcpt.as_ref().map(|orcpt| orcpt.address());
        let to = recipient.address.as_str();
        self.observer.emit(Event::Delivery {
            id,
            to,
            orig_to: original.as_deref().filter(|original| *original != to),
            relay: attempted.relay,
            delay: since(message.received_at, now),
            attempt: attempted.started.elapsed(),
            connection_use: attempted.uses,
            dsn: &format!("{class}.{subject}.{detail}"),
            status: fate.status,
            text,
            tls: attempted.tls,
        });
    }

    /// The reports about recipients of one attempt: one of each kind that is due.
    async fn reports(
        &self,
        job: &Job,
        attempted: &Attempted<'_>,
        mentions: &[Mention<'_>],
        now: Timestamp,
        config: &Config,
    ) -> Vec<Report> {
        let message = &*job.message;
        let mut reports = Vec::new();
        for (kind, logged) in [
            (dsn::DsnKind::Failure, smtp_observe::DsnKind::Failure),
            (dsn::DsnKind::Delay, smtp_observe::DsnKind::Delay),
            (dsn::DsnKind::Success, smtp_observe::DsnKind::Success),
        ] {
            let wanted: Vec<Reported<'_>> = mentions
                .iter()
                .filter(|mention| kind_of(mention.action) == kind)
                .filter_map(|mention| {
                    let claimed = job.recipients.get(mention.place)?;
                    Some(Reported {
                        recipient: &claimed.recipient,
                        action: mention.action,
                        status: report_status(mention, message, now, config),
                        remote: attempted.remote,
                        diagnostic: Some(mention.reply),
                        last_attempt: now,
                        will_retry_until: (mention.action == Action::Delayed)
                            .then(|| schedule::expiry(message.received_at, &config.delivery)),
                    })
                })
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let bounce_copy = if message.sender.is_none() {
                self.double_bounce(job, &wanted, config)
            } else {
                None
            };
            let message = bounce_copy.as_ref().unwrap_or(message);
            if message.sender.is_none() {
                continue;
            }
            let content = self.returned(job, message, kind).await;
            let own = &self.parts.load_full().own;
            if let Some(report) = dsn::report(kind, message, &wanted, &content, own) {
                reports.push(Report {
                    message: report,
                    about: message.id,
                    kind: logged,
                });
            }
        }
        reports
    }

    /// A message without a sender failed: nobody can be told, but the operator may want to know. Gives
    /// the message as if the operator's address had sent it.
    fn double_bounce(&self, job: &Job, failed: &[Reported<'_>], config: &Config) -> Option<Message> {
        for reported in failed {
            self.observer.emit(Event::DoubleBounce {
                id: &job.message.id.to_string(),
                to: reported.recipient.address.as_str(),
                text: &reported
                    .diagnostic
                    .map(|reply| reply_text(reply, true))
                    .unwrap_or_default(),
            });
        }
        let operator = Address::parse(config.delivery.double_bounce_to.as_deref()?).ok()?;
        // A copy that cannot be delivered to the operator makes no other copy.
        let loops = failed
            .iter()
            .any(|reported| reported.recipient.address == operator);
        (!loops).then(|| Message {
            sender: Some(operator),
            ..(*job.message).clone()
        })
    }

    /// What a report returns of the message; nothing if it cannot be read now.
    async fn returned(&self, job: &Job, message: &Message, kind: dsn::DsnKind) -> Returned {
        let nothing = Returned::Headers(Vec::new());
        let body: Body = match job.body() {
            Some(body) => body.clone(),
            None => match self.queue.store().body(&job.message).await {
                Ok(body) => body,
                Err(_) => return nothing,
            },
        };
        dsn::returned_content(message, kind, &body)
            .await
            .unwrap_or(nothing)
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

fn kind_of(action: Action) -> dsn::DsnKind {
    match action {
        Action::Failed => dsn::DsnKind::Failure,
        Action::Delayed => dsn::DsnKind::Delay,
        Action::Delivered | Action::Relayed => dsn::DsnKind::Success,
    }
}

/// The status of a recipient in a report: one that was given up after transient failures has expired.
fn report_status(mention: &Mention<'_>, message: &Message, now: Timestamp, config: &Config) -> Enhanced {
    let expired = mention.action == Action::Failed
        && !mention.reply.is_permanent()
        && now >= schedule::expiry(message.received_at, &config.delivery);
    if expired {
        Enhanced(4, 4, 7)
    } else {
        own_status(mention.reply)
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
fn own_status(reply: &Reply) -> Enhanced {
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
fn reply_text(reply: &Reply, remote: bool) -> String {
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
