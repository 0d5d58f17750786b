//! Reports to senders about the recipients of one attempt: at most one of each kind (RFC 3461, RFC 3464).

use super::Engine;
use super::job::Job;
use super::results::Report;
use super::settle::{Attempted, Mention, own_status, reply_text};
use crate::dsn::{self, Action, Reported, Returned};
use crate::schedule;
use jiff::Timestamp;
use smtp::{Address, Enhanced};
use smtp_config::Config;
use smtp_observe::Event;
use smtp_queue::{Body, Message};

impl Engine {
    /// The reports about recipients of one attempt: one of each kind that is due.
    pub(super) async fn reports(
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
            if let Some(mut report) = dsn::report(kind, message, &wanted, &content, own) {
                // Its own `Date:` says what our clock shows, as that of other mail says what its sender's shows.
                report.received_at = now;
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
