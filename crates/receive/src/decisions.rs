//! What each command is answered: the decisions that the protocol leaves to the server.

use crate::listener::whole_seconds;
use crate::transaction::{NotStored, Stored, Transaction};
use crate::visit::{Refusal, Visit};
use smtp::body::BodyInfo;
use smtp::session::Note;
use smtp::{Address, Enhanced, MailParams, RcptParams, Reply};
use smtp_observe::{Event, RejectReason, Violation};
use std::time::{Duration, Instant};

impl Visit {
    /// MAIL: within the rate limit, and is there room?
    pub(crate) fn mail(
        &self,
        sender: Option<Address>,
        params: MailParams,
    ) -> Result<Box<Transaction>, Reply> {
        let policy = self.shared.policy();
        let refusal = match self.shared.take_token(&policy, self.peer.ip()) {
            Err(wait) => Some((rate_limited(wait), RejectReason::RateLimited)),
            Ok(()) if !self.shared.queue.spool().has_room(params.size.unwrap_or(0)) => {
                let reply = Reply::new(
                    452,
                    Enhanced(4, 3, 1),
                    "Insufficient system storage, try again later",
                );
                Some((reply, RejectReason::StorageFull))
            }
            Ok(()) => None,
        };
        match refusal {
            None => Ok(Box::new(Transaction::new(policy, sender, params))),
            Some((reply, reason)) => {
                let from = Some(sender.as_ref().map_or("", Address::as_str));
                self.rejected(&Refusal {
                    from,
                    ..Refusal::new("MAIL", &reply, reason)
                });
                Err(reply)
            }
        }
    }

    /// RCPT: the relay rule.
    pub(crate) fn rcpt(
        &self,
        transaction: &mut Transaction,
        recipient: Address,
        params: RcptParams,
    ) -> Reply {
        match transaction.policy.recipient(self.peer.ip(), recipient) {
            Ok(address) => {
                transaction.add_recipient(address, params);
                Reply::new(250, Enhanced(2, 1, 5), "Ok")
            }
            Err((address, reply)) => {
                self.rejected(&Refusal {
                    from: Some(transaction.sender_text()),
                    to: Some(address.as_str()),
                    ..Refusal::new("RCPT", &reply, RejectReason::RelayDenied)
                });
                reply
            }
        }
    }

    /// The end of the content: 250 only once the message is durable.
    pub(crate) async fn message(&mut self, transaction: Transaction, info: BodyInfo) -> Reply {
        let from = transaction.sender_text().to_owned();
        let recipients = transaction.recipients.len();
        let protocol = transaction.protocol(self.client());
        let id = transaction.id();
        let started = Instant::now();
        match transaction.store(&self.shared.queue, self.client(), info).await {
            Ok(stored) => {
                self.received_one();
                self.received(stored, &from, recipients, protocol, started.elapsed())
            }
            Err(NotStored { reply, reason, error }) => {
                if let Some(error) = error {
                    self.shared.observer.emit(Event::StoreFailed {
                        operation: "write content",
                        error: &error,
                    });
                }
                self.rejected(&Refusal {
                    id,
                    from: Some(&from),
                    ..Refusal::new("DATA", &reply, reason)
                });
                reply
            }
        }
    }

    fn received(
        &self,
        stored: Stored,
        from: &str,
        recipients: usize,
        protocol: &'static str,
        commit: Duration,
    ) -> Reply {
        let id = stored.id.to_string();
        self.shared.observer.emit(Event::Received {
            listener: self.listener,
            id: &id,
            peer: self.peer,
            helo: self.client().helo,
            from,
            size: stored.size,
            recipients,
            protocol,
            tls: self.tls.as_ref().map(|tls| tls.text()).as_deref(),
            message_id: stored.message_id.as_deref(),
            commit,
        });
        Reply::with(250, Enhanced(2, 0, 0), format!("Ok: queued as {id}"))
    }

    /// The session refused a message that broke one of its limits.
    pub(crate) fn refused(&self, transaction: &Transaction, reply: &Reply) {
        let reason = match reply.enhanced {
            Some(Enhanced(_, 3, 4)) => RejectReason::TooLarge,
            Some(Enhanced(_, 6, _)) => RejectReason::LineTooLong,
            _ => RejectReason::Protocol,
        };
        let id = transaction.id();
        let from = Some(transaction.sender_text());
        self.rejected(&Refusal {
            id,
            from,
            ..Refusal::new("DATA", reply, reason)
        });
    }

    /// A command was answered. Some refusals are the session's own.
    pub(crate) fn answered(&self, verb: &'static str, code: u16) {
        self.shared.observer.emit(Event::Command {
            listener: self.listener,
            verb,
            code,
        });
        let (reply, reason) = match (verb, code) {
            ("RCPT", 452) => (
                Reply::new(452, Enhanced(4, 5, 3), "Too many recipients"),
                RejectReason::TooManyRecipients,
            ),
            ("MAIL", 552) => (
                Reply::new(552, Enhanced(5, 3, 4), "Declared size over the limit"),
                RejectReason::TooLarge,
            ),
            _ => return,
        };
        self.rejected(&Refusal::new(verb, &reply, reason));
    }

    /// The content came too slowly, and the session ends for it.
    pub(crate) fn too_slow(&self, reply: &Reply) {
        self.rejected(&Refusal::new("DATA", reply, RejectReason::TooSlow));
    }

    pub(crate) fn noted(&self, note: Note) {
        self.violated(match note {
            Note::UnauthorizedPipelining => Violation::UnauthorizedPipelining,
            Note::BareLineEnds => Violation::BareLineEnds,
            Note::LongCommandLine => Violation::LongCommandLine,
            Note::OtherProtocol => Violation::OtherProtocol,
            Note::TooManyErrors => Violation::TooManyErrors,
        });
    }
}

fn rate_limited(wait: Duration) -> Reply {
    let text = format!(
        "too many messages from your address, try again in {} s",
        whole_seconds(wait)
    );
    Reply::with(450, Enhanced(4, 7, 1), text)
}
