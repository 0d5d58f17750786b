//! Messages and their recipients as columns: what is bound to the statement that stores them.

use super::bodies::Upload;
use super::filter::plain;
use super::insert::Insert;
use super::lane::Ticket;
use super::param::Param;
use crate::message::{Body, NewRecipient};
use crate::store::Term;
use crate::stored;
use jiff::Timestamp;

/// Messages as columns.
#[derive(Default)]
struct Messages<'m> {
    ids: Vec<Vec<u8>>,
    uploaded: Vec<Option<i64>>,
    received_at: Vec<i64>,
    senders: Vec<String>,
    sizes: Vec<i64>,
    body_types: Vec<i16>,
    smtputf8: Vec<bool>,
    has_8bit: Vec<bool>,
    header_8bit: Vec<bool>,
    rets: Vec<Option<i16>>,
    envids: Vec<Option<String>>,
    origins: Vec<String>,
    accounts: Vec<Option<String>>,
    traceparents: Vec<Option<String>>,
    message_ids: Vec<Option<String>>,
    contents: Vec<Option<&'m [u8]>>,
}

impl<'m> Messages<'m> {
    fn push(&mut self, insert: &'m Insert) {
        let (message, options) = (&insert.message, &insert.message.options);
        let text = |text: &Option<String>| text.as_deref().map(plain);
        self.ids.push(message.id.to_bytes().to_vec());
        self.uploaded.push(insert.uploaded.as_ref().map(Upload::key));
        self.received_at.push(message.received_at.as_millisecond());
        self.senders.push(
            message
                .sender
                .as_ref()
                .map_or_else(String::new, |sender| plain(sender.as_str())),
        );
        self.sizes
            .push(i64::try_from(message.body.size()).unwrap_or(i64::MAX));
        self.body_types
            .push(stored::body_type_number(options.body_type).into());
        self.smtputf8.push(options.smtputf8);
        self.has_8bit.push(options.has_8bit);
        self.header_8bit.push(options.header_8bit);
        self.rets
            .push(options.ret.map(|ret| stored::ret_number(ret).into()));
        self.envids.push(text(&options.envid));
        self.origins.push(plain(&options.origin));
        self.accounts.push(text(&options.account));
        self.traceparents
            .push(options.traceparent.map(|context| context.to_string()));
        self.message_ids.push(text(&options.message_id));
        self.contents.push(match &message.body {
            Body::Memory(octets) => Some(octets),
            Body::File { .. } => None,
        });
    }
}

/// Recipients as columns.
#[derive(Default)]
struct Recipients {
    places: Vec<i64>,
    indices: Vec<i32>,
    addresses: Vec<String>,
    domains: Vec<String>,
    notifies: Vec<Option<i16>>,
    orcpts: Vec<Option<String>>,
    states: Vec<i16>,
    /// Without one it is now, by the database's clock.
    due: Vec<Option<i64>>,
    /// How much later a lease ends, in milliseconds.
    leases: Vec<i64>,
    results: Vec<Option<String>>,
    parked: Vec<bool>,
    attempts: Vec<i32>,
    notified: Vec<bool>,
}

impl Recipients {
    fn push(&mut self, place: i64, index: usize, recipient: &NewRecipient, insert: &Insert) {
        let standing = insert.beginning.standing(index, insert.message.received_at);
        self.places.push(place);
        self.indices.push(i32::try_from(index).unwrap_or(i32::MAX));
        self.addresses.push(plain(recipient.address.as_str()));
        self.domains
            .push(plain(&recipient.address.domain().to_lowercase()));
        self.notifies
            .push(recipient.notify.map(|notify| notify.bits().into()));
        self.orcpts
            .push(recipient.orcpt.as_ref().map(|orcpt| plain(orcpt.as_str())));
        self.states.push(standing.state as i16);
        self.due.push(standing.due.map(Timestamp::as_millisecond));
        self.leases.push(standing.lease.map_or(0, Term::millis));
        self.results.push(standing.last_result.map(plain));
        self.parked.push(standing.parked);
        self.attempts
            .push(i32::try_from(standing.attempts).unwrap_or(i32::MAX));
        self.notified.push(standing.delay_notified);
    }
}

/// What is bound to the statement that stores messages.
pub(super) struct MessageColumns<'m> {
    messages: Messages<'m>,
    recipients: Recipients,
}

impl<'m> MessageColumns<'m> {
    pub(super) fn of(inserts: &'m [Insert]) -> Self {
        let (mut messages, mut recipients) = (Messages::default(), Recipients::default());
        for (insert, place) in inserts.iter().zip(1..) {
            messages.push(insert);
            for (index, recipient) in insert.message.recipients.iter().enumerate() {
                recipients.push(place, index, recipient, insert);
            }
        }
        MessageColumns { messages, recipients }
    }

    pub(super) fn values<'p>(&'p self, ticket: &'p Ticket) -> Vec<&'p (dyn Param + 'p)> {
        let (m, r) = (&self.messages, &self.recipients);
        vec![
            &ticket.server,
            &ticket.number,
            &ticket.before,
            &ticket.after,
            &m.ids,
            &m.uploaded,
            &m.received_at,
            &m.senders,
            &m.sizes,
            &m.body_types,
            &m.smtputf8,
            &m.has_8bit,
            &m.header_8bit,
            &m.rets,
            &m.envids,
            &m.origins,
            &m.accounts,
            &m.traceparents,
            &m.message_ids,
            &m.contents,
            &r.places,
            &r.indices,
            &r.addresses,
            &r.domains,
            &r.notifies,
            &r.orcpts,
            &r.states,
            &r.due,
            &r.results,
            &r.parked,
            &r.attempts,
            &r.notified,
            &r.leases,
        ]
    }
}
