//! What a batch has to tell of each message.

use crate::buffer::{Batch, Kind};
use crate::terms::{Field, hash};
use std::collections::HashMap;

/// What a batch has of one message.
#[derive(Default)]
pub(crate) struct News<'b> {
    /// Its beginning is among it: there is nothing of it before.
    pub(crate) beginning: bool,
    /// Its end is.
    pub(crate) ended: bool,
    pub(crate) sender: Option<&'b str>,
    pub(crate) account: Option<&'b str>,
    pub(crate) message_id: Option<&'b str>,
    /// Those that something is said of, in lower case, each once.
    pub(crate) recipients: Vec<String>,
    /// Each with whether it is kept in any case.
    pub(crate) steps: Vec<(&'b str, bool)>,
}

/// The news of a batch by message, in the order in which messages are first mentioned.
pub(crate) fn gathered(batch: &Batch) -> Vec<(&str, News<'_>)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut all: Vec<(&str, News<'_>)> = Vec::new();
    for note in &batch.notes {
        let id = batch.text(&note.id);
        let place = *places.entry(id).or_insert_with(|| {
            all.push((id, News::default()));
            all.len() - 1
        });
        let Some((_, news)) = all.get_mut(place) else {
            continue;
        };
        news.steps.push((batch.text(&note.line), note.last));
        match &note.kind {
            Kind::Beginning {
                sender,
                account,
                message_id,
                recipient,
            } => {
                news.beginning = true;
                news.sender = Some(batch.text(sender));
                news.account = account.as_ref().map(|range| batch.text(range));
                news.message_id = message_id.as_ref().map(|range| batch.text(range));
                news.knows(recipient.as_ref().map(|range| batch.text(range)));
            }
            Kind::Recipient(to, original) => {
                news.knows(Some(batch.text(to)));
                news.knows(original.as_ref().map(|range| batch.text(range)));
            }
            Kind::End => news.ended = true,
            Kind::Other => {}
        }
    }
    all
}

impl News<'_> {
    fn knows(&mut self, recipient: Option<&str>) {
        if let Some(recipient) = recipient {
            let recipient = recipient.to_lowercase();
            if !self.recipients.contains(&recipient) {
                self.recipients.push(recipient);
            }
        }
    }

    /// What it is found by, besides its recipients.
    pub(crate) fn terms(&self) -> impl Iterator<Item = i64> {
        let fields = [
            (Field::Sender, self.sender),
            (Field::Account, self.account),
            (Field::MessageId, self.message_id),
        ];
        fields
            .into_iter()
            .filter_map(|(field, value)| Some(hash(field, value?)))
    }
}
