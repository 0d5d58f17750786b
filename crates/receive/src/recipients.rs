//! What RCPT is answered: the relay rule, what a next hop says, quotas, and how much stands behind aliases.

use crate::callout::Verdict;
use crate::decisions::Refused;
use crate::policy::Recipient;
use crate::transaction::Transaction;
use crate::visit::{Refusal, Visit};
use smtp::{Address, Enhanced, RcptParams, Reply};
use smtp_config::QuotaKind;
use smtp_observe::RejectReason;

/// A recipient whose next hop is to be asked.
#[derive(Debug)]
pub(crate) struct Asked {
    address: Address,
    /// As the client named it.
    recipient: Address,
    params: RcptParams,
}

impl Visit {
    /// RCPT: the relay rule. What has to be asked elsewhere first is left to [`Visit::ask`].
    pub(crate) fn rcpt(
        &self,
        transaction: &mut Transaction,
        recipient: Address,
        params: RcptParams,
    ) -> Result<Reply, Box<Asked>> {
        let authenticated = transaction.treatment.author().is_some();
        let decided =
            transaction
                .policy
                .recipient(&transaction.directory, self.origin(), authenticated, &recipient);
        let addresses = match decided {
            Recipient::Accepted(addresses) => Ok(addresses),
            Recipient::Refused(reply, reason) => Err((reply, reason)),
            Recipient::Asked(address) if self.shared.callout.is_some() => {
                return Err(Box::new(Asked {
                    address,
                    recipient,
                    params,
                }));
            }
            // Nobody can ask: its next hop will say.
            Recipient::Asked(address) => Ok(vec![address]),
        };
        Ok(self.add(transaction, &recipient, params, addresses))
    }

    /// Asks the domain's next hop for a recipient.
    pub(crate) async fn ask(&self, transaction: &mut Transaction, asked: Asked) -> Reply {
        let verdict = match &self.shared.callout {
            Some(callout) => callout.verify(&asked.address).await,
            None => Verdict::Exists,
        };
        let refused = |code, enhanced, text, reason| {
            let text = format!("<{}>: {text}", asked.recipient.as_str());
            Err((Reply::with(code, enhanced, text), reason))
        };
        let addresses = match verdict {
            Verdict::Exists => Ok(vec![asked.address]),
            Verdict::Unknown => refused(
                550,
                Enhanced(5, 1, 1),
                "User unknown",
                RejectReason::UnknownRecipient,
            ),
            Verdict::Unavailable => refused(
                450,
                Enhanced(4, 1, 1),
                "Cannot be verified now, try again later",
                RejectReason::Unresolvable,
            ),
        };
        self.add(transaction, &asked.recipient, asked.params, addresses)
    }

    /// Adds a recipient, if it was accepted and there is room for it.
    fn add(
        &self,
        transaction: &mut Transaction,
        recipient: &Address,
        params: RcptParams,
        addresses: Result<Vec<Address>, Refused>,
    ) -> Reply {
        let admitted = addresses.and_then(|addresses| {
            if !transaction.has_room_for(addresses.len()) {
                let text = "Too many recipients behind aliases, send the rest in another transaction";
                return Err((
                    Reply::new(452, Enhanced(4, 5, 3), text),
                    RejectReason::TooManyRecipients,
                ));
            }
            let taken = self.take_quota(transaction.treatment.author(), QuotaKind::Recipients)?;
            Ok((addresses, taken))
        });
        match admitted {
            Ok((addresses, taken)) => {
                transaction.add_recipients(recipient, addresses, params, taken);
                Reply::new(250, Enhanced(2, 1, 5), "Ok")
            }
            Err((reply, reason)) => {
                self.rejected(&Refusal {
                    from: Some(transaction.sender_text()),
                    to: Some(recipient.as_str()),
                    ..Refusal::new("RCPT", &reply, reason)
                });
                reply
            }
        }
    }
}
