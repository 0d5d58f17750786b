//! New mail whose next hops are left alone: it is stored as deferred, and told as if it had been tried.

use super::Engine;
use super::calls::{self, About, Happened};
use super::intake::suspended;
use super::settle::{Attempted, NOWHERE, own_status, reply_text, tell};
use crate::schedule::{self, Next};
use jiff::Timestamp;
use smtp::Reply;
use smtp_config::MessageEvent;
use smtp_observe::DeliveryStatus;
use smtp_queue::{Deferral, Deferred, NewMessage};
use std::time::Instant;

impl Engine {
    /// When new mail is tried again whose next hops are left alone, for these reasons; fewer than there are reasons if some of it is
    /// too old for another try.
    pub(super) fn deferrals<'a>(
        &self,
        received_at: Timestamp,
        reasons: impl Iterator<Item = &'a Reply>,
    ) -> Vec<Deferral> {
        let (now, config) = (self.queue.now(), &self.parts.load().config.delivery);
        // No jitter: such mail is spread as it came, and due times that only grow are written to one place of the store's index.
        let deferral = |reason: &Reply| match schedule::next_try(0, received_at, now, config, 0.0) {
            Next::GiveUp => None,
            Next::At(due) => {
                let reply = suspended(reason);
                Some(Deferral {
                    due,
                    text: reply_text(&reply, false),
                    status: own_status(&reply),
                    calls: Vec::new(),
                })
            }
        };
        reasons.map_while(deferral).collect()
    }

    /// Has webhooks told of mail that is stored as deferred.
    pub(super) fn tell_webhooks(&self, message: &NewMessage, deferrals: &mut [Deferral]) {
        let parts = self.parts.load();
        for (recipient, deferral) in message.recipients.iter().zip(deferrals) {
            let happened = Happened {
                event: MessageEvent::Deferred,
                recipient: &recipient.address,
                orcpt: recipient.orcpt.as_ref(),
                attempt: 1,
                relay: NOWHERE,
                status: deferral.status,
                text: &deferral.text,
                due: Some(deferral.due),
            };
            deferral.calls = calls::calls(&parts.config.webhooks, About::from(message), happened);
        }
    }

    /// Tells the log of mail that was stored as deferred.
    pub(super) fn log_deferred(&self, message: &Deferred) {
        let (id, started) = (message.id.to_string(), Instant::now());
        if let Some(first) = message.deferrals.first() {
            let mut span = self.span(message.id, message.traceparent, &Attempted::nowhere(started));
            tell(&mut span, DeliveryStatus::Deferred, &first.text);
        }
        for (recipient, deferral) in message.recipients.iter().zip(&message.deferrals) {
            self.log(
                (&id, message.received_at),
                (&recipient.address, recipient.orcpt.as_ref()),
                &Attempted::nowhere(started),
                deferral.status,
                (DeliveryStatus::Deferred, &deferral.text),
            );
        }
    }
}
