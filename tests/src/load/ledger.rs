//! What clients were told of a load, held against what arrived.

use super::{RECIPIENTS, size};
use crate::sink::Sink;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What clients were told of the messages, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Their 250 was read.
    pub acknowledged: BTreeSet<u64>,
    /// They were refused for now.
    pub refused: BTreeMap<u64, Refusal>,
    /// Nothing was heard of them: the connection broke before.
    pub unheard: BTreeSet<u64>,
}

/// How a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// After its content.
    pub at_end: bool,
    pub reply: String,
}

impl Ledger {
    /// Messages that were refused after their content.
    pub fn refused_at_end(&self) -> Vec<u64> {
        let at_end = self.refused.iter().filter(|(_, refusal)| refusal.at_end);
        at_end.map(|(&number, _)| number).collect()
    }

    /// What is missing of the acknowledged ones.
    pub fn lost(&self, copies: &BTreeMap<(u64, String), Vec<Arrival>>) -> Vec<(u64, &'static str)> {
        let all = self.acknowledged.iter();
        let all = all.flat_map(|&number| RECIPIENTS.map(|recipient| (number, recipient)));
        all.filter(|(number, recipient)| !copies.contains_key(&(*number, format!("<{recipient}>"))))
            .collect()
    }

    /// Each message that was acknowledged came to each of its recipients, once; none came that was refused; of what nothing was heard nothing came
    /// twice.
    pub fn assert_kept(&self, sink: &Sink, when: &str) {
        let copies = copies(sink);
        let lost = self.lost(&copies);
        assert!(lost.is_empty(), "{when}: acknowledged, and lost: {lost:?}");
        let of_refused = |(number, _): &&(u64, String)| self.refused.contains_key(number);
        let refused: Vec<_> = copies.keys().filter(of_refused).collect();
        assert!(refused.is_empty(), "{when}: refused, and delivered: {refused:?}");
        let repeated: Vec<_> = copies.iter().filter(|(_, copies)| copies.len() > 1).collect();
        assert!(repeated.is_empty(), "{when}: came twice: {repeated:?}");
    }
}

/// A message as it came to one recipient.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// As whom the server that brought it greeted.
    pub from: String,
    pub at: Instant,
}

/// What came of each message, whole, for each recipient (as in the RCPT command), in the order of its arrival.
pub fn copies(sink: &Sink) -> BTreeMap<(u64, String), Vec<Arrival>> {
    let mut copies: BTreeMap<(u64, String), Vec<Arrival>> = BTreeMap::new();
    sink.each(|message, at| {
        let number = message.field("X-Number").and_then(|n| n.parse().ok());
        let number: u64 = number.expect("X-Number");
        let body = message.content.windows(4).position(|four| four == b"\r\n\r\n");
        let body = message.content.len() - body.expect("body") - 4;
        assert_eq!(body, size(number) / 72 * 72, "message {number} is whole");
        for recipient in &message.to {
            let address = recipient.split(' ').next().unwrap_or_default();
            let arrival = Arrival {
                from: message.client.clone(),
                at,
            };
            copies
                .entry((number, address.to_owned()))
                .or_default()
                .push(arrival);
        }
    });
    copies
}

/// How often each number arrived, whole, at the recipient to whom it came most often.
pub fn arrived(sink: &Sink) -> BTreeMap<u64, usize> {
    let mut arrived = BTreeMap::new();
    for ((number, _), copies) in copies(sink) {
        let most = arrived.entry(number).or_insert(0);
        *most = copies.len().max(*most);
    }
    arrived
}
