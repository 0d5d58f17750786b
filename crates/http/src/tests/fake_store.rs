//! A store in memory, as far as this room asks a store.

use async_trait::async_trait;
use jiff::Timestamp;
use smtp::Address;
use smtp_queue::{ApiToken, AuditRecord, Finished, Shape, ShapeBy, Suspension, SuspensionKind, TokenAdded};
use smtp_queue::{
    Attempt, Beginning, Body, Claim, ClaimRequest, Filter, MailOptions, Message, MessageDetail,
    MessageSummary, NewMessage, QueueId, Recipient, RecipientResult, Released, State, Stats, Store,
    StoreError, Term, Unreadable,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Messages in a vector.
#[derive(Debug, Default)]
pub(super) struct FakeStore {
    pub(super) messages: Mutex<Vec<MessageDetail>>,
    pub(super) body: Mutex<Option<Body>>,
    suspensions: Mutex<Vec<Suspension>>,
    pub(super) trail: Mutex<Vec<AuditRecord>>,
    pub(super) tokens: Mutex<Vec<ApiToken>>,
    /// Who deletes, or asks for tokens, waits for it.
    pub(super) gate: tokio::sync::Mutex<()>,
    pub(super) at_gate: AtomicBool,
    /// No record is taken.
    pub(super) no_trail: AtomicBool,
    /// Tokens cannot be asked for.
    pub(super) no_tokens: AtomicBool,
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
            parked: false,
        };
        let message = Message {
            key: self.messages.lock().unwrap().len() as i64 + 1,
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
            let reason = |text: &String| {
                let mut results = one.recipients.iter().filter_map(|r| r.last_result.as_ref());
                results.any(|result| result.contains(text.as_str()))
            };
            let key = one.message.key;
            filter.reason.as_ref().is_none_or(reason)
                && filter.up_to.is_none_or(|last| key <= last)
                && filter.behind.is_none_or(|first| key > first)
                && (filter.ids.is_empty() || filter.ids.contains(&one.message.id))
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
    async fn renew(&self, _: Vec<Attempt>, _: Term) -> Result<Vec<Attempt>, StoreError> {
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
        self.at_gate.store(true, Ordering::SeqCst);
        drop(self.gate.lock().await);
        let gone: Vec<QueueId> = self.find(&filter).iter().map(|one| one.message.id).collect();
        self.messages
            .lock()
            .unwrap()
            .retain(|one| !gone.contains(&one.message.id));
        Ok(gone.len() as u64)
    }
    async fn hold(&self, filter: Filter) -> Result<u64, StoreError> {
        Ok(self.find(&filter).len() as u64)
    }
    async fn unhold(&self, filter: Filter, _: Timestamp) -> Result<u64, StoreError> {
        let held = |one: &MessageDetail| one.recipients.iter().any(|it| it.state == State::Held);
        Ok(self.find(&filter).iter().filter(|one| held(one)).count() as u64)
    }
    async fn claim_selected(
        &self,
        _: Filter,
        _: Option<i64>,
        _: ClaimRequest,
    ) -> Result<(Vec<Claim>, Option<i64>), StoreError> {
        Err(StoreError::Closed)
    }
    /// Each message is a portion.
    async fn portion(&self, filter: Filter, _: usize) -> Result<Option<i64>, StoreError> {
        let all = self.find(&filter);
        let behind = |key: &i64| filter.behind.is_none_or(|behind| *key > behind);
        Ok(all.iter().map(|one| one.message.key).find(behind))
    }
    async fn count(&self, filter: Filter, states: Vec<State>) -> Result<u64, StoreError> {
        let meant = |one: &MessageDetail| one.recipients.iter().any(|it| states.contains(&it.state));
        Ok(self.find(&filter).iter().filter(|one| meant(one)).count() as u64)
    }
    async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        self.suspensions.lock().unwrap().push(suspension);
        Ok(true)
    }
    async fn resume(
        &self,
        kind: SuspensionKind,
        name: String,
        _: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let mut all = self.suspensions.lock().unwrap();
        let before = all.len();
        all.retain(|one| (one.kind, &one.name) != (kind, &name));
        Ok((all.len() < before).then_some(7))
    }
    async fn parked(&self, _: SuspensionKind, _: String) -> Result<u64, StoreError> {
        Ok(7)
    }
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        Ok(self.suspensions.lock().unwrap().clone())
    }
    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        if self.no_trail.load(Ordering::SeqCst) {
            return Err(StoreError::Full("no room".into()));
        }
        self.trail.lock().unwrap().push(record);
        Ok(())
    }
    async fn audited(&self, _: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let trail = self.trail.lock().unwrap();
        Ok(trail.iter().rev().take(limit).cloned().collect())
    }
    async fn add_token(&self, token: ApiToken) -> Result<TokenAdded, StoreError> {
        let mut tokens = self.tokens.lock().unwrap();
        if tokens.iter().any(|one| one.name == token.name) {
            return Ok(TokenAdded::Exists);
        }
        tokens.push(token);
        Ok(TokenAdded::Added)
    }
    async fn remove_token(&self, name: String) -> Result<bool, StoreError> {
        let mut tokens = self.tokens.lock().unwrap();
        let before = tokens.len();
        tokens.retain(|one| one.name != name);
        Ok(tokens.len() < before)
    }
    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        drop(self.gate.lock().await);
        match self.no_tokens.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("locked".into())),
            false => Ok(self.tokens.lock().unwrap().clone()),
        }
    }
    async fn shape(&self, filter: Filter, _: ShapeBy, _: Timestamp) -> Result<Shape, StoreError> {
        let mut shape = Shape::default();
        for one in self.find(&filter) {
            shape.total[0] += 1;
            let domain = one.recipients[0].address.domain().to_owned();
            shape.domains.push((domain, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        }
        Ok(shape)
    }
    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(Stats {
            messages: 2,
            bytes: 42,
            recipients: [1, 0, 1, 0, 0, 0, 0, 0],
            oldest_due: None,
            due: 0,
        })
    }
    async fn writable(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
