//! What MAIL and the message are answered: the decisions that the protocol leaves to the server. RCPT is in `recipients`.

use crate::author::{Author, Treatment};
use crate::listener::whole_seconds;
use crate::policy::Policy;
use crate::quota::{Taken, UsedUp};
use crate::transaction::{NotStored, Stored, Transaction, over_share};
use crate::visit::{Refusal, Visit};
use smtp::body::BodyInfo;
use smtp::session::Note;
use smtp::{Address, Enhanced, MailParams, Reply};
use smtp_config::QuotaKind;
use smtp_directory::{Account, Snapshot};
use smtp_observe::{Event, RejectReason, Span, SpanKind, Violation};
use smtp_queue::NoRoom;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A reply, and why.
pub(crate) type Refused = (Reply, RejectReason);

impl Visit {
    /// MAIL: within the limits, from an address that the account may use, and is there room?
    pub(crate) fn mail(
        &self,
        sender: Option<Address>,
        params: MailParams,
    ) -> Result<Box<Transaction>, Reply> {
        let policy = self.shared.policy();
        let directory = self.shared.directory.snapshot();
        let admitted = self.treatment(&policy, &directory).and_then(|treatment| {
            let taken = self.admit_mail(&policy, treatment.author(), sender.as_ref(), &params)?;
            Ok((treatment, taken))
        });
        match admitted {
            Ok((treatment, taken)) => {
                let mut transaction = Transaction::new(policy, directory, treatment, sender, params, taken);
                transaction.span = self.span.child("smtp transaction", SpanKind::Server);
                Ok(Box::new(transaction))
            }
            Err((reply, reason)) => {
                let from = Some(sender.as_ref().map_or("", Address::as_str));
                self.rejected(&Refusal {
                    from,
                    ..Refusal::new("MAIL", &reply, reason)
                });
                Err(reply)
            }
        }
    }

    /// What is done to the mail's header. The account is taken as it is now: it may have been changed or closed since AUTH.
    fn treatment(&self, policy: &Policy, directory: &Arc<Snapshot>) -> Result<Treatment, Refused> {
        let Some(account) = &self.account else {
            let signs = directory.has_keys() && policy.is_trusted(self.origin());
            return Ok(match signs {
                true => Treatment::Signed(directory.clone()),
                false => Treatment::Passed,
            });
        };
        match directory.account(&account.name).filter(|account| account.enabled) {
            Some(account) => Ok(Treatment::Authored(Author {
                account: account.clone(),
                directory: directory.clone(),
            })),
            None => {
                let text = format!("account {} may not send any more", account.name);
                Err((
                    Reply::with(550, Enhanced(5, 7, 1), text),
                    RejectReason::SenderDenied,
                ))
            }
        }
    }

    /// An account may send from its addresses, and from the null path: notifications of having read a message, which mail programs send,
    /// must have it (RFC 8098 3), and their `From:` is looked at all the same.
    fn admit_mail(
        &self,
        policy: &Policy,
        author: Option<&Author>,
        sender: Option<&Address>,
        params: &MailParams,
    ) -> Result<Option<Taken>, Refused> {
        let account = author.map(|author| &*author.account);
        self.shared
            .take_token(policy, self.peer.ip(), account)
            .map_err(|wait| (rate_limited(wait, account), RejectReason::RateLimited))?;
        if let (Some(author), Some(sender)) = (author, sender) {
            author
                .may_write_from(slice::from_ref(sender))
                .map_err(|reply| (Reply { code: 553, ..reply }, RejectReason::SenderDenied))?;
        }
        if self.shared.queue.store().away().is_some() {
            let text = "The queue's database is away, try again later";
            return Err((
                Reply::new(451, Enhanced(4, 3, 0), text),
                RejectReason::StorageError,
            ));
        }
        let giver = policy.giver(self.peer.ip());
        let room = self
            .shared
            .queue
            .spool()
            .room_for(params.size.unwrap_or(0), giver);
        room.map_err(no_room)?;
        self.take_quota(author, QuotaKind::Messages)
    }

