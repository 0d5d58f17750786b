//! A store in memory, as far as this room asks a store.

use async_trait::async_trait;
use jiff::Timestamp;
use smtp::Address;
use smtp_queue::Finished;
use smtp_queue::{
    Attempt, Beginning, Body, Claim, ClaimRequest, Filter, MailOptions, Message, MessageDetail,
    MessageSummary, NewMessage, QueueId, Recipient, RecipientResult, Released, State, Stats, Store,
    StoreError, Unreadable,
};
use std::sync::Mutex;

/// Messages in a vector.
#[derive(Debug, Default)]
pub(super) struct FakeStore {
    pub(super) messages: Mutex<Vec<MessageDetail>>,
    pub(super) body: Mutex<Option<Body>>,
}

impl FakeStore {
    /// Adds a message from `sender` to one recipient, and gives its id.
    pub(super) fn add(&self, sender: &str, to: &str, state: State) -> String {
        let id = QueueId::generate();
        let due = Timestamp::from_second(1_795_417_021).unwrap();
        let recipient = Recipient {
            index: 0,
            address: Address::parse(to).unwrap(),
            notify: None,
            orcpt: None,
            state,
            attempts: 3,
            due,
            delay_notified: false,
            last_result: Some("mx[192.0.2.1]: 450 later".into()),
        };
        let message = Message {
            key: 1,
            id,
            received_at: due,
            sender: Address::parse(sender).ok(),
            options: MailOptions {
                origin: "client [192.0.2.9]".into(),
                ..MailOptions::default()
            },
            size: 21,
        };
        self.messages.lock().unwrap().push(MessageDetail {
            message,
            recipients: vec![recipient],
        });
        id.to_string()
    }

    fn find(&self, filter: &Filter) -> Vec<MessageDetail> {
        let matches = |one: &&MessageDetail| {
            let sender = one.message.sender.as_ref().map_or("", |sender| sender.as_str());
            let state = |state: &State| one.recipients.iter().any(|r| r.state == *state);
            let domain = |domain: &String| {
                one.recipients
                    .iter()
                    .any(|r| r.address.domain() == domain.as_str())
            };
            (filter.ids.is_empty() || filter.ids.contains(&one.message.id))
                && filter.sender.as_ref().is_none_or(|wanted| wanted == sender)
                && filter.state.as_ref().is_none_or(state)
                && filter.domain.as_ref().is_none_or(domain)
        };
        self.messages
            .lock()
            .unwrap()
            .iter()
            .filter(matches)
            .cloned()
            .collect()
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn insert(&self, _: NewMessage, _: Beginning) -> Result<Option<Claim>, StoreError> {
        Err(StoreError::Closed)
    }
    async fn claim(&self, _: ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        Err(StoreError::Closed)
    }
    async fn renew(&self, _: Vec<Attempt>, _: Timestamp) -> Result<Vec<Attempt>, StoreError> {
        Err(StoreError::Closed)
    }
    async fn finish(&self, _: Vec<RecipientResult>, _: Vec<NewMessage>) -> Result<Finished, StoreError> {
        Err(StoreError::Closed)
    }
    async fn body(&self, _: &Message) -> Result<Body, StoreError> {
        self.body
            .lock()
            .unwrap()
            .clone()
            .ok_or(StoreError::Damaged("no body".into()))
    }
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }
    async fn list(
        &self,
        filter: Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let found = self
            .find(&filter)
            .into_iter()
            .filter(|one| Some(one.message.id) > after);
        let summary = |one: MessageDetail| MessageSummary {
            message: one.message,
            recipients: one.recipients,
        };
        Ok(found.take(limit).map(summary).collect())
    }
    async fn show(&self, id: QueueId) -> Result<Option<MessageDetail>, StoreError> {
        Ok(self
            .find(&Filter {
                ids: vec![id],
                ..Filter::default()
            })
            .pop())
    }
    async fn retry(&self, filter: Filter, _: Timestamp) -> Result<u64, StoreError> {
        Ok(self.find(&filter).len() as u64)
    }
    /// Readable is what has a body.
    async fn release(&self, filter: Filter, _: Timestamp) -> Result<Released, StoreError> {
        let mut released = Released::default();
        for one in self.find(&filter) {
            if self.body.lock().unwrap().is_some() {
                released.messages += 1;
            } else {
                released.still += 1;
                released.unreadable.push(Unreadable {
                    id: one.message.id.to_string(),
                    reason: "no content".into(),
                });
            }
        }
        Ok(released)
    }
    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        let gone: Vec<QueueId> = self.find(&filter).iter().map(|one| one.message.id).collect();
        self.messages
            .lock()
            .unwrap()
            .retain(|one| !gone.contains(&one.message.id));
        Ok(gone.len() as u64)
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(Stats {
            messages: 2,
            bytes: 42,
            recipients: [1, 0, 1, 0, 0, 0, 0, 0],
            oldest_due: None,
        })
    }
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