    /// Takes one message or recipient of the account's quotas.
    pub(crate) fn take_quota(
        &self,
        author: Option<&Author>,
        kind: QuotaKind,
    ) -> Result<Option<Taken>, Refused> {
        let Some(Author { account, .. }) = author else {
            return Ok(None);
        };
        let share = |amount| self.shared.share(amount);
        let taken = self
            .shared
            .quotas
            .take(&account.name, &account.quotas, kind, share);
        taken.map_err(|used_up| (over_quota(account, &used_up), RejectReason::Quota))
    }

    /// The end of the content: 250 only once the message is durable.
    pub(crate) async fn message(&mut self, mut transaction: Transaction, info: BodyInfo) -> Reply {
        let from = transaction.sender_text().to_owned();
        let recipients = transaction.recipients.len();
        let protocol = transaction.protocol(self.client());
        let id = transaction.id();
        let started = Instant::now();
        let mut span = std::mem::take(&mut transaction.span);
        let stored = transaction.store(&self.shared.queue, self.client(), info, &mut span);
        match stored.await {
            Ok(stored) => {
                self.card.received_one();
                self.traced(&mut span, &stored, recipients);
                self.received(stored, &from, recipients, protocol, started.elapsed(), &span)
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
                span.fail(&reply.text);
                reply
            }
        }
    }

    /// Tells those who trace mail of a message, and takes the session's span into account for its link.
    fn traced(&mut self, span: &mut Span, stored: &Stored, recipients: usize) {
        if !span.is_recorded() {
            return;
        }
        span.set("smtp.queue_id", &*stored.id.to_string());
        span.set("smtp.size", stored.size);
        span.set("smtp.recipients", recipients as u64);
        self.span.goes_with(span);
    }

    fn received(
        &self,
        stored: Stored,
        from: &str,
        recipients: usize,
        protocol: &'static str,
        commit: Duration,
        span: &Span,
    ) -> Reply {
        let id = stored.id.to_string();
        self.shared.observer.emit(Event::Received {
            listener: self.listener,
            id: &id,
            peer: self.peer,
            helo: self.client().helo,
            account: self.account.as_ref().map(|account| &*account.name),
            from,
            size: stored.size,
            recipients,
            protocol,
            tls: self.tls.as_ref().map(|tls| tls.text()).as_deref(),
            message_id: stored.message_id.as_deref(),
            unsigned: stored.unsigned.as_deref(),
            commit,
            trace: span.context().map(|context| context.trace_id()).as_deref(),
        });
        Reply::with(250, Enhanced(2, 0, 0), format!("Ok: queued as {id}"))
    }

    /// The session refused a message that broke one of its limits.
    pub(crate) fn refused(&self, transaction: &mut Transaction, reply: &Reply) {
        transaction.span.fail(&reply.text);
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

fn no_room(why: NoRoom) -> Refused {
    if why == NoRoom::Share {
        return over_share();
    }
    let text = "Insufficient system storage, try again later";
    (
        Reply::new(452, Enhanced(4, 3, 1), text),
        RejectReason::StorageFull,
    )
}

fn rate_limited(wait: Duration, account: Option<&Account>) -> Reply {
    let whose = account.map_or("address".to_owned(), |account| {
        format!("account {}", account.name)
    });
    let text = format!(
        "too many messages from your {whose}, try again in {} s",
        whole_seconds(wait)
    );
    Reply::with(450, Enhanced(4, 7, 1), text)
}

fn over_quota(account: &Account, used_up: &UsedUp) -> Reply {
    let text = format!(
        "the quota {} of account {} is used up, try again in {} s",
        used_up.quota,
        account.name,
        whole_seconds(used_up.wait)
    );
    Reply::with(450, Enhanced(4, 7, 1), text)
}
